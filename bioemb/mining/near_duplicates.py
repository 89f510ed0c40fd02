"""Passages that nearly copy one of a query's positives, known by their vectors: never its negatives.

A copy in other case, spacing or punctuation, or with a few words changed, has another text and often another article,
so that neither the text's hash nor an identity finds it. With all-MiniLM-L6-v2, of abstracts with five words changed
83 % keep a cosine of .95 to the original, of those with a tenth changed 40 %; of 900 different abstracts the one pair
above .95 was a study published twice.
"""

from collections.abc import Callable, Iterator

import numpy as np

from bioemb.mining.ragged import Lists, Ragged, ragged
from bioemb.mining.search import SCORE_TOLERANCE

COMPARED_PAIRS = 8192  # at once: 50 MB in double precision at width 768
ID_BITS = 32  # of a passage's id, as in a search
ANGLE_TOLERANCE = 2e-3  # radians: what rounding moves the angle of two vectors that are nearly the same


def near_duplicates(
    scores: np.ndarray,
    ids: np.ndarray,
    positives: Lists,
    positive_scores: Lists,
    vectors_of: Callable[[np.ndarray], np.ndarray],
    min_cosine: float,
) -> list[np.ndarray]:
    """The candidates of each query whose cosine with one of its positives is at least this: q arrays of ids, rising.

    scores, ids: [q, k] of the queries' closest passages, missing ids -1; positives, positive_scores: q lists of ids
    and of cosines with the query; vectors_of: from ids [n] to vectors [n, d] of length 1.
    Only candidates about as far from the query as the positive are compared: angles obey the triangle inequality.
    """
    own = ragged(positives, len(ids), np.int64, "positives")
    own_scores = ragged(positive_scores, len(ids), np.float64, "positive_scores")
    keys = [np.empty(0, np.int64)]  # row and id in one number
    for rows, candidates, compared in _comparable(np.asarray(scores), np.asarray(ids), own, own_scores, min_cosine):
        is_near = _pair_cosines(candidates, compared, vectors_of) >= min_cosine - SCORE_TOLERANCE
        keys.append(rows[is_near] << ID_BITS | candidates[is_near])
    found = np.unique(np.concatenate(keys))
    edges = np.searchsorted(found >> ID_BITS, np.arange(1, len(ids)))
    return np.split(found & ((1 << ID_BITS) - 1), edges)[: len(ids)]


def _comparable(
    scores: np.ndarray, ids: np.ndarray, own: Ragged, own_scores: Ragged, min_cosine: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows, candidates, positives), each [n], of pairs that may be near: the lists' first members, then the second."""
    widest = np.arccos(np.clip(min_cosine, -1, 1)) + ANGLE_TOLERANCE
    angles = np.arccos(np.clip(scores, -1, 1))
    lengths = np.diff(own.starts)
    for member in range(lengths.max(initial=0)):
        having = np.flatnonzero(lengths > member)
        places = own.starts[having] + member
        positive, angle = own.values[places, None], np.arccos(np.clip(own_scores.values[places, None], -1, 1))
        is_possible = (np.abs(angles[having] - angle) <= widest) & (ids[having] >= 0) & (ids[having] != positive)
        rows, columns = np.nonzero(is_possible)
        yield having[rows], ids[having][rows, columns], positive[rows, 0]


def _pair_cosines(ones: np.ndarray, others: np.ndarray, vectors_of: Callable) -> np.ndarray:
    """The cosine of each pair of passages, float64 [n], COMPARED_PAIRS at a time."""
    result = np.empty(len(ones))
    for begin in range(0, len(ones), COMPARED_PAIRS):
        pairs = slice(begin, begin + COMPARED_PAIRS)
        result[pairs] = np.multiply(vectors_of(ones[pairs]), vectors_of(others[pairs]), dtype=np.float64).sum(axis=1)
    return result
