"""What can be said of vectors of length 1 without a benchmark: alignment, uniformity, a plane to look at them in.

Alignment and uniformity are those of Wang & Isola (arXiv 2005.10242), with their exponents 2 and 2: lower is better.
"""

from typing import NamedTuple

import numpy as np


class Plane(NamedTuple):
    """Where vectors are seen from: the two directions in which they spread most, and the middle."""

    middle: np.ndarray  # [d]
    axes: np.ndarray  # [2, d]

    def places(self, vectors: np.ndarray) -> np.ndarray:
        """[n, d] to [n, 2]."""
        return (vectors - self.middle) @ self.axes.T

    def share(self, vectors: np.ndarray) -> float:
        """The share of the vectors' variance, about their own mean, that the plane shows."""
        whole = vectors.astype(np.float64).var(axis=0).sum()
        return float(self.places(vectors).astype(np.float64).var(axis=0).sum() / whole) if whole > 0 else 0.0


def alignment(queries: np.ndarray, passages: np.ndarray) -> float:
    """The mean squared distance between a query and its passage; rows [n, d] belong together."""
    return float(np.square(queries.astype(np.float64) - passages).sum(axis=1).mean())


def uniformity(vectors: np.ndarray) -> float:
    """log of the mean of exp(-2 |x - y|^2) over all pairs of two different rows of [n, d], n at least 2."""
    vectors = vectors.astype(np.float64)
    lengths = np.square(vectors).sum(axis=1)
    squared = lengths[:, None] + lengths - 2 * vectors @ vectors.T  # [n, n]
    kernel = np.exp(-2 * np.maximum(squared, 0))
    pairs = len(vectors) * (len(vectors) - 1)
    return float(np.log((kernel.sum() - np.trace(kernel)) / pairs))


def plane_of(vectors: np.ndarray) -> Plane:
    """The first two principal components of [n, d]; each points to where its largest entry is positive."""
    middle = vectors.astype(np.float64).mean(axis=0)
    _, _, directions = np.linalg.svd(vectors - middle, full_matrices=False)
    axes = directions[:2]
    if len(axes) < 2:  # one vector, or one dimension
        axes = np.vstack([axes, np.zeros((2 - len(axes), vectors.shape[1]))])
    largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    return Plane(middle, axes * np.where(largest < 0, -1, 1)[:, None])
