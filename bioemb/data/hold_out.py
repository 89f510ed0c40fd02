"""Which training rows are held out for evaluation, and which are left out of both because they would give it away."""

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.data.examples import passage_identity
from bioemb.records import same_text_key, stable_hash

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_A_TIME = 10_000
HASHES = 2**63  # of `stable_hash`


class Split(NamedTuple):
    """A place for every row: held out, left out (its query or a positive is held out), or trained on."""

    held_out: np.ndarray  # bool [rows]
    left_out: np.ndarray  # bool [rows]

    @property
    def trained(self) -> np.ndarray:
        return ~(self.held_out | self.left_out)


def split_by_share(dataset: "Dataset", share: float, seed: int) -> Split:
    """Hold out about this share of the distinct queries, chosen by the seed and the query's text alone."""
    marks = Marks(dataset)
    held_out = np.array([stable_hash(f"{seed} {key}") < share * HASHES for key in marks.query], bool)
    return Split(held_out, marks.shared_with(marks.of_rows(held_out)) & ~held_out)


def split_by_other(dataset: "Dataset", other: "Dataset") -> Split:
    """Hold out nothing, and leave out the rows that share a query or a positive with the other data."""
    marks = Marks(dataset)
    return Split(np.zeros(len(marks.query), bool), marks.shared_with(Marks(other).of_rows()))


class Marks:
    """What each row must not share with a held-out one: its query, and the identities of its positives."""

    def __init__(self, dataset: "Dataset"):
        queries, rows, identities = array("q"), array("q"), array("q")
        for row, example in enumerate(_examples(dataset)):
            queries.append(stable_hash(same_text_key(example["query"])))
            for identity in positive_identities(example):
                rows.append(row)
                identities.append(identity)
        self.query = np.array(queries, np.int64)  # [rows], a number that equal texts share
        self.row, self.identity = np.array(rows, np.int64), np.array(identities, np.int64)  # [positives] each

    def of_rows(self, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Queries and identities of the chosen rows, bool [rows], or of all."""
        chosen = np.ones(len(self.query), bool) if chosen is None else chosen
        return self.query[chosen], self.identity[chosen[self.row]]

    def shared_with(self, others: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Rows that have one of these queries or identities: bool [rows]."""
        queries, identities = others
        shared = np.isin(self.query, queries)
        shared[self.row[np.isin(self.identity, identities)]] = True
        return shared


def positive_identities(example: dict) -> list[int]:
    """The hash of each positive, and the row's identity where it has one: equal texts may stand in rows without."""
    hashes = [passage_identity(text) for text in example["pos"]]
    return hashes if example["identity"] is None else [*hashes, example["identity"]]


def _examples(dataset: "Dataset") -> Iterator[dict]:
    for start in range(0, len(dataset), ROWS_AT_A_TIME):
        some = dataset[start : start + ROWS_AT_A_TIME]
        for query, positives, identity in zip(some["query"], some["pos"], some["identity"], strict=True):
            yield {"query": query, "pos": positives, "identity": identity}
