"""The bootstrap over queries or pairs: how sure a score is, and how surely two models differ. Arrays only.

The intervals are percentiles of resampled scores, and say what another sample of such queries or pairs would change.
Those of a mean are expanded for few queries, by T. Hesterberg, arXiv 1411.5279; those of a rank correlation cover as
they are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

TAIL = 0.025  # on each side of the middle 95 %
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
    means = _resampled(
        [len(part) for part in scores], lambda part, weights: statistic(*parts[part], weights), resamples, rng
    )
    return _interval(means, scores, gold)


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

    return _interval(_resampled([len(part) for part in first], difference, resamples, rng), first, gold)


def expanded_tail(sizes: Sequence[int]) -> float:
    """The share of resampled means to leave out on each side: 0.025 for many items, less for few.

    Of n items Hesterberg's Phi(-sqrt(n / (n - 1)) t(0.975, n - 1)) (arXiv 1411.5279, "expanded percentile"): resamples
    spread too little by the root, and a spread that is estimated asks for Student's t. For the mean over parts of these
    sizes the root and the degrees of freedom are those of Welch and Satterthwaite, with one spread for all.
    """
    several = np.array([size for size in sizes if size > 1], dtype=np.float64)  # of one item nothing is resampled
    if not len(several):
        return TAIL
    freedom = (1 / several).sum() ** 2 / (1 / several**2 / (several - 1)).sum()
    narrowed = (1 / several).sum() / ((several - 1) / several**2).sum()
    return float(ndtr(np.sqrt(narrowed) * stdtrit(freedom, TAIL)))


def statistic(scores: np.ndarray, gold: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The score of one part with item i taken weights[r, i] times: [r]; a mean, or a correlation with `gold` [n]."""
    return weights @ scores / weights.sum(axis=1) if gold is None else weighted_spearman(scores, gold, weights)


def _interval(means: np.ndarray, scores: Sequence[np.ndarray], gold: Sequence[np.ndarray | None]) -> Interval:
    is_mean = all(part is None for part in gold)
    tail = expanded_tail([len(part) for part in scores]) if is_mean else TAIL
    if np.isnan(means).all():
        return Interval(np.nan, np.nan)
    low, high = np.nanquantile(means, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _resampled(
    sizes: Sequence[int],
    value: Callable[[int, np.ndarray], np.ndarray],
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    # [resamples], each the mean over parts of value(part, weights [r, n]) -> [r], its items taken so often
    means = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        count = min(RESAMPLES_AT_ONCE, resamples - start)
        total = np.zeros(count)
        for part, n in enumerate(sizes):
            total += value(part, rng.multinomial(n, np.full(n, 1 / n), size=count))  # [count, n] times drawn
        means.append(total / len(sizes))
    return np.concatenate(means)


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
