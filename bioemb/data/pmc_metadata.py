"""What PMC says of a full text in the metadata that `bioemb download` puts beside it: its licence, whether retracted.

Of eight full texts three or four name no licence themselves, and one may be retracted after its XML was written: where
the metadata say something, that counts. PMC7.1.json speaks of PMC7.1.xml (.nxml, .gz), and of the article in it that
has its PMCID, or none.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bioemb.data.ids import clean_pmcid
from bioemb.data.licenses import license_name
from bioemb.errors import DataError
from bioemb.records import Article

NAME = re.compile(r"(PMC\d+(?:\.\d+)?)\.n?xml(?:\.gz)?", re.IGNORECASE)
YES = ("true", "yes", "y", "1")


class PmcMetadata(NamedTuple):
    """What is known of an article beside its XML; "" where no licence is said."""

    pmcid: str
    license: str
    is_retracted: bool


def metadata_path(path: str | Path) -> Path | None:
    """The file of metadata beside a full text, where it is there."""
    path = Path(path)
    match = NAME.fullmatch(path.name)
    beside = path.with_name(f"{match[1]}.json") if match else path
    return beside if match and beside.is_file() else None


def read_metadata(path: str | Path) -> PmcMetadata | None:
    """What the metadata beside a full text say; None where there are none. Raises DataError for what are none."""
    beside = metadata_path(path)
    if beside is None:
        return None
    try:
        record = json.loads(beside.read_bytes())
        pmcid = clean_pmcid(str(record["pmcid"]))
        code, retracted = str(record.get("license_code") or "").strip(), str(record.get("is_retracted"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError("expected PMC's metadata of the full text beside it; fetch or remove it", beside) from None
    return PmcMetadata(pmcid, license_name(code) or code, retracted.casefold() in YES)


def with_metadata(article: Article, metadata: PmcMetadata) -> Article:
    """The article with the metadata's licence and mark of retraction, where they speak of it."""
    if article.pmcid not in (metadata.pmcid, ""):
        return article
    flags = article.flags | {"retracted"} if metadata.is_retracted else article.flags
    return replace(article, license=metadata.license or article.license, flags=flags)
