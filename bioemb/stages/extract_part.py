"""One XML file's share of an extraction: its pairs, and a row of the index for every record of it.

A part is three files: the pairs (JSON lines without identity), the index, and last the counts, which say that it is
whole. `extract.py` makes the parts, in any order and number of processes, and merges them.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.data import PairRules, make_pairs, read_articles
from bioemb.errors import DataError
from bioemb.files import json_line, write_aside, write_json
from bioemb.records import PAIR_KINDS, Article, Deletion, Dropped, Pair, stable_hash

SOURCES = ("pubmed", "pmc")
DELETED = len(SOURCES)  # in place of a source: the row withdraws the PubMed records of its key before it
INDEX = np.dtype(
    [
        ("key", np.int64),  # the PMID, or a negative hash of the identifier where there is none
        ("version", np.int32),
        ("source", np.int8),
        ("pairs", np.uint16, len(PAIR_KINDS)),  # lines of each kind, in the order of PAIR_KINDS
        ("reason", np.uint16, len(PAIR_KINDS)),  # why there are none: a number of the part's reasons, from 1
    ]
)


class Part(NamedTuple):
    """The paths of a part."""

    pairs: Path
    index: Path
    counts: Path

    def is_whole(self) -> bool:
        return self.counts.exists()

    def read_counts(self) -> dict:
        return json.loads(self.counts.read_text(encoding="utf-8"))


def part_of(folder: Path, number: int) -> Part:
    """Where the part of a file, by its number among the inputs, stands."""
    stem = f"part-{number:06d}"
    return Part(folder / f"{stem}.jsonl", folder / f"{stem}.npy", folder / f"{stem}.json")


def make_part(path: Path, part: Part, kinds: tuple[str, ...], rules: PairRules, skip_broken: bool) -> None:
    """Read a file and write its part. Raises DataError where the file is broken and that is not to be skipped."""
    rows: list[tuple] = []
    reasons: dict[str, int] = {}
    nameless: dict[str, int] = {}
    broken = ""
    with write_aside(part.pairs) as out:
        try:
            for record in read_articles(path):
                if isinstance(record, Dropped):
                    nameless[record.reason] = nameless.get(record.reason, 0) + 1
                elif isinstance(record, Deletion):
                    rows.append((record.pmid, 0, DELETED, (0,) * len(PAIR_KINDS), (0,) * len(PAIR_KINDS)))
                else:
                    pairs, drops = make_pairs(record, kinds, rules)
                    rows.append(_index_row(record, pairs, drops, reasons))
                    for pair in sorted(pairs, key=lambda pair: PAIR_KINDS.index(pair.kind)):
                        out.write(pair_line(pair))
        except DataError as error:
            if not skip_broken:
                raise
            broken = str(error)
    np.save(part.index, np.array(rows, INDEX), allow_pickle=False)
    write_json(part.counts, {"file": path.name, "reasons": list(reasons), "nameless": nameless, "broken": broken})


def pair_line(pair: Pair) -> str:
    """A pair's line, its identity left out: `with_identity` puts it in once all links are known."""
    record = pair.as_record()
    del record["identity"]
    return json_line(record)


def with_identity(line: str, identity: int) -> str:
    """The line of a part with the identity of its pair."""
    return f'{line[:-2]}, "identity": {identity}}}\n'


def record_key(article: Article) -> int:
    """The PMID, or a negative number that stands for the identifier."""
    return article.pmid if article.pmid is not None else -1 - stable_hash(article.article_id, 62)


def _index_row(article: Article, pairs: list[Pair], drops: list[tuple[str, str]], reasons: dict[str, int]) -> tuple:
    counts = [sum(pair.kind == kind for pair in pairs) for kind in PAIR_KINDS]
    numbers = [0] * len(PAIR_KINDS)
    for kind, reason in drops:
        numbers[PAIR_KINDS.index(kind)] = reasons.setdefault(reason, len(reasons) + 1)
    return record_key(article), article.version, SOURCES.index(article.source), tuple(counts), tuple(numbers)
