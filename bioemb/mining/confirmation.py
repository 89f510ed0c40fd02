"""A second scorer's word on the negatives: what it puts too near the positive is excluded, and another one is drawn."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bioemb.mining.negatives import Selection
from bioemb.mining.ragged import Lists, lowest, ragged


class Confirmed(NamedTuple):
    """A selection with the second scorer's scores."""

    selection: Selection
    negative_scores: np.ndarray  # float32 [q, count]; nan where there are fewer
    positive_scores: list[np.ndarray]  # of each query's positives
    vetoed: int  # passages that were drawn and vetoed: by rank, which `selection.dropped` counts too, or at random


def is_vetoed(negative_scores: np.ndarray, positive_scores: Lists, margin: float | None) -> np.ndarray:
    """Which negatives a second scorer does not put below the positive by the margin: bool [q, k], score > p - margin.

    negative_scores: [q, k], nan where there is none; positive_scores: [q] or q lists, of which the lowest counts, as in
    `NegativeRule`. No margin: nothing is vetoed.
    """
    if margin is None:
        return np.zeros(negative_scores.shape, dtype=bool)
    bound = lowest(ragged(positive_scores, len(negative_scores), np.float64, "positive_scores")) - margin
    return negative_scores > bound[:, None]


def select_confirmed(
    select: Callable[[list[np.ndarray]], Selection],
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    positives: Lists,
    margin: float | None,
) -> Confirmed:
    """Select, have what was drawn scored, exclude what is vetoed, draw again: until all that is drawn is confirmed.

    select: from q lists of excluded passages to a Selection; score: from queries [n] (rows) and passages [n] (ids) to
    [n]; positives: q lists of ids. As draws depend on the candidate alone (`select_negatives`), the outcome is that of
    scoring all candidates beforehand, but only what is drawn is scored.
    """
    own = ragged(positives, len(positives), np.int64, "positives")
    scores = score(np.repeat(np.arange(len(positives)), np.diff(own.starts)), own.values)
    positive_scores = np.split(scores, own.starts[1:-1])
    vetoed = [np.empty(0, np.int64) for _ in positives]
    while True:
        selection = select(vetoed)
        rows, places = np.nonzero(selection.ids >= 0)
        negative_scores = np.full(selection.ids.shape, np.nan, np.float32)
        negative_scores[rows, places] = score(rows, selection.ids[rows, places])
        refused = is_vetoed(negative_scores, positive_scores, margin)
        if not refused.any():
            return Confirmed(selection, negative_scores, positive_scores, sum(map(len, vetoed)))
        for row in np.flatnonzero(refused.any(axis=1)):
            vetoed[row] = np.append(vetoed[row], selection.ids[row][refused[row]])
