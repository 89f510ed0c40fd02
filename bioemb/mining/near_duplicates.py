"""Passages that nearly copy one of a query's positives, known by their vectors: never its negatives.

A copy in other case, spacing or punctuation, or with a few words changed, has another text and often another article,
so that neither the text's hash nor an identity finds it. With all-MiniLM-L6-v2, of abstracts with five words changed
83 % keep a cosine of .95 to the original, of those with a tenth changed 40 %; of 900 different abstracts the one pair
above .95 was a study published twice.
"""

from collections.abc import Callable

import numpy as np

from bioemb.mining.negatives import Selection
from bioemb.mining.ragged import Lists, ragged
from bioemb.mining.search import SCORE_TOLERANCE

COMPARED_PAIRS = 8192  # at once: 50 MB at width 768


def is_near_duplicate(
    ids: np.ndarray, positives: Lists, vectors_of: Callable[[np.ndarray], np.ndarray], min_cosine: float
) -> np.ndarray:
    """Which passages have a cosine of at least this with one of their row's positives: bool [q, c].

    ids: [q, c], -1 where there is none; positives: q lists of ids; vectors_of: from ids [n] to vectors [n, d] of
    length 1.
    """
    own, near = ragged(positives, len(ids), np.int64, "positives"), np.zeros(ids.shape, dtype=bool)
    lengths = np.diff(own.starts)
    for member in range(lengths.max(initial=0)):  # the lists' first members, then their second ones
        rows, columns = np.nonzero((ids >= 0) & ~near & (lengths > member)[:, None])
        positive = own.values[own.starts[rows] + member]
        for begin in range(0, len(rows), COMPARED_PAIRS):
            at = slice(begin, begin + COMPARED_PAIRS)
            candidates, compared = vectors_of(ids[rows[at], columns[at]]), vectors_of(positive[at])
            cosines = np.einsum("nd,nd->n", candidates, compared)
            near[rows[at], columns[at]] = cosines >= min_cosine - SCORE_TOLERANCE
    return near


def select_without_copies(
    select: Callable[[list[np.ndarray]], Selection],
    positives: Lists,
    vectors_of: Callable[[np.ndarray], np.ndarray],
    min_cosine: float,
) -> Selection:
    """Select, exclude what was drawn and nearly copies a positive, draw again: until nothing that is drawn does.

    select: from q lists of excluded passages to a Selection; positives, vectors_of, min_cosine: as above. As draws
    depend on the candidate alone (`select_negatives`), the outcome is that of excluding all copies beforehand, but only
    what is drawn is compared. What is filled up at random is the business of `Context.refuses`.
    """
    copies = [np.empty(0, np.int64) for _ in positives]
    while True:
        selection = select(copies)
        drawn = np.where(selection.ranks >= 0, selection.ids, -1)
        near = is_near_duplicate(drawn, positives, vectors_of, min_cosine)
        if not near.any():
            return selection
        for row in np.flatnonzero(near.any(axis=1)):
            copies[row] = np.append(copies[row], drawn[row][near[row]])
