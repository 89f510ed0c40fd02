"""The rank of a pair's own passage among others: E5's consistency (arXiv 2212.03533). Which others, and the ranks."""

from collections.abc import Iterable

import numpy as np

from bioemb.errors import ConfigError
from bioemb.mining.draws import outputs, streams
from bioemb.mining.search import SCORE_TOLERANCE, check_vectors

POOL = 2  # purpose of the random streams
MERGED_AT_ONCE = 1 << 16  # keys collected before they are sorted
SMALLEST_SIDE = 256  # many a BLAS rounds smaller products differently


def pool_keys(texts: np.ndarray, seed: int) -> np.ndarray:
    """A random key for each passage, known by its text's hash [n]: uint64 [n], one to one; a pool has the smallest."""
    return outputs(streams(seed, texts, POOL), np.zeros(1, dtype=np.int64))


class SmallestKeys:
    """The `count` smallest of the different keys that come, in memory of about twice as many."""

    def __init__(self, count: int):
        self.count = count
        self.smallest = np.empty(0, np.uint64)
        self.waiting: list[np.ndarray] = []

    def add(self, keys: np.ndarray) -> None:
        """keys: uint64 [n]; the same one may come again."""
        if len(self.smallest) == self.count:
            keys = keys[keys < self.smallest[-1]]
        self.waiting.append(keys)
        if sum(map(len, self.waiting)) > max(self.count, MERGED_AT_ONCE):
            self.result()

    def result(self) -> np.ndarray:
        """The smallest so far, rising: uint64 [count], shorter where fewer have come."""
        self.smallest = np.unique(np.concatenate([self.smallest, *self.waiting]))[: self.count]
        self.waiting = []
        return self.smallest


def true_ranks(
    queries: np.ndarray,
    positive_scores: np.ndarray,
    labels: np.ndarray,
    pool: Iterable[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """The rank of each query's own passage among the others of a pool: int64 [q], 1 where none scores higher.

    queries: [q, d] of length 1; positive_scores: [q], their cosines with their own passages; labels: int64 [q, l], what
    those are known by (text, article); pool: blocks of (vectors [m, d], labels [m, l]). A passage that has one of the
    query's labels, column by column, is no other. Scores that differ by rounding only are no better.
    Memory: a score for each query and each passage of a block.
    """
    if len(queries) != len(positive_scores) or len(queries) != len(labels):
        raise ConfigError(f"{len(queries)} queries have {len(positive_scores)} scores and {len(labels)} rows of labels")
    ranks = np.ones(len(queries), dtype=np.int64)
    block, bound = pad_rows(queries), np.asarray(positive_scores)[:, None] + SCORE_TOLERANCE
    for vectors, others in pool:
        check_vectors(vectors, queries.shape[1])
        is_better = (block @ pad_rows(vectors).T)[: len(queries), : len(vectors)] > bound  # [q, m]
        for own, other in zip(labels.T, others.T, strict=True):
            is_better &= own[:, None] != other
        ranks += np.count_nonzero(is_better, axis=1)
    return ranks


def pad_rows(vectors: np.ndarray) -> np.ndarray:
    """The vectors [m, d] as contiguous float32, with rows of zeros below up to SMALLEST_SIDE."""
    missing = max(SMALLEST_SIDE - len(vectors), 0)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    return np.pad(vectors, ((0, missing), (0, 0))) if missing else vectors
