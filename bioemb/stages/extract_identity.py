"""The identities of an extraction: which of the records that count are tied together, from the arrays of its parts.

Ties are of keys (PMIDs), and only keys with a tie are held in groups. One array of eight bytes for each record is in
memory at a time: a mark, or a band of the signatures. Neither the order of the files nor the number of processes
matters: a group is named by its smallest key, and near-duplicates are compared in the order of keys.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bioemb.data.identity import BANDS, Marks, equal_ties, link_ties, near_ties, smallest_of_group
from bioemb.log import progress
from bioemb.records import stable_hash
from bioemb.stages.extract_part import Part

ABSTRACT = Marks._fields.index("abstract")


class Groups(NamedTuple):
    """The keys [k] that are tied to others, rising, the smallest key [k] of each one's group, and what tied them."""

    keys: np.ndarray
    smallest: np.ndarray
    ties: dict[str, int]

    def identities(self, keys: np.ndarray) -> list[int]:
        """The integer that the texts of each article share with all that it is tied to."""
        return [stable_hash(str(key)) for key in self.names(keys).tolist()]

    def names(self, keys: np.ndarray) -> np.ndarray:
        """The smallest key of the group of each key [n]; itself where it has none."""
        if not len(self.keys):
            return keys
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.smallest[at], keys)

    def counts(self, keys: np.ndarray) -> dict:
        """For the manifest: of the articles with these keys, how many share an identity, in groups of what size."""
        articles = np.unique(keys)
        sizes = np.unique(self.names(articles), return_counts=True)[1]
        return {
            "articles": len(articles),
            "identities": len(sizes),
            "sharing": int(sizes[sizes > 1].sum()),
            "groups": int((sizes > 1).sum()),
            "largest": int(sizes.max(initial=0)),
            "ties": self.ties,
        }


def group_articles(
    parts: list[Part], keys: np.ndarray, sources: np.ndarray, counts: np.ndarray, threshold: float | None
) -> Groups:
    """Tie the records that count, by their links, marks and, with a threshold, signatures.

    keys [n], sources [n], counts [n] (bool): of all records, in the order of the parts.
    """
    ties = {"links": link_ties(_links(parts, keys, counts))}
    for number, name in enumerate(Marks._fields):
        column = np.concatenate([np.load(part.marks, mmap_mode="r")[number] for part in parts])[counts]
        ties[name] = equal_ties(keys[counts], column)
        if number == ABSTRACT and threshold is not None:
            signed = column != 0
    if threshold is not None:
        of_signed = keys[counts][signed]
        order = np.lexsort((sources[counts][signed], of_signed))
        signatures = Signatures(parts, _signed(parts, counts)[order])
        ties["near-duplicates"] = near_ties(of_signed[order], signatures.bands(), signatures.take, threshold)
    ties = {name: of_kind[of_kind[:, 0] != of_kind[:, 1]] for name, of_kind in ties.items()}
    groups = smallest_of_group(np.concatenate(list(ties.values())))
    return Groups(*groups, {name: len(of_kind) for name, of_kind in ties.items()})


class Signatures:
    """The signatures of a selection of the signed records, read from the parts as they are asked for."""

    def __init__(self, parts: list[Part], rows: np.ndarray):
        """rows [n]: the numbers of the selected records among all signed records, in the order of the parts."""
        self.parts, self.rows = parts, rows
        self.sizes = [part.bands.stat().st_size // (8 * BANDS) for part in parts]
        self.ends = np.cumsum(self.sizes)

    def bands(self) -> Iterator[np.ndarray]:
        """Each band of all, [n]."""
        for number in progress(range(BANDS), "compare abstracts"):
            of_parts = zip(self.parts, self.sizes, strict=True)
            columns = [np.fromfile(part.bands, np.uint64, size, offset=8 * size * number) for part, size in of_parts]
            yield np.concatenate(columns)[self.rows]

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The whole signatures [p, BANDS] at some positions [p] of the selection."""
        rows = self.rows[positions]
        result = np.empty((len(rows), BANDS), np.uint64)
        of_part = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(of_part):
            here, size = of_part == number, self.sizes[number]
            of_all = np.memmap(self.parts[number].bands, np.uint64, "r", shape=(BANDS, size))
            result[here] = of_all[:, rows[here] - (self.ends[number] - size)].T
        return result


def _signed(parts: list[Part], counts: np.ndarray) -> np.ndarray:
    """The records that count, by their numbers among all signed records."""
    is_signed = np.concatenate([np.load(part.marks, mmap_mode="r")[ABSTRACT] != 0 for part in parts])
    return (np.cumsum(is_signed) - 1)[is_signed & counts]


def _links(parts: list[Part], keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The links [m, 2] of the records that count, as keys: of an article, and of what speaks of it."""
    found, start = [np.zeros((0, 2), np.int64)], 0
    for part in parts:
        rows, linked, is_spoken_of = np.load(part.links).T
        rows = rows + start
        both = np.stack([keys[rows], linked], axis=1)
        found.append(np.where(is_spoken_of[:, None] == 1, both, both[:, ::-1])[counts[rows]])
        start += np.load(part.index, mmap_mode="r").shape[0]
    return np.concatenate(found)
