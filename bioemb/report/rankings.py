"""What each query of a sample finds among the passages of all of them, and which queries are worth showing."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from bioemb.held_out import HeldOut

TOP = 3  # passages shown of each query
GAINS, LOSSES, SHOWN = 8, 8, 20  # queries shown: those that gained and lost most, and others drawn by the seed


class View(NamedTuple):
    """How one model sees the sample."""

    name: str
    queries: np.ndarray  # float32 [q, d], of length 1
    passages: np.ndarray  # float32 [n, d], of length 1


class Ranking(NamedTuple):
    """Each query's passages by falling cosine, without those that share its identity and are not its positives."""

    ranks: np.ndarray  # [q] of the first positive, from 1; of equal cosines the others go first
    right: np.ndarray  # [q] the positive that has this rank
    top: np.ndarray  # [q, TOP] passages; -1 where there are no more
    scores: np.ndarray  # [q, n] cosines

    @property
    def mrr(self) -> float:
        return float((1 / self.ranks).mean())

    def recall(self, k: int) -> float:
        """The share of queries with a positive among the first k."""
        return float((self.ranks <= k).mean())


def rank(view: View, sample: "HeldOut") -> Ranking:
    """Every query against every passage; ranks as `held_out.positive_ranks` counts them."""
    import torch

    from bioemb.held_out import positive_ranks

    scores = view.queries @ view.passages.T  # [q, n]
    ranks, right, top = [], [], np.full((len(scores), TOP), -1)
    for query, row in enumerate(scores):
        positives, excluded = sample.positives[query], sample.excluded[query]
        of_positives = positive_ranks(torch.from_numpy(row), positives, excluded)
        best = int(of_positives.argmin())
        ranks.append(int(of_positives[best]))
        right.append(int(positives[best]))
        is_positive = np.isin(np.arange(len(row)), positives)
        order = np.lexsort((is_positive, -row))  # of equal cosines the positive last
        order = order[~np.isin(order, excluded)][:TOP]
        top[query, : len(order)] = order
    return Ranking(np.array(ranks), np.array(right), top, scores)


def worth_showing(before: np.ndarray, after: np.ndarray, seed: int) -> list[int]:
    """SHOWN queries: the greatest gains and losses by 1 / rank, then others at random. before, after: ranks [q]."""
    gain = 1 / after - 1 / before
    order = np.argsort(-gain, kind="stable")
    gained = [query for query in order[:GAINS].tolist() if gain[query] > 0]
    lost = [query for query in order[::-1][:LOSSES].tolist() if gain[query] < 0]
    taken = {*gained, *lost}
    others = [query for query in np.random.default_rng([seed]).permutation(len(gain)).tolist() if query not in taken]
    return [*gained, *lost, *others[: SHOWN - len(taken)]]
