"""A generated corpus in the shape of PubMed and PMC, with known synonyms and known flaws, as files.

A title names its concepts one way, its abstract mostly other ways: matching words is handicapped on purpose, so that
one can see whether training works. Real abstracts mostly repeat the words of their titles.

    <folder>/README.txt                    what this is
    <folder>/pubmed/generated*.xml(.gz)    PubMed records
    <folder>/pmc/PMC*.xml                  full texts of some of them
    <folder>/eval/                         held-out sets (`heldout.py`)
    <folder>/truth/concepts.jsonl          every concept and its names
    <folder>/truth/records.jsonl           every record's concepts and flaw
"""

from collections import Counter
from pathlib import Path

from bioemb.demo.articles import FLAW_RATES, Record, make_records
from bioemb.demo.concepts import Concept, make_concepts
from bioemb.demo.heldout import write_heldout
from bioemb.demo.markup import LABEL, PUBMED_HEAD, PUBMED_TAIL, jats_article, pubmed_record
from bioemb.errors import ConfigError
from bioemb.files import json_line, write_aside

PUBMED_FILES = ("generated0001.xml.gz", "generated0002.xml", "generated0003.xml.gz")
MIN_RECORDS = 100


def write_corpus(folder: str | Path, records: int = 4000, seed: int = 0) -> dict[str, int]:
    """Write the corpus; gives the counts of what is in it. Raises ConfigError when it would be too small.

    The same number of records and the same seed give the same bytes.
    """
    if records < MIN_RECORDS:
        raise ConfigError(f"records is {records}, too few for every flaw to occur; use {MIN_RECORDS} or more")
    folder, concepts = Path(folder), make_concepts(seed)
    made = make_records(concepts, records, seed)
    with write_aside(folder / "README.txt") as out:
        out.write(f"{LABEL}\nMade by bioemb from seed {seed}: {records} records.\n")
    _write_pubmed(folder / "pubmed", made)
    _write_full_texts(folder / "pmc", made)
    _write_truth(folder / "truth", concepts, made)
    flaws = Counter(record.flaw for record in made)
    return {
        "records": records,
        **{flaw: flaws[flaw] for flaw in FLAW_RATES},
        "full_texts": sum(bool(record.article.sections) for record in made),
        **write_heldout(folder / "eval", concepts, seed),
    }


def _write_pubmed(folder: Path, made: list[Record]) -> None:
    per_file = -(-len(made) // len(PUBMED_FILES))
    for number, name in enumerate(PUBMED_FILES):
        with write_aside(folder / name) as out:
            out.write(PUBMED_HEAD)
            for record in made[number * per_file : (number + 1) * per_file]:
                out.write(pubmed_record(record.article, record.style))
            out.write(PUBMED_TAIL)


def _write_full_texts(folder: Path, made: list[Record]) -> None:
    for record in made:
        if record.article.sections:
            with write_aside(folder / f"{record.article.pmcid}.xml") as out:
                out.write(jats_article(record.article, record.style))


def _write_truth(folder: Path, concepts: list[Concept], made: list[Record]) -> None:
    with write_aside(folder / "concepts.jsonl") as out:
        for concept in concepts:
            out.write(json_line(concept._asdict()))
    with write_aside(folder / "records.jsonl") as out:
        for record in made:
            truth = {
                "pmid": record.article.pmid,
                "flaw": record.flaw,
                "partner": record.partner,
                "same_name": record.same_name,
                "title_concepts": [concept.concept_id for concept in record.subject],
                "abstract_concepts": [concept.concept_id for concept in record.abstract_subject],
            }
            out.write(json_line(truth))
