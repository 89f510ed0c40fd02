"""Judge pairs by the scores a domain model gives them: scores first, thresholds after, statistics to choose them by.

Scoring gives one cosine per pair (and, asked for, the rank of the true passage in a pool of others) once; all else
here is cheap, so that a threshold, a quantile or a rank rule is changed without encoding again. A threshold is good for
one model only: shuffled pairs, scored by the same model, show how much of a cosine is worth nothing.
"""

import math

import numpy as np

from bioemb.errors import ConfigError
from bioemb.mining.draws import outputs, streams
from bioemb.mining.search import SCORE_TOLERANCE, check_vectors, pad_rows

BLOCK_ROWS = 1024  # pairs compared at once
POOL_ROWS = 4096  # pool passages compared at once: 16 MB of scores
BIN_WIDTH = 0.05
PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 99)
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


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
    kept = math.ceil(round(share * len(positive_scores), 6))  # rounded: 0.07 * 100 is a little more than 7
    return float(np.sort(positive_scores)[-kept]) if kept else math.inf


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


def true_ranks(queries: np.ndarray, passages: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """The rank of each query's own passage among those of a pool [m, d]: int64 [q], 1 where none scores higher.

    queries, passages: [q, d], pairs; vectors of length 1. The passage itself, or a copy, may stand in the pool:
    scores that differ by rounding only are no better. Memory: one block of 1024 x 4096 scores.
    """
    check_vectors(pool, queries.shape[1])
    own = pair_cosines(queries, passages)
    ranks = np.ones(len(queries), dtype=np.int64)
    for begin in range(0, len(queries), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        block, bound = pad_rows(queries[rows]), own[rows, None] + SCORE_TOLERANCE
        for first in range(0, len(pool), POOL_ROWS):
            others = pool[first : first + POOL_ROWS]
            scores = (block @ pad_rows(others).T)[: len(bound), : len(others)]
            ranks[rows] += np.count_nonzero(scores > bound, axis=1)
    return ranks


def shuffled_partners(keys: np.ndarray, seed: int = 0) -> np.ndarray:
    """Another pair for each pair, int64 [q], a permutation: what shuffled pairs, the baseline, are made of.

    keys: int [q], such as the pairs' identities. Two pairs of one key are never partners, unless it has more than half
    of all; a single pair is its own partner. The order is random, and depends on (seed, keys) alone.
    """
    order = np.argsort(outputs(streams(seed, keys), np.zeros(1, dtype=np.int64)), kind="stable")  # a key's rows adjoin
    partners = np.empty(len(order), dtype=np.int64)
    partners[order] = np.roll(order, len(order) // 2)
    return partners


def area_under_curve(positive_scores: np.ndarray, other_scores: np.ndarray) -> float:
    """The probability that a pair scores above a shuffled one, ties counting half: 0.5 tells nothing, 1 separates."""
    if not len(positive_scores) or not len(other_scores):
        raise ConfigError("comparing two sets of scores needs at least one of each")
    others = np.sort(other_scores)
    below, not_above = (np.searchsorted(others, positive_scores, side=side) for side in ("left", "right"))
    return float((below.mean() + not_above.mean()) / 2 / len(others))


def score_statistics(positive_scores: np.ndarray, shuffled_scores: np.ndarray | None = None) -> dict:
    """What to choose a threshold by, ready for JSON: `_distribution` of the pairs and of shuffled pairs, and the AUC.

    positive_scores: [q] cosines; shuffled_scores: any number of cosines of shuffled pairs, by the same model.
    """
    statistics = _distribution(positive_scores)
    if shuffled_scores is not None:
        statistics["shuffled"] = _distribution(shuffled_scores)
        statistics["auc"] = area_under_curve(positive_scores, shuffled_scores)
    return statistics


def _distribution(scores: np.ndarray) -> dict:
    """Count, mean, percentiles, histogram over [-1, 1] and the share kept by each threshold, of finite scores."""
    if not len(scores):
        return {"count": 0}
    if not np.isfinite(scores).all():
        raise ConfigError(f"score {int(np.argmin(np.isfinite(scores)))} (counted from 0) is not finite")
    scores = np.clip(scores, -1, 1)  # rounding may pass 1 by a little
    counts, edges = np.histogram(scores, round(2 / BIN_WIDTH), (-1, 1))
    kept = [np.count_nonzero(is_consistent(scores, min_cosine=threshold)) for threshold in THRESHOLDS]
    return {
        "count": len(scores),
        "mean": float(scores.mean(dtype=np.float64)),
        "percentiles": dict(zip(map(str, PERCENTILES), np.percentile(scores, PERCENTILES).tolist(), strict=True)),
        "histogram": {"edges": edges.astype(np.float64).round(2).tolist(), "counts": counts.tolist()},
        "kept_share": {f"{t:.2f}": count / len(scores) for t, count in zip(THRESHOLDS, kept, strict=True)},
    }


def _check_pairs(queries: np.ndarray, passages: np.ndarray) -> None:
    check_vectors(queries, None)
    check_vectors(passages, queries.shape[1])
    if len(queries) != len(passages):
        raise ConfigError(f"pairs need one passage per query; got {len(queries)} queries and {len(passages)} passages")
