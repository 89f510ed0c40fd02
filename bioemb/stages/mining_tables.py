"""What a mining run works on, as tables on disk: each row's query and positives, and every passage once.

Passages are numbered in the order of their first appearance; those that may be found come first. One dictionary
entry a passage is held in memory while the tables are written (about 200 bytes), and nothing of the rows.
"""

import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Dataset

from bioemb.data.examples import passage_identity, whole_numbers
from bioemb.errors import DataError
from bioemb.files import Located, read_records, text_field, write_json
from bioemb.log import progress
from bioemb.mining.exclusions import Exclusions
from bioemb.mining.ragged import Ragged
from bioemb.records import same_text_key, stable_hash
from bioemb.tables import open_table, table_writer

PASSAGES = pa.schema([("text", pa.string())])
ROWS = pa.schema([("query", pa.string()), ("positives", pa.list_(pa.int64())), ("identity", pa.int64())])


class Tables(NamedTuple):
    """Rows in the order of the input, passages by number, and what is excluded for a row."""

    rows: Dataset  # query, positives, identity
    passages: Dataset  # text
    searched: int  # passages below this number are the candidates
    identities: "Identities"  # of passages whose articles are known
    exclusions: Exclusions


class Identities:
    """The identity of each passage whose article is known, 16 bytes each; of several, the last that was read."""

    def __init__(self, numbers: np.ndarray, identities: np.ndarray):
        order = np.argsort(numbers, kind="stable")
        self.numbers, self.identities = numbers[order], identities[order]

    def of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The identities of passages [n], and which of them are known: int64 [n], bool [n]."""
        places = np.searchsorted(self.numbers, numbers, "right") - 1
        is_known = places >= 0
        is_known[is_known] = self.numbers[places[is_known]] == numbers[is_known]
        found = np.zeros(len(numbers), np.int64)
        found[is_known] = self.identities[places[is_known]]
        return found, is_known


def write_tables(folder: Path, files: list[Path], pool: list[Path]) -> None:
    """Write the tables of the files into a folder, unless they are there. Raises DataError with file and line."""
    if (folder / "counts.json").exists():
        return
    passages_table, rows_table = folder / "passages.arrow", folder / "rows.arrow"
    with table_writer(passages_table, PASSAGES) as add_passage, table_writer(rows_table, ROWS) as add_row:
        passages, rows = _Passages(add_passage), 0
        for located in progress(read_records(pool), "read the pool") if pool else ():
            text = text_field(located, "text")
            if not text.strip():
                raise DataError("'text' is empty", located.path, located.line)
            passages.number(text, whole_numbers(located, "identity"))
        searched = len(passages.numbers)
        if pool and not searched:
            raise DataError("there are no passages to mine from", pool[0])
        for located, query, positives, negatives in progress(read_examples(files), "read examples"):
            identity = whole_numbers(located, "identity")
            ids = [passages.number(text, identity) for text in positives]
            if not pool:
                for text, identity_of_text in zip(negatives, _negatives_identities(located, negatives), strict=True):
                    passages.number(text, identity_of_text)
            add_row({"query": query, "positives": ids, "identity": identity})
            rows += 1
        if not rows:
            raise DataError("there are no rows to mine for", files[0])
    np.save(folder / "identities.npy", passages.identities(), allow_pickle=False)
    count = len(passages.numbers)
    write_json(folder / "counts.json", {"rows": rows, "passages": count, "searched": searched if pool else count})


def open_tables(folder: Path) -> Tables:
    """The tables that `write_tables` wrote into a folder."""
    counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
    rows, passages = open_table(folder / "rows.arrow"), open_table(folder / "passages.arrow")
    numbers, identities = np.load(folder / "identities.npy")
    exclusions = Exclusions(
        _hashes(passages, "text"),
        (numbers, identities),
        _hashes(rows, "query"),
        _positives(rows),
    )
    return Tables(rows, passages, counts["searched"], Identities(numbers, identities), exclusions)


def read_examples(files: list[Path]) -> Iterator[tuple[Located, str, list[str], list[str]]]:
    """Each row with its query, positives and old negatives; the filter's pairs have one positive, their document."""
    for located in read_records(files):
        record, path, line = located
        query = text_field(located, "query")
        if "pos" not in record and "document" in record:
            positives = [text_field(located, "document")]
        else:
            positives = _text_list(located, "pos")
        if not positives:
            raise DataError("'pos' is empty; a row needs at least one positive", path, line)
        negatives = _text_list(located, "neg") if record.get("neg") else []
        if not all(text.strip() for text in (query, *positives, *negatives)):
            raise DataError("an empty text among the query, 'pos' and 'neg'", path, line)
        yield located, query, positives, negatives


def _negatives_identities(located: Located, negatives: list[str]) -> list[int | None]:
    """The articles of a row's negatives, None where they are not known: a text's hash, as mining writes it, is none."""
    given = whole_numbers(located, "neg_identities", len(negatives))
    if given is None:
        return [None] * len(negatives)
    return [None if one == passage_identity(text) else one for one, text in zip(given, negatives, strict=True)]


class _Passages:
    """Numbers texts in the order of their first appearance, and hands each on to a table when it first appears."""

    def __init__(self, add: Callable[[dict], None]):
        self.add = add
        self.numbers: dict[bytes, int] = {}
        self.first, self.is_known = array("q"), bytearray()  # of each passage: its first identity, if it has one
        self.further: dict[tuple[int, int], None] = {}  # (passage, identity), in order

    def number(self, text: str, identity: int | None) -> int:
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.numbers)
            self.add({"text": text})
            self.first.append(0 if identity is None else identity)
            self.is_known.append(identity is not None)
        elif identity is not None and not self.is_known[number]:
            self.first[number], self.is_known[number] = identity, True
        elif identity is not None and self.first[number] != identity:
            self.further[number, identity] = None
        return number

    def identities(self) -> np.ndarray:
        """Passages and an identity of each: int64 [2, e]; of one passage in the order in which they were read."""
        known = np.flatnonzero(np.frombuffer(self.is_known, bool))
        further = np.array(list(self.further), np.int64).reshape(-1, 2).T
        return np.concatenate([[known, np.frombuffer(self.first, np.int64)[known]], further], axis=1)


def _positives(rows: Dataset) -> Ragged:
    """Each row's positives, by number; no Python list is made of them."""
    lists = rows.data.column("positives").combine_chunks()
    starts = lists.offsets.to_numpy().astype(np.int64)
    return Ragged(lists.values.to_numpy(), starts)


def _hashes(table: Dataset, column: str) -> np.ndarray:
    """int64 [n]: what texts that read the same share."""
    step = 10_000
    hashes: Iterable[int] = (
        stable_hash(same_text_key(text))
        for start in range(0, len(table), step)
        for text in table[start : start + step][column]
    )
    return np.fromiter(hashes, np.int64, len(table))


def _text_list(located: Located, key: str) -> list[str]:
    record, path, line = located
    if key not in record:
        raise DataError(f"no key {key!r}; the row has {', '.join(map(repr, record)) or 'none'}", path, line)
    values = record[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{key!r} must be a list of texts, got {values!r:.60}", path, line)
    return values
