"""PubMed's and PMC's files: how they are called, what they are checked by, when one is there already.

Each source has a function for the names asked for and one that puts a name in place, or says why it is left out.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from bioemb.data.download import Fetcher, FetchError, has_md5
from bioemb.errors import ConfigError, DataError
from bioemb.files import open_read, write_aside

PUBMED_URL = "https://ftp.ncbi.nlm.nih.gov/pubmed"
PMC_URL = "https://pmc-oa-opendata.s3.amazonaws.com"
PUBMED_NAME = re.compile(r"pubmed(\d\d)n(\d{4})\.xml\.gz")
PUBMED_MD5 = re.compile(r"=\s*([0-9a-fA-F]{32})\b")
MD5 = re.compile(r"[0-9a-fA-F]{32}")
NUMBERS = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
PMC_ID = re.compile(r"(?:PMC)?([1-9]\d{0,11})(?:\.(\d{1,4}))?", re.IGNORECASE)
PMC_ID_IN_LINE = re.compile(rb"\bPMC([1-9]\d{0,11})(?:\.(\d{1,4}))?\b")
LATEST = 1 << 30  # stands for a version that is not said, and so is above all that are
SHOWN = 60  # characters of an answer that is not what was expected, in the error


class Placed(NamedTuple):
    """What became of a name: its file is in place, or it is left out for a reason."""

    name: str
    bytes_fetched: int = 0  # 0: it was there
    left_out: str = ""


# PubMed


def pubmed_numbers(words: Iterable[str]) -> list[int] | None:
    """The numbers that words such as "1-3", "25" and "30,32" name, rising; None of "all". Raises ConfigError."""
    words = [word for several in words for word in several.replace(",", " ").split()]
    if words == ["all"]:
        return None
    numbers: set[int] = set()
    for word in words:
        match = NUMBERS.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise ConfigError(f"--files: expected numbers and rising ranges such as `1-20 25`, or `all`; got {word!r}")
        numbers.update(range(first, last + 1))
    if not numbers:
        raise ConfigError("--files must be given for pubmed: numbers and ranges such as `1-20 25`, or `all`")
    return sorted(numbers)


def pubmed_names(fetcher: Fetcher, url: str, year: int | None, numbers: list[int] | None) -> list[str]:
    """The files of a year (None: the newest there) with these numbers (None: all there); asks for what is not said."""
    if year is None or numbers is None:
        listing = fetcher.read(f"{url}/").decode("utf-8", "replace")
        listed = {(int(digits), int(number)) for digits, number in PUBMED_NAME.findall(listing)}
        if not listed:
            raise FetchError(f"{url}/ lists no files such as pubmed26n0001.xml.gz", "no listing")
        year = max(listed)[0] if year is None else year
        numbers = sorted(number for of, number in listed if of == year) if numbers is None else numbers
        if not numbers:
            raise ConfigError(f"{url}/ has no files of the year {year:02}; its newest are of {max(listed)[0]:02}")
    return [f"pubmed{year:02}n{number:04}.xml.gz" for number in numbers]


def place_pubmed(fetcher: Fetcher, url: str, folder: Path, name: str) -> Placed:
    """Have a PubMed file in the folder, and its .md5 beside it. Raises FetchError."""
    path, md5_path = folder / name, folder / f"{name}.md5"
    known = PUBMED_MD5.search(md5_path.read_text("utf-8", "replace")) if md5_path.exists() else None
    if known and has_md5(path, known[1]):
        return Placed(name)
    text = fetcher.read(f"{url}/{name}.md5").decode("utf-8", "replace")
    md5 = PUBMED_MD5.search(text)
    if not md5:
        raise FetchError(f"{url}/{name}.md5 holds no md5, but {text[:SHOWN]!r}", "no checksum")
    size = 0
    if not has_md5(path, md5[1]):
        fetcher.fetch(f"{url}/{name}", path, md5[1])
        size = path.stat().st_size
    with write_aside(md5_path) as out:
        out.write(text)
    return Placed(name, size)


# PMC


def pmc_versions(ids: Iterable[str], ids_file: str | None) -> tuple[dict[int, int], Counter]:
    """{number of an article: its highest version named, LATEST where none is said}, and what else was named.

    About 130 bytes an article. Raises ConfigError for an id that is none, DataError for a file without any.
    """
    versions: dict[int, int] = {}
    others: Counter[str] = Counter()
    for word in ids:
        match = PMC_ID.fullmatch(word)
        if not match:
            raise ConfigError(f"--ids: expected articles such as PMC123 or PMC123.2, got {word!r}")
        _add(versions, others, match)
    if ids_file:
        for line in _lines(ids_file):
            match = PMC_ID_IN_LINE.search(line)
            if match:
                _add(versions, others, match)
            elif line.strip():
                others["no PMC id in the line"] += 1
        if not versions:
            raise DataError("no line names an article such as PMC123", ids_file)
    if not versions:
        raise ConfigError("--ids or --ids_file must be given for pmc")
    return versions, others


def _lines(path: str) -> Iterator[bytes]:
    with open_read(path) as lines:
        try:
            yield from lines
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"cannot be read to its end ({error})", path) from None


def _add(versions: dict[int, int], others: Counter, match: re.Match) -> None:
    number, version = int(match[1]), int(match[2]) if match[2] else LATEST
    if number in versions:
        others["named more than once"] += 1
    versions[number] = max(version, versions.get(number, 0))


class _Metadata(NamedTuple):
    """What PMC says of a full text: its licence, where its XML is (a path), that one's md5; and the JSON itself."""

    license: str
    path: str
    md5: str
    text: str


def place_pmc(fetcher: Fetcher, url: str, folder: Path, licenses: tuple[str, ...], article: tuple[int, int]) -> Placed:
    """Have the XML of an article (number, version) in the folder, its metadata beside it. Raises FetchError."""
    number, version = article
    try:
        version = _latest_version(fetcher, url, number) if version == LATEST else version
        name = f"PMC{number}.{version}"
        metadata = _metadata(fetcher, url, folder, name)
    except FetchError as error:
        if error.reason == "not found":
            return Placed(f"PMC{number}", left_out="not among PMC's open full texts")
        raise
    if not _is_allowed(metadata.license, licenses):
        return Placed(name, left_out=f"licence: {metadata.license or 'none said'}")
    if not metadata.md5:
        return Placed(name, left_out="no XML of it")
    path, size = folder / f"{name}.xml", 0
    if not has_md5(path, metadata.md5):
        fetcher.fetch(url + metadata.path, path, metadata.md5)
        size = path.stat().st_size
    metadata_path = folder / f"{name}.json"
    if not (metadata_path.exists() and metadata_path.read_bytes() == metadata.text.encode()):
        with write_aside(metadata_path) as out:
            out.write(metadata.text)
    return Placed(name, size)


def _latest_version(fetcher: Fetcher, url: str, number: int) -> int:
    """The highest version that the bucket lists; versions are numbers, so that 10 is above 2."""
    query = urlencode({"list-type": "2", "prefix": f"PMC{number}.", "delimiter": "/"})
    listing = fetcher.read(f"{url}/?{query}").decode("utf-8", "replace")
    versions = [int(version) for version in re.findall(rf"\bPMC{number}\.(\d{{1,4}})/", listing)]
    if not versions:
        raise FetchError(f"{url} lists no version of PMC{number}", "not found")
    return max(versions)


def _metadata(fetcher: Fetcher, url: str, folder: Path, name: str) -> _Metadata:
    """The metadata in the folder where they speak of the XML that is there, else the server's."""
    path = folder / f"{name}.json"
    if path.exists():
        known = _parse_metadata(path.read_bytes())
        if known and known.md5 and has_md5(folder / f"{name}.xml", known.md5):
            return known
    answer = fetcher.read(f"{url}/metadata/{name}.json")
    metadata = _parse_metadata(answer)
    if metadata is None:
        raise FetchError(f"{url}/metadata/{name}.json is no metadata, but {answer[:SHOWN]!r}", "no metadata")
    return metadata


def _parse_metadata(answer: bytes) -> _Metadata | None:
    """PMC's JSON; None when it is something else. "" stands for what it does not say."""
    try:
        text = answer.decode("utf-8")
        record = json.loads(text)
        address = urlsplit(record.get("xml_url") or "")
        license_code = record.get("license_code") or ""
    except (ValueError, AttributeError):
        return None
    md5 = parse_qs(address.query).get("md5", [""])[0]
    is_usable = MD5.fullmatch(md5) and address.path.startswith("/")
    return _Metadata(str(license_code), address.path if is_usable else "", md5 if is_usable else "", text)


def _is_allowed(license_code: str, licenses: tuple[str, ...]) -> bool:
    """Whether a licence is asked for, in any case and with blanks or hyphens: "cc-by" is "CC BY"."""
    allowed = {name.casefold().replace("-", " ") for name in licenses}
    return "all" in allowed or license_code.casefold().replace("-", " ") in allowed
