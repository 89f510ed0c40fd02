"""Judge pairs by the scores a domain model gives them: scores first, thresholds after.

Scoring gives one cosine per pair (and, asked for, the rank of its passage in a pool of others, `ranking.py`) once; all
else here is cheap, so that a threshold, a share or a rank rule is changed without encoding again. A threshold is good
for one model only: shuffled pairs, scored by the same model, show how much of a cosine is worth nothing
(`score_statistics.py`).
"""

import math
from typing import NamedTuple

import numpy as np

from bioemb.errors import ConfigError
from bioemb.mining.draws import outputs, streams
from bioemb.mining.search import check_vectors

BLOCK_ROWS = 1024  # pairs compared at once


class BestShare:
    """The best share of a stream of scores, exactly: those above a cosine, and the first `ties` that equal it."""

    def __init__(self, scores: np.ndarray, share: float):
        """scores: [q], all that will come, in any order; they are kept of them: `share * q`, rounded up."""
        self.share, self.cosine = share, cosine_keeping(scores, share)
        self.ties = _kept(scores, share) - np.count_nonzero(scores > self.cosine)

    def admit(self, scores: np.ndarray) -> np.ndarray:
        """Which of the next scores [q] belong to the share: bool [q]; a nan never does."""
        is_tie = scores == self.cosine
        admitted = is_tie & (np.cumsum(is_tie) <= self.ties)
        self.ties -= np.count_nonzero(admitted)
        return admitted | (scores > self.cosine)


class ConsistencyRule(NamedTuple):
    """What a pair must have to be kept, all of it; None leaves a rule out."""

    min_cosine: float | None = None
    best: BestShare | None = None
    max_rank: int | None = None

    def reasons_to_drop(self, scores: np.ndarray, ranks: np.ndarray | None = None) -> np.ndarray:
        """Why each of the next pairs is dropped: object [q], the first reason that applies, None for those to keep.

        scores, ranks: [q], as for `is_consistent`; nan is the score of a pair with an empty side.
        """
        refused = {"an empty side": np.isnan(scores)}
        if self.min_cosine is not None:
            refused[f"cosine below {self.min_cosine:g}"] = ~is_consistent(scores, min_cosine=self.min_cosine)
        if self.best is not None:
            refused[f"not of the best {self.best.share:g}"] = ~self.best.admit(scores)
        if self.max_rank is not None:
            refused[f"rank above {self.max_rank}"] = ~is_consistent(scores, ranks, max_rank=self.max_rank)
        reasons = np.full(len(scores), None, dtype=object)
        for reason, is_refused in reversed(refused.items()):
            reasons[is_refused] = reason
        return reasons


def is_consistent(
    positive_scores: np.ndarray,
    ranks: np.ndarray | None = None,
    *,
    min_cosine: float | None = None,
    max_rank: int | None = None,
) -> np.ndarray:
    """Which pairs to keep: bool [q], those with a cosine of at least `min_cosine` and a rank of at most `max_rank`.

    positive_scores: [q] cosines of the pairs; ranks: [q] from `true_ranks`, 1 is best: E5's rule (arXiv 2212.03533) is
    max_rank=2. None leaves a rule out. A nan is never consistent. Raises ConfigError for a rank rule without ranks.
    """
    if max_rank is not None and ranks is None:
        raise ConfigError(f"max_rank is {max_rank}, but no ranks were computed; score the pairs with a pool first")
    keep = ~np.isnan(positive_scores)
    if min_cosine is not None:
        keep &= positive_scores >= min_cosine
    if max_rank is not None:
        keep &= np.asarray(ranks) <= max_rank
    return keep


def cosine_keeping(positive_scores: np.ndarray, share: float) -> float:
    """The highest `min_cosine` that keeps at least this share, from 0 to 1, of the pairs; infinite for none of them."""
    if not 0 <= share <= 1:
        raise ConfigError(f"the share to keep is {share}; it is from 0 (none) to 1 (all)")
    kept = _kept(positive_scores, share)
    return float(np.partition(positive_scores, -kept)[-kept]) if kept else math.inf


def pair_cosines(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """The cosine of each query [q, d] with its own passage [q, d], vectors of length 1: float32 [q].

    Summed row by row in double precision: a pair's cosine does not depend on the others it is scored with.
    """
    _check_pairs(queries, passages)
    scores = np.empty(len(queries), dtype=np.float32)
    for begin in range(0, len(queries), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        scores[rows] = np.multiply(queries[rows], passages[rows], dtype=np.float64).sum(axis=1)
    return scores


def shuffled_partners(keys: np.ndarray, seed: int = 0) -> np.ndarray:
    """Another pair for each pair, int64 [q], a permutation: what shuffled pairs, the baseline, are made of.

    keys: int [q], such as the pairs' identities. Two pairs of one key are never partners, unless it has more than half
    of all; a single pair is its own partner. The order is random, and depends on (seed, keys) alone.
    """
    order = np.argsort(outputs(streams(seed, keys), np.zeros(1, dtype=np.int64)), kind="stable")  # a key's rows adjoin
    partners = np.empty(len(order), dtype=np.int64)
    partners[order] = np.roll(order, len(order) // 2)
    return partners


def _kept(scores: np.ndarray, share: float) -> int:
    return math.ceil(round(share * len(scores), 6))  # rounded: 0.07 * 100 is a little more than 7


def _check_pairs(queries: np.ndarray, passages: np.ndarray) -> None:
    check_vectors(queries, None)
    check_vectors(passages, queries.shape[1])
    if len(queries) != len(passages):
        raise ConfigError(f"pairs need one passage per query; got {len(queries)} queries and {len(passages)} passages")
