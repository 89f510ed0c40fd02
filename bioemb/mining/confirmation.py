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
    return negative_scores > _bounds(positive_scores, len(negative_scores), margin)[:, None]


def select_confirmed(
    select: Callable[[np.ndarray, list[np.ndarray], int], Selection],
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    positives: Lists,
    margin: float | None,
) -> Confirmed:
    """Select, have what was drawn scored, exclude what is vetoed, draw again: until all that is drawn is confirmed.

    select: from queries [n] (rows), n lists of excluded passages and how many more negatives than asked for to a
    Selection; score: from queries [n] and passages [n] (ids) to [n]; positives: q lists of ids. As draws depend on the
    candidate alone (`select_negatives`), the outcome is that of scoring all candidates beforehand, but only what is
    drawn is scored; and some more where draws are vetoed again and again, twice as many each time, so that a row
    of which all is vetoed costs few batches.
    """
    own = ragged(positives, len(positives), np.int64, "positives")
    scores = score(np.repeat(np.arange(len(positives)), np.diff(own.starts)), own.values)
    positive_scores = np.split(scores, own.starts[1:-1])
    bounds = _bounds(positive_scores, len(positives), margin)
    confirmed, vetoed = ([np.empty(0, np.int64) for _ in positives] for _ in range(2))

    def draw(waiting: np.ndarray, spare: int) -> tuple[np.ndarray, np.ndarray]:
        """What these rows draw and nobody has judged yet: (rows [n], ids [n])."""
        ids = select(waiting, [vetoed[row] for row in waiting], spare).ids
        new = [np.setdiff1d(some[some >= 0], confirmed[row]) for row, some in zip(waiting, ids, strict=True)]
        return np.repeat(waiting, [len(some) for some in new]), np.concatenate([*new, np.empty(0, np.int64)])

    waiting, turn = np.arange(len(positives)), 0
    while len(waiting):
        rows, ids = draw(waiting, 0)
        if turn > 1 and len(rows):
            more_rows, more_ids = draw(np.unique(rows), 1 << turn)
            rows, ids = np.append(rows, more_rows), np.append(ids, more_ids)
        refused = score(rows, ids) > bounds[rows]
        for judged, are_there in ((confirmed, ~refused), (vetoed, refused)):
            for row in np.unique(rows[are_there]):
                judged[row] = np.union1d(judged[row], ids[are_there & (rows == row)])
        waiting, turn = np.unique(rows[refused]), turn + 1
    selection = select(np.arange(len(positives)), vetoed, 0)
    rows, places = np.nonzero(selection.ids >= 0)
    negative_scores = np.full(selection.ids.shape, np.nan, np.float32)
    negative_scores[rows, places] = score(rows, selection.ids[rows, places])
    return Confirmed(selection, negative_scores, positive_scores, sum(map(len, vetoed)))


def _bounds(positive_scores: Lists, queries: int, margin: float | None) -> np.ndarray:
    """What each query's negatives may score at most: float64 [q]."""
    lowest_of_each = lowest(ragged(positive_scores, queries, np.float64, "positive_scores"))
    return np.full(queries, np.inf) if margin is None else lowest_of_each - margin
