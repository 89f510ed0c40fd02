"""The bootstrap over queries or pairs: how sure a score is, and how surely two models differ. Arrays only.

The intervals are percentiles of resampled scores, and say what another sample of such queries or pairs would change.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES_AT_ONCE = 250  # bounds memory at 250 x items, a few times over


class Interval(NamedTuple):
    """The middle 95 % of a resampled score or difference."""

    low: float
    high: float


def score_interval(
    scores: Sequence[np.ndarray], gold: Sequence[np.ndarray | None], resamples: int, rng: np.random.Generator
) -> Interval:
    """The 95 % interval of a mean over parts of statistic(scores), the items of each part resampled."""
    parts = list(zip(scores, gold, strict=True))
    return _interval(
        [len(part) for part in scores], lambda part, weights: statistic(*parts[part], weights), resamples, rng
    )


def paired_interval(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    gold: Sequence[np.ndarray | None],
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    """The 95 % interval of statistic(second) - statistic(first), a mean over parts, both on the same resampled items.

    first, second, gold: one array [n] per part. The statistic of a part is the mean of its scores, or, where there
    is a gold array, their Spearman correlation with it. Items are drawn with replacement within each part.
    """
    parts = list(zip(first, second, gold, strict=True))

    def difference(part: int, weights: np.ndarray) -> np.ndarray:
        a, b, g = parts[part]
        return statistic(b, g, weights) - statistic(a, g, weights)

    return _interval([len(part) for part in first], difference, resamples, rng)


def statistic(scores: np.ndarray, gold: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The score of one part with item i taken weights[r, i] times: [r]; a mean, or a correlation with `gold` [n]."""
    return weights @ scores / weights.sum(axis=1) if gold is None else weighted_spearman(scores, gold, weights)


def _interval(
    sizes: Sequence[int],
    value: Callable[[int, np.ndarray], np.ndarray],
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    # value(part, weights [r, n]) -> [r]: of each part with its items taken so often
    means = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        count = min(RESAMPLES_AT_ONCE, resamples - start)
        total = np.zeros(count)
        for part, n in enumerate(sizes):
            total += value(part, rng.multinomial(n, np.full(n, 1 / n), size=count))  # [count, n] times drawn
        means.append(total / len(sizes))
    low, high = np.nanquantile(np.concatenate(means), (0.025, 0.975))
    return Interval(float(low), float(high))


def weighted_spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's correlation of x and y [n] with item i taken weights[r, i] times: [r]; nan where one is constant."""
    return _weighted_pearson(_weighted_ranks(x, weights), _weighted_ranks(y, weights), weights)


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # [r, n]: the mean rank of each item among the drawn ones; a rank needs no sort per resample, only counts
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)  # [r, distinct]
    return (np.cumsum(sizes, axis=1) - sizes / 2)[:, group]


def _weighted_pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    covariance = (weights * x * y).sum(axis=1)
    spread = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    return np.divide(covariance, spread, out=np.full(len(spread), np.nan), where=spread > 0)
