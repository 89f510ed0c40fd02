"""The passages of a corpus to search, whatever file they stand in, each once: their ids and texts as a table on disk.

Memory: about 100 bytes for each passage while the table is written, nothing after.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from bioemb.errors import DataError
from bioemb.files import (
    RECORD_SUFFIXES,
    Located,
    hash_file,
    list_files,
    open_read,
    read_records,
    remove_leftovers,
    text_field,
    text_lines,
)
from bioemb.log import logger, progress
from bioemb.manifest import work_key
from bioemb.stages.inspect import texts_of
from bioemb.tables import open_table, write_table

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_SUFFIXES = (".txt", ".txt.gz", ".txt.zst")
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])
ID_KEYS = ("_id", "id", "article_id", "pmid")  # what names a passage, else its file and line


class Corpus(NamedTuple):
    """The passages, and what names the state of the files that they came from."""

    passages: "Dataset"  # id, text
    key: str


def open_corpus(paths: Sequence[str], work: Path) -> Corpus:
    """The passages of the files, from a table in the work folder, made there when it is not. Raises DataError."""
    files = [file for path in paths for file in _files_of(Path(path))]
    key = work_key({f"{number} {path.name}": hash_file(path) for number, path in enumerate(files)})
    folder = work / f"passages-{key}"
    table = folder / "passages.arrow"
    if not table.exists():
        remove_leftovers(folder)
        passages = progress(distinct_passages(files), "read passages")
        write_table(table, SCHEMA, ({"id": name, "text": text} for name, text in passages))
    corpus = Corpus(open_table(table), key)
    if not len(corpus.passages):
        raise DataError("there are no passages to search", paths[0])
    return corpus


def distinct_passages(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(id, text) of every passage of the files, at its first appearance; what is left out is counted in the log."""
    seen: set[bytes] = set()
    empty = repeated = 0
    for path in files:
        for name, text in _passages_of(path):
            digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if not text.strip():
                empty += 1
            elif digest in seen:
                repeated += 1
            else:
                seen.add(digest)
                yield name, text
    if empty or repeated:
        logger.info("left out: %s passages without text, %s that are there already", f"{empty:,}", f"{repeated:,}")


def _files_of(path: Path) -> list[Path]:
    """The files of an entry; of a folder in BEIR's layout the passages alone."""
    corpora = (path / f"corpus.jsonl{end}" for end in ("", ".gz", ".zst"))
    found = next(filter(Path.is_file, corpora), None)
    return [found] if found else list_files(path, (*RECORD_SUFFIXES, *TEXT_SUFFIXES))


def _passages_of(path: Path) -> Iterator[tuple[str, str]]:
    if path.name.lower().endswith(RECORD_SUFFIXES):
        for located in read_records([path]):
            yield from _passages_in(located)
        return
    with open_read(path) as handle:
        for number, line in enumerate(text_lines(handle, path), start=1):
            if line.strip():  # an empty line is no passage
                yield f"{path.name}:{number}", line.strip()


def _passages_in(located: Located) -> Iterator[tuple[str, str]]:
    """The passages of a record: of a corpus its text with its title before it, of training data all but the query."""
    record, path, line = located
    name = next((str(record[key]) for key in ID_KEYS if record.get(key) is not None), f"{path.name}:{line}")
    place = f"{path.name}:{line}"
    if "text" in record:
        title = text_field(located, "title") if record.get("title") else ""
        yield name, " ".join([title, text_field(located, "text")] if title else [text_field(located, "text")])
    elif "document" in record:
        yield name, text_field(located, "document")
    elif "sentence1" in record:
        yield from ((place, text_field(located, key)) for key in ("sentence1", "sentence2"))
    elif "pos" in record:
        for key in ("pos", "neg") if record.get("neg") else ("pos",):
            yield from ((place, text) for text in texts_of(located, key))
    else:
        keys = ", ".join(map(repr, record)) or "none"
        raise DataError(f"no passage under 'text', 'document', 'pos' or 'sentence1'; the record has {keys}", path, line)
