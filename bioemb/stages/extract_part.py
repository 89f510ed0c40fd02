"""Some XML files' share of an extraction: pairs, a row of the index for every record, and what ties records together.

A part is six files, each written aside and renamed; the counts come last and say that it is whole. `extract.py` makes
the parts, in any order and number of processes, and `extract_merge.py` merges them.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.data import PairRules, make_pairs, read_articles
from bioemb.data.identity import BANDS, Marks, is_spoken_of, marks_of, signature
from bioemb.data.pairs import is_retracted
from bioemb.errors import DataError
from bioemb.files import json_line, write_aside, write_json
from bioemb.records import ALL_PAIR_KINDS, Article, Deletion, Dropped, Pair, stable_hash

SOURCES = ("pubmed", "pmc")
DELETED = len(SOURCES)  # in place of a source: the row withdraws the PubMed records of its key before it
INDEX = np.dtype(
    [
        ("key", np.int64),  # the PMID, or a negative hash of the identifier where there is none
        ("version", np.int32),
        ("source", np.int8),
        ("is_retracted", np.bool_),
        ("license", np.uint8),  # of the full text: a number of the part's licences, from 1; 0 where there is no text
        ("pairs", np.uint16, len(ALL_PAIR_KINDS)),  # lines of each kind, in the order of ALL_PAIR_KINDS
        ("reason", np.uint16, len(ALL_PAIR_KINDS)),  # why there are none: a number of the part's reasons, from 1
    ]
)
NOTHING = (0,) * len(ALL_PAIR_KINDS)


class Part(NamedTuple):
    """The paths of a part."""

    pairs: Path  # JSON lines without identity
    index: Path  # [n] INDEX
    marks: Path  # [len(Marks), n] int64
    links: Path  # [m, 3] int64: a row of the index, the PMID that it is linked to, 1 where that one speaks of it
    bands: Path  # [BANDS, k] uint64 and nothing else: the signatures of the k records with a mark for the abstract
    counts: Path

    def is_whole(self) -> bool:
        return self.counts.exists()

    def read_counts(self) -> dict:
        return json.loads(self.counts.read_text(encoding="utf-8"))


class PartRules(NamedTuple):
    """How files are read: which pairs, whether abstracts are signed for near-duplicates, what becomes of a break."""

    kinds: tuple[str, ...]
    rules: PairRules
    signed: bool
    skip_broken: bool


def part_of(folder: Path, number: int) -> Part:
    """Where the part with this number stands."""
    stem = f"part-{number:06d}"
    arrays = (folder / f"{stem}.{name}" for name in ("index.npy", "marks.npy", "links.npy", "bands"))
    return Part(folder / f"{stem}.jsonl", *arrays, folder / f"{stem}.json")


def make_part(paths: list[Path], part: Part, how: PartRules) -> None:
    """Read files and write their part. Raises DataError where one is broken and that is not to be skipped."""
    rows = _Rows(how.signed)
    broken = []
    with write_aside(part.pairs) as out:
        for path in paths:
            try:
                for record in read_articles(path):
                    out.writelines(_take(record, rows, how))
            except DataError as error:
                if not how.skip_broken:
                    raise DataError(f"{error}; or go on without such files: --skip_broken_files yes") from None
                broken.append(str(error))
    rows.write(part)
    names = {"reasons": list(rows.reasons), "licenses": list(rows.licenses), "nameless": rows.nameless}
    write_json(part.counts, {"files": len(paths), "broken": broken, "revised": rows.revised, **names})


def _take(record: Article | Deletion | Dropped, rows: "_Rows", how: PartRules) -> list[str]:
    """Note a record; the lines of its pairs, in the order of their kinds."""
    if isinstance(record, Deletion):
        rows.add_deletion(record)
        return []
    if isinstance(record, Dropped):
        rows.add_nameless(record)
        return []
    pairs, drops = make_pairs(record, how.kinds, how.rules)
    rows.add(record, pairs, drops, is_retracted(record, how.rules))
    return [pair_line(pair) for pair in sorted(pairs, key=lambda pair: ALL_PAIR_KINDS.index(pair.kind))]


def pair_line(pair: Pair) -> str:
    """A pair's line without its identity: `with_identity` puts it in once all links are known."""
    record = pair.as_record()
    del record["identity"]
    return json_line(record)


def with_identity(line: str, identity: int) -> str:
    """The line of a part with the identity of its pair."""
    return f'{line[:-2]}, "identity": {identity}}}\n'


def record_key(article: Article) -> int:
    """The PMID, or a negative number that stands for the identifier."""
    return article.pmid if article.pmid is not None else -1 - stable_hash(article.article_id, 62)


class _Rows:
    """What is kept of the records of a part: about 100 bytes each, and 256 for a signature."""

    def __init__(self, signed: bool):
        self.signed = signed
        self.index: list[tuple] = []
        self.marks: list[Marks] = []
        self.links: list[tuple[int, int, bool]] = []
        self.bands: list[np.ndarray] = []
        self.reasons: dict[str, int] = {}  # to their numbers, from 1, in the order in which they came up
        self.licenses: dict[str, int] = {}
        self.nameless: dict[str, int] = {}
        self.revised = ""  # the newest day that PubMed changed a record

    def add(self, article: Article, pairs: list[Pair], drops: list[tuple[str, str]], is_retracted: bool) -> None:
        marks, words = marks_of(article)
        if self.signed and words:
            self.bands.append(signature(words))
        self.links += [(len(self.index), pmid, is_spoken_of(kind)) for kind, pmid in article.links]
        self.marks.append(marks)
        counts, reasons = list(NOTHING), list(NOTHING)
        for pair in pairs:
            counts[ALL_PAIR_KINDS.index(pair.kind)] += 1
        for kind, reason in drops:
            reasons[ALL_PAIR_KINDS.index(kind)] = self.reasons.setdefault(reason, len(self.reasons) + 1)
        of_text = self.licenses.setdefault(article.license, len(self.licenses) + 1) if article.sections else 0
        source = SOURCES.index(article.source)
        self.revised = max(self.revised, article.revised)
        key, per_kind = record_key(article), (tuple(counts), tuple(reasons))
        self.index.append((key, article.version, source, is_retracted, of_text, *per_kind))

    def add_deletion(self, deletion: Deletion) -> None:
        self.index.append((deletion.pmid, 0, DELETED, False, 0, NOTHING, NOTHING))
        self.marks.append(Marks(0, 0, 0, 0))

    def add_nameless(self, dropped: Dropped) -> None:
        self.nameless[dropped.reason] = self.nameless.get(dropped.reason, 0) + 1

    def write(self, part: Part) -> None:
        _save(part.index, np.array(self.index, INDEX))
        _save(part.marks, np.array(self.marks, np.int64).reshape(-1, len(Marks._fields)).T)
        _save(part.links, np.array(self.links, np.int64).reshape(-1, 3))
        with write_aside(part.bands) as out:
            out.buffer.write(np.array(self.bands, np.uint64).reshape(-1, BANDS).T.tobytes())


def _save(path: Path, array: np.ndarray) -> None:
    """An array in C order, written aside and renamed."""
    with write_aside(path) as out:
        np.save(out.buffer, np.ascontiguousarray(array), allow_pickle=False)
