"""`bioemb inspect`: what files of pairs or examples hold, as a table or as JSON; nothing is written.

In memory are one record, the counts of at most MOST_VALUES values of a field, and 8 bytes for each query, document,
pair and identity: 32 bytes a pair.
"""

import heapq
import json
import re
from array import array
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Any

import numpy as np

from bioemb.config import InspectConfig
from bioemb.errors import DataError
from bioemb.files import RECORD_SUFFIXES, Located, list_files, read_records, text_field
from bioemb.log import printable, progress
from bioemb.records import same_text_key, stable_hash

FIELDS = {"kinds": "kind", "languages": "language", "licenses": "license", "sections": "section"}  # name: key
PERCENTILES = (5, 25, 50, 75, 95, 99)
YEAR = re.compile(r"(\d{1,4})(?:\.0)?")  # Parquet may have 2020.0
NONE, OTHERS = "(none)", "(others)"
DUPLICATES = "duplicates (texts are the same whatever their case, spacing and last full stop)"
MOST_VALUES = 1000  # of a field are counted each, the rest together
SHOWN_VALUES = 12  # of a field, in the table; the JSON has all
VALUE_CHARACTERS, TEXT_CHARACTERS = 60, 200  # longer ones are cut


def run(config: InspectConfig) -> str:
    """Read everything once; returns the table, or one JSON object."""
    files = list_files(config.input_path, RECORD_SUFFIXES)
    survey = Survey(config.examples)
    for located in progress(read_records(files), "read records"):
        survey.add(located)
    if not survey.records:
        raise DataError("there is no record", files[0] if len(files) == 1 else files[0].parent)
    facts = {"files": [str(path) for path in files], **survey.as_dict()}
    return json.dumps(facts, ensure_ascii=False) if config.json else as_text(facts)


class Survey:
    """What the records so far hold."""

    def __init__(self, examples: int):
        """examples: how many records of each kind to keep for reading."""
        self.records = 0
        self.values = {name: Counter() for name in (*FIELDS, "decades")}
        self.first_year, self.last_year = None, None
        self.words = {side: Counter() for side in ("query", "document", "negative")}  # number of words: texts
        self.hashes = {name: array("Q") for name in ("queries", "documents", "pairs", "identities")}
        self.examples = examples
        self.kept: dict[str, list[tuple[int, str, str]]] = {}  # by kind: (-hash, query, document), a heap

    def add(self, located: Located) -> None:
        """Count a pair {"query","document"} or an example {"query","pos","neg"}. Raises DataError for neither."""
        record = located.record
        query = text_field(located, "query")
        documents = texts_of(located, "document" if "pos" not in record else "pos")
        negatives = texts_of(located, "neg") if record.get("neg") is not None else []
        self.records += 1
        for side, texts in (("query", [query]), ("document", documents), ("negative", negatives)):
            self.words[side].update(len(text.split()) for text in texts)
        kind = count(self.values["kinds"], record.get("kind"))
        for name, key in list(FIELDS.items())[1:]:
            count(self.values[name], record.get(key))
        self._add_year(record.get("year"))
        if record.get("identity") is not None:
            self.hashes["identities"].append(stable_hash(str(record["identity"])))
        self._add_texts(kind, query, documents)

    def _add_year(self, value: Any) -> None:
        digits = YEAR.fullmatch(str(value))
        year = int(digits[1]) if digits else None
        count(self.values["decades"], None if year is None else f"{year // 10 * 10}s")
        if year is not None:
            self.first_year = year if self.first_year is None else min(year, self.first_year)
            self.last_year = year if self.last_year is None else max(year, self.last_year)

    def _add_texts(self, kind: str, query: str, documents: list[str]) -> None:
        of_query = stable_hash(same_text_key(query))
        self.hashes["queries"].append(of_query)
        for document in documents:
            of_document = stable_hash(same_text_key(document))
            of_pair = stable_hash(f"{of_query} {of_document}")
            self.hashes["documents"].append(of_document)
            self.hashes["pairs"].append(of_pair)
            self._keep(kind, of_pair, query, document)

    def _keep(self, kind: str, of_pair: int, query: str, document: str) -> None:
        """Keep the pairs of a kind with the smallest hashes: a sample that the order of the records does not change."""
        heap = self.kept.setdefault(kind, [])
        if len(heap) == self.examples and (not heap or of_pair >= -heap[0][0]):
            return
        if any(-other == of_pair for other, _, _ in heap):
            return
        heapq.heappush(heap, (-of_pair, cut(query, TEXT_CHARACTERS), cut(document, TEXT_CHARACTERS)))
        if len(heap) > self.examples:
            heapq.heappop(heap)

    def as_dict(self) -> dict:
        """The facts, ready for JSON; most frequent values first, decades in order."""
        values = {name: dict(counter.most_common()) for name, counter in self.values.items()}
        decades = dict(sorted(values.pop("decades").items(), key=lambda item: (len(item[0]), item[0])))
        identities = self.hashes["identities"]
        texts = {name: self.hashes[name] for name in ("queries", "documents", "pairs")}
        examples = [
            {"kind": kind, "query": query, "document": document}
            for kind, heap in sorted(self.kept.items())
            for _, query, document in sorted(heap, reverse=True)
        ]
        return {
            "records": self.records,
            **values,
            "years": {"first": self.first_year, "last": self.last_year, "decades": decades},
            "words": {side: lengths_of(counter) for side, counter in self.words.items() if counter},
            "duplicates": {name: repeats_of(hashes) for name, hashes in texts.items()},
            "identities": repeats_of(identities),
            "examples": examples,
        }


def texts_of(located: Located, key: str) -> list[str]:
    """The text or texts under a key. Raises DataError for anything else."""
    value = located.record.get(key)
    if not isinstance(value, list):
        return [text_field(located, key)]
    if not all(isinstance(text, str) for text in value):
        raise DataError(f"{key!r} holds something that is no text: {str(value)[:40]}", located.path, located.line)
    return value


def count(counter: Counter, value: Any) -> str:
    """Count a value, and say under which name: many different ones are counted together."""
    name = NONE if value is None or value == "" else cut(str(value), VALUE_CHARACTERS)
    name = name if name in counter or len(counter) < MOST_VALUES else OTHERS
    counter[name] += 1
    return name


def cut(text: str, characters: int) -> str:
    """A text in one line of at most so many characters, without signs that steer a terminal."""
    line = printable(text[: 4 * characters])
    return line if len(line) <= characters else line[: characters - 1] + "…"


def lengths_of(counter: Counter) -> dict:
    """Number, mean, extremes and percentiles (nearest rank) of the lengths whose frequencies these are."""
    lengths = sorted(counter)
    up_to = list(accumulate(counter[length] for length in lengths))
    number = up_to[-1]
    mean = sum(length * times for length, times in counter.items()) / number
    ranks = {f"p{percent}": -(-percent * number // 100) for percent in PERCENTILES}
    percentiles = {name: lengths[bisect_left(up_to, rank)] for name, rank in ranks.items()}
    return {"count": number, "mean": round(mean, 2), "min": lengths[0], **percentiles, "max": lengths[-1]}


def repeats_of(hashes: array) -> dict[str, int]:
    """How many values there are, different ones, and repeats of those; sorts them where they stand."""
    values = np.frombuffer(hashes, np.uint64)
    values.sort()
    repeated = int(np.count_nonzero(values[1:] == values[:-1]))
    return {"count": len(values), "distinct": len(values) - repeated, "repeated": repeated}


def as_text(facts: dict) -> str:
    """The facts as a table for people."""
    files, years = facts["files"], facts["years"]
    blocks = [f"{files[0] if len(files) == 1 else f'{len(files)} files'}: {facts['records']:,} records"]
    span = "years" if years["first"] is None else f"years, {years['first']} to {years['last']}"
    for name, counts in [*((name, facts[name]) for name in FIELDS), (span, years["decades"])]:
        if set(counts) != {NONE}:
            blocks.append(_shares(name, counts, facts["records"]))
    blocks.append(_grid("words", facts["words"]))
    blocks.append(_grid(DUPLICATES, {**facts["duplicates"], "identities": facts["identities"]}))
    blocks += [f"[{each['kind']}] {each['query']}\n  -> {each['document']}" for each in facts["examples"]]
    return "\n\n".join(blocks)


def _shares(title: str, counts: dict[str, int], records: int) -> str:
    """Values with their counts and shares of the records, the first SHOWN_VALUES."""
    width = max(map(len, counts))
    rows = [f"  {name:<{width}}  {number:>11,}  {number / records:>6.1%}" for name, number in counts.items()]
    more = [f"  and {len(rows) - SHOWN_VALUES} more (--json has all)"] if len(rows) > SHOWN_VALUES else []
    return "\n".join([title, *rows[:SHOWN_VALUES], *more])


def _grid(title: str, rows: dict[str, dict]) -> str:
    """Rows of numbers under the names of their columns."""
    columns = list(next(iter(rows.values())))
    head = f"  {'':<10}" + "".join(f"{column:>11}" for column in columns)
    lines = [f"  {name:<10}" + "".join(f"{row[column]:>11,}" for column in columns) for name, row in rows.items()]
    return "\n".join([title, head, *lines])
