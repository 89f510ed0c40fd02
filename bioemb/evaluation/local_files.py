"""A task's local files, read and checked: pairs with scores, or a corpus, queries and relevance in the BEIR layout."""

import math
from pathlib import Path
from typing import NamedTuple

from bioemb.errors import DataError
from bioemb.files import Located, open_read, read_records, text_field
from bioemb.log import logger


class ScoredPairs(NamedTuple):
    """The columns of an STS task, n long each."""

    sentence1: list[str]
    sentence2: list[str]
    score: list[float]


class Collection(NamedTuple):
    """A retrieval task: passages, the queries that have judgments, and those judgments."""

    passages: dict[str, tuple[str, str]]  # id: (title, text)
    queries: dict[str, str]  # id: text
    relevance: dict[str, dict[str, int]]  # query id: {passage id: grade}


def read_pairs(path: Path) -> ScoredPairs:
    """Pairs of a JSON-lines file `{"sentence1","sentence2","score"}`. Raises DataError with file and line."""
    pairs = ScoredPairs([], [], [])
    for located in read_records([path]):
        pairs.sentence1.append(_full_text(located, "sentence1"))
        pairs.sentence2.append(_full_text(located, "sentence2"))
        pairs.score.append(_number(located, "score"))
    if len(pairs.score) < 2:
        raise DataError(f"{len(pairs.score)} pairs; a correlation needs 2 at least", path)
    if len(set(pairs.score)) == 1:
        raise DataError(f"every score is {pairs.score[0]}; a correlation needs scores that differ", path)
    return pairs


def read_collection(folder: Path, split: str) -> Collection:
    """corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv (else qrels/test.tsv). Raises DataError with file and line."""
    qrels = folder / "qrels" / f"{split}.tsv"
    qrels = qrels if qrels.exists() else folder / "qrels" / "test.tsv"
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl", qrels):
        if not path.is_file():
            raise DataError("no such file; a retrieval task is corpus.jsonl, queries.jsonl and qrels/test.tsv", path)
    passages = {key: (_title(located), text_field(located, "text")) for key, located in _by_id(folder / "corpus.jsonl")}
    queries = {key: _full_text(located, "text") for key, located in _by_id(folder / "queries.jsonl")}
    relevance = _read_relevance(qrels, queries, passages)
    judged = {key: text for key, text in queries.items() if key in relevance}
    logger.info(
        "%s: %d passages, %d queries (%d more have no judgment)",
        folder.name,
        len(passages),
        len(judged),
        len(queries) - len(judged),
    )
    return Collection(passages, judged, relevance)


def _by_id(path: Path) -> list[tuple[str, Located]]:
    found: dict[str, Located] = {}
    for located in read_records([path]):
        key = located.record.get("_id")
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        if not isinstance(key, str) or not key:
            keys = ", ".join(map(repr, located.record))
            raise DataError(f"'_id' is missing or not text; the record has {keys or 'no key'}", path, located.line)
        if key in found:
            raise DataError(f"the _id {key!r} stands in line {found[key].line} already", path, located.line)
        found[key] = located
    if not found:
        raise DataError("the file is empty", path)
    return list(found.items())


def _title(located: Located) -> str:
    # null is common in this layout, and mteb fails on it
    return "" if located.record.get("title") is None else text_field(located, "title")


def _full_text(located: Located, key: str) -> str:
    text = text_field(located, key)
    if not text.strip():
        raise DataError(f"{key!r} is empty", located.path, located.line)
    return text


def _number(located: Located, key: str) -> float:
    record, path, line = located
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        found = f"is {value!r}" if key in record else f"is missing (the record has {', '.join(map(repr, record))})"
        raise DataError(f"{key!r} {found}, expected a number", path, line)
    return float(value)


def _read_relevance(path: Path, queries: dict[str, str], passages: dict[str, tuple[str, str]]) -> dict:
    relevance: dict[str, dict[str, int]] = {}
    with open_read(path) as handle:
        for line, raw in enumerate(handle, start=1):
            fields = _fields(raw, path, line)
            grade = _grade(fields)
            if fields is None or (line == 1 and grade is None and fields[0] not in queries and len(fields) == 3):
                continue  # an empty line, or the header
            if grade is None:
                raise DataError(
                    f"expected query-id, corpus-id and a whole number, with tabs between, got {fields}", path, line
                )
            query, passage, _ = fields
            for kind, key, known in (("query", query, queries), ("passage", passage, passages)):
                if key not in known:
                    raise DataError(f"there is no {kind} {key!r} in the {kind} file", path, line)
            if relevance.setdefault(query, {}).setdefault(passage, grade) != grade:
                raise DataError(f"query {query!r} and passage {passage!r} have another grade above", path, line)
    if not any(grade > 0 for grades in relevance.values() for grade in grades.values()):
        raise DataError("no query has a relevant passage (a grade above 0)", path)
    return relevance


def _fields(raw: bytes, path: Path, line: int) -> list[str] | None:
    try:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise DataError("not UTF-8; convert the file to UTF-8", path, line) from None
    return text.split("\t") if text.strip() else None


def _grade(fields: list[str] | None) -> int | None:
    try:
        return int(fields[2]) if fields is not None and len(fields) == 3 else None
    except ValueError:
        return None
