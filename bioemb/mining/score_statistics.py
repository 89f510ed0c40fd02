"""What to choose a rule of consistency by: how cosines and ranks are distributed, counted as they come.

Cosines go into narrow bins, so that memory does not grow with the pairs; what is read off the bins (percentiles, the
area under the curve) is right to a bin's width, all else exactly.
"""

import numpy as np

from bioemb.errors import ConfigError

BIN_WIDTH = 0.05  # of the histogram that is shown
BINS = round(2 / BIN_WIDTH)
NARROW = 2048  # narrow bins in one of these: 0.000024 wide
PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 99)
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
RANKS = (1, 2, 3, 5, 10, 20, 50, 100, 1000)


class CosineCounts:
    """How many cosines lie where in [-1, 1]."""

    def __init__(self):
        self.narrow = np.zeros(BINS * NARROW, dtype=np.int64)
        self.reaching = np.zeros(len(THRESHOLDS), dtype=np.int64)  # at or above each threshold
        self.sum = 0.0

    @property
    def total(self) -> int:
        return int(self.narrow.sum())

    def add(self, scores: np.ndarray) -> None:
        """scores: cosines [q]. Raises ConfigError for one that is not finite."""
        if not np.isfinite(scores).all():
            raise ConfigError(f"score {int(np.argmin(np.isfinite(scores)))} (counted from 0) is not finite")
        scores = np.clip(scores, -1, 1)  # rounding may pass 1 by a little
        places = ((scores.astype(np.float64) + 1) * (len(self.narrow) / 2)).astype(np.int64)
        np.add.at(self.narrow, np.minimum(places, len(self.narrow) - 1), 1)
        self.reaching += [np.count_nonzero(scores >= threshold) for threshold in THRESHOLDS]
        self.sum += float(scores.sum(dtype=np.float64))

    def percentile(self, percent: float) -> float:
        """As `np.percentile`, to half a narrow bin."""
        position = (self.total - 1) * percent / 100
        below = np.cumsum(self.narrow)
        first, second = np.searchsorted(below, [np.floor(position), np.ceil(position)], side="right")
        place = first + (second - first) * (position % 1) + 0.5
        return round(float(place * 2 / len(self.narrow) - 1), 5)

    def as_dict(self) -> dict:
        """Count, mean, percentiles, histogram and the share kept by each threshold, ready for JSON."""
        count = self.total
        if not count:
            return {"count": 0}
        edges = np.linspace(-1, 1, BINS + 1).round(2).tolist()
        return {
            "count": count,
            "mean": self.sum / count,
            "percentiles": {str(percent): self.percentile(percent) for percent in PERCENTILES},
            "histogram": {"edges": edges, "counts": self.narrow.reshape(BINS, NARROW).sum(axis=1).tolist()},
            "kept_share": {f"{t:.2f}": n / count for t, n in zip(THRESHOLDS, self.reaching.tolist(), strict=True)},
        }


def area_under_curve(own: CosineCounts, other: CosineCounts) -> float:
    """The probability that one of `own` is above one of `other`, ties counting half: 0.5 tells nothing, 1 separates."""
    if not own.total or not other.total:
        raise ConfigError("comparing two sets of scores needs at least one of each")
    below = np.cumsum(other.narrow) - other.narrow
    won = (own.narrow * (below + other.narrow / 2)).sum()
    return float(won / own.total / other.total)


class RankCounts:
    """How many ranks there are of each height."""

    def __init__(self):
        self.counts = np.zeros(1, dtype=np.int64)  # by rank, as far as any has come

    @property
    def highest(self) -> int:
        """The worst rank of all; 0 where there is none."""
        return len(self.counts) - 1

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def add(self, ranks: np.ndarray) -> None:
        """ranks: int64 [q], 1 is best."""
        counts = np.bincount(ranks, minlength=len(self.counts))
        counts[: len(self.counts)] += self.counts
        self.counts = counts

    def as_dict(self) -> dict:
        """The median, the mean of 1 / rank, and the share within each rank of RANKS, ready for JSON."""
        count = self.total
        if not count:
            return {"count": 0}
        within = np.cumsum(self.counts)
        return {
            "count": count,
            "median": int(np.searchsorted(within, count / 2)),
            "mean_reciprocal": float((self.counts[1:] / np.arange(1, len(within))).sum() / count),
            "kept_share": {str(rank): within[min(rank, len(within) - 1)].item() / count for rank in RANKS},
        }
