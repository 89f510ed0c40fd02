"""The parts of an extraction, merged: which records count, what becomes of each, and the pairs with their identities.

Memory is a few numbers for each record (`docs/architecture.md` has the count); texts pass through line by line.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.files import write_aside
from bioemb.log import Funnel, logger, progress
from bioemb.records import ALL_PAIR_KINDS, same_text_key, stable_hash
from bioemb.stages.extract_identity import Groups, group_articles
from bioemb.stages.extract_part import DELETED, SOURCES, Part, with_identity

FATES = ("counts", "replaced by a later record", "deleted by a later record", "retracted by its other record")
REPLACED, DELETED_LATER, RETRACTED_BY_OTHER = 1, 2, 3
PUBMED = SOURCES.index("pubmed")
TITLE_ABSTRACT = ALL_PAIR_KINDS.index("title_abstract")
TERM_TITLE = "term_title"
EQUAL, ENOUGH = "equal to another record's", "each term has its pairs already"


class Records(NamedTuple):
    """Columns of the index [n], over all parts in order."""

    key: np.ndarray
    version: np.ndarray
    source: np.ndarray
    is_retracted: np.ndarray
    has_abstract_pair: np.ndarray


class Judged(NamedTuple):
    """What becomes of a record and kind: the lines that are written, or why there are none."""

    kind: str
    reason: str
    license: str | None  # of the record's full text, where it has one
    lines: list[str]


def merge_parts(
    parts: list[Part], kinds: tuple[str, ...], output: Path, threshold: float | None, pairs_per_term: int
) -> dict[str, dict]:
    """Write the pairs of the records that count; the funnels of files, records and kinds, licences and identities.

    threshold: from what share of equal word triples abstracts are near-duplicates; None does not look for them.
    pairs_per_term: most pairs of one term, the first that come.
    """
    of_parts = [part.read_counts() for part in parts]
    records = read_index(parts)
    fate = fates(records)
    doubled = doubled_abstracts(records, fate)
    counts = (fate == 0) & (records.source != DELETED)
    groups = group_articles(parts, records.key, records.source, counts, threshold)
    identities = groups.counts(records.key[counts])
    of_records = _records_funnel(records, fate, of_parts)
    of_sources = _sources(records.source[counts], of_parts)
    del records, counts
    return {
        "files": _files_funnel(of_parts),
        "records": of_records,
        "sources": of_sources,
        **_write_pairs(parts, of_parts, (fate, doubled, groups), kinds, output, pairs_per_term),
        "identity": identities,
    }


def _sources(sources: np.ndarray, of_parts: list[dict]) -> dict[str, dict]:
    """The records that count by source, and of PubMed's the day of the newest revision: the date of the copy."""
    counts = {name: {"records": int((sources == number).sum())} for number, name in enumerate(SOURCES)}
    newest = max((of_part.get("revised", "") for of_part in of_parts), default="")
    return {**counts, "pubmed": {**counts["pubmed"], "revised": newest}}


def read_index(parts: list[Part]) -> Records:
    """The columns that the merge looks at as a whole: 15 bytes a record."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.load(part.index, mmap_mode="r")[name] for part in parts])

    has_pair = [np.load(part.index, mmap_mode="r")["pairs"][:, TITLE_ABSTRACT] > 0 for part in parts]
    columns = (column(name) for name in ("key", "version", "source", "is_retracted"))
    return Records(*columns, np.concatenate(has_pair))


def fates(records: Records) -> np.ndarray:
    """What becomes of each record, in the order of the files: a number of FATES [n], 0 when it counts.

    Of several records of one article in one source the highest version counts, of several such the last one; a
    deletion takes the PubMed records before it. PubMed's record and PMC's full text of an article both count, unless
    one of them says that the article was retracted: the other one is dropped with it.
    """
    fate = np.zeros(len(records.key), np.int8)
    is_deletion = records.source == DELETED
    deletions = np.flatnonzero(is_deletion)
    if len(deletions):
        latest = deletions[np.lexsort((-deletions, records.key[deletions]))]
        keys, first = np.unique(records.key[latest], return_index=True)
        at = np.minimum(np.searchsorted(keys, records.key), len(keys) - 1)
        deleted_at = np.where(keys[at] == records.key, latest[first][at], -1)
        fate[(records.source == PUBMED) & (np.arange(len(fate)) < deleted_at)] = DELETED_LATER
    alive = np.flatnonzero((fate == 0) & ~is_deletion)
    ranked = alive[np.lexsort((records.version[alive], records.source[alive], records.key[alive]))]  # stable: by place
    key, source = records.key[ranked], records.source[ranked]
    fate[ranked[:-1][(key[1:] == key[:-1]) & (source[1:] == source[:-1])]] = REPLACED
    retracted = np.unique(records.key[(fate == 0) & records.is_retracted])
    if len(retracted):
        at = np.minimum(np.searchsorted(retracted, records.key), len(retracted) - 1)
        others = (fate == 0) & ~is_deletion & ~records.is_retracted
        fate[others & (retracted[at] == records.key)] = RETRACTED_BY_OTHER
    return fate


def doubled_abstracts(records: Records, fate: np.ndarray) -> np.ndarray:
    """Which records [n] are PMC's of articles whose title-abstract pair PubMed's record gives already."""
    gives = (fate == 0) & records.has_abstract_pair
    in_pubmed = records.key[gives & (records.source == PUBMED)]
    others = np.flatnonzero(gives & (records.source != PUBMED))
    doubled = np.zeros(len(fate), bool)
    doubled[others[np.isin(records.key[others], in_pubmed)]] = True
    return doubled


def _write_pairs(
    parts: list[Part],
    of_parts: list[dict],
    verdicts: tuple[np.ndarray, np.ndarray, Groups],
    kinds: tuple[str, ...],
    output: Path,
    pairs_per_term: int,
) -> dict[str, dict]:
    """Write the output; the funnel of each kind, and full texts and pairs by licence."""
    fate, doubled, groups = verdicts
    funnels = {kind: Funnel(kind) for kind in kinds}
    of_terms = _TermPairs(pairs_per_term)
    made, texts, licensed = Counter(dict.fromkeys(kinds, 0)), Counter(), Counter()
    start = 0
    with write_aside(output) as out:
        for part, of_part in zip(progress(parts, "merge"), of_parts, strict=True):
            rows = np.load(part.index)
            here = slice(start, start + len(rows))
            start += len(rows)
            texts.update(_licenses_of_texts(rows[fate[here] == 0], of_part["licenses"]))
            for kind, reason, license, lines in _judged(part, of_part, rows, (fate[here], doubled[here], groups)):
                if kind not in funnels:
                    continue
                if kind == TERM_TITLE and lines:
                    lines, reason = of_terms.take(lines)
                if reason:
                    funnels[kind].drop(reason)
                else:
                    funnels[kind].keep()
                    made[kind] += len(lines)
                    licensed[license] += 0 if license is None or kind == "title_abstract" else len(lines)
                    out.writelines(lines)
    return {
        **{kind: {**funnel.as_dict(), "pairs": made[kind]} for kind, funnel in funnels.items()},
        **({"pairs of terms": of_terms.funnel.as_dict()} if TERM_TITLE in kinds else {}),
        "licenses": {name or "unknown": {"texts": texts[name], "pairs": licensed[name]} for name in sorted(texts)},
    }


def _judged(
    part: Part, of_part: dict, rows: np.ndarray, verdicts: tuple[np.ndarray, np.ndarray, Groups]
) -> Iterator[Judged]:
    """What becomes of every record and kind of a part."""
    fate, doubled, groups = verdicts
    reasons, licenses = ["", *of_part["reasons"]], [None, *of_part["licenses"]]
    columns = (rows[name].tolist() for name in ("source", "license", "pairs", "reason"))
    about = zip(*columns, fate.tolist(), doubled.tolist(), groups.identities(rows["key"]), strict=True)
    with open(part.pairs, encoding="utf-8", newline="\n") as lines:
        for source, license, pairs, numbers, of_row, is_doubled, identity in about:
            if source == DELETED:
                continue
            for kind, count, number in zip(ALL_PAIR_KINDS, pairs, numbers, strict=True):
                found = list(islice(lines, count))
                if of_row:
                    yield Judged(kind, FATES[of_row], None, [])
                elif is_doubled and kind == "title_abstract":
                    yield Judged(kind, "PubMed's record has it", None, [])
                else:
                    finished = [with_identity(line, identity) for line in found]
                    yield Judged(kind, reasons[number], licenses[license], finished)


class _TermPairs:
    """Which pairs of a term and a title are written: `most` of each term, the first that come, and none twice."""

    def __init__(self, most: int):
        self.most = most
        self.titles: defaultdict[int, list[int]] = defaultdict(list)  # of each term, as hashes
        self.funnel = Funnel("pairs of terms")

    def take(self, lines: list[str]) -> tuple[list[str], str]:
        """Of a record's lines those that are written; where there are none, the reason of the last."""
        kept, reason = [], ""
        for line in lines:
            pair = json.loads(line)
            titles, title = self.titles[stable_hash(same_text_key(pair["query"]))], stable_hash(pair["document"])
            reason = EQUAL if title in titles else ENOUGH if len(titles) == self.most else ""
            if reason:
                self.funnel.drop(reason)
            else:
                self.funnel.keep()
                titles.append(title)
                kept.append(line)
        return kept, "" if kept else reason


def _licenses_of_texts(rows: np.ndarray, names: list[str]) -> dict[str, int]:
    """How many full texts there are of each licence."""
    numbers, counts = np.unique(rows["license"][rows["license"] > 0], return_counts=True)
    return {names[number - 1]: count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)}


def _files_funnel(of_parts: list[dict]) -> dict:
    funnel = Funnel("files")
    for of_part in of_parts:
        for broken in of_part["broken"]:
            logger.warning("broken: %s", broken)
        funnel.drop("broken; what stood before the break was read", len(of_part["broken"]))
        funnel.keep(of_part["files"] - len(of_part["broken"]))
    return funnel.as_dict()


def _records_funnel(records: Records, fate: np.ndarray, of_parts: list[dict]) -> dict:
    funnel = Funnel("records")
    is_record = records.source != DELETED
    funnel.keep(int((is_record & (fate == 0)).sum()))
    for number, reason in enumerate(FATES[1:], start=1):
        funnel.drop(reason, int((fate == number).sum()))
    for of_part in of_parts:
        for reason, count in of_part["nameless"].items():
            funnel.drop(reason, count)
    return {**funnel.as_dict(), "deletions": int((~is_record).sum())}
