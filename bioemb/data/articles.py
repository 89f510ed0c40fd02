"""One door to every source: PubMed's or PMC's XML, told apart by its elements, not by the file's name."""

from collections.abc import Iterator
from pathlib import Path

from bioemb.data import pmc, pubmed
from bioemb.data.pmc_metadata import read_metadata, with_metadata
from bioemb.data.xml_stream import stream_records
from bioemb.records import Article, Deletion, Dropped


def read_articles(path: str | Path) -> Iterator[Article | Deletion | Dropped]:
    """The records of one file, as `read_pubmed` or `read_pmc` give them. Raises DataError, as they do.

    Licence and retraction of a full text are those of PMC's metadata, where they lie beside the file.
    """
    metadata = read_metadata(path)
    tags, containers = pubmed.RECORD_TAGS + pmc.RECORD_TAGS, pubmed.CONTAINERS + pmc.CONTAINERS
    for element in stream_records(path, tags, containers, pmc.RECORD_BYTES):
        if element.tag in pubmed.RECORD_TAGS:
            yield from pubmed.convert_pubmed(element)
        else:
            record = pmc.convert_pmc(element)
            yield with_metadata(record, metadata) if metadata and isinstance(record, Article) else record
