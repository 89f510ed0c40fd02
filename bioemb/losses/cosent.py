"""CoSENT for scored pairs: the closer a pair's gold score, the higher its cosine (doi 10.1109/TASLP.2024.3402087).

loss = log( 1 + sum over i, j with gold_i > gold_j of exp( scale * (cos_j - cos_i) ) )

loss = CoSENT()
targets = Targets(column, teacher_scores=gold)         # column [b], gold [b, 1], any scale
loss(query, passages, targets).backward()              # query i pairs with passage column_i
"""

import torch
from torch import Tensor, nn

from bioemb.losses.row_blocks import group_scores
from bioemb.losses.targets import Targets, complete_targets, teacher_scores


class CoSENT(nn.Module):
    """One logarithm over all ordered couples of this process's pairs, not a mean over queries.

    scale: what cosines are multiplied by; 20 in the authors' code.
    """

    def __init__(self, scale: float = 20.0):
        super().__init__()
        self.scale = scale

    def forward(self, query: Tensor, passages: Tensor, targets: Targets) -> Tensor:
        """query: [b, d]; passages: [n, d]; both of unit length."""
        targets = complete_targets(query, passages, targets)
        gold = teacher_scores(targets, "CoSENT")[:, 0]
        return order_loss(group_scores(query, passages, targets.column[:, None])[:, 0] * self.scale, gold)


def order_loss(scores: Tensor, gold: Tensor) -> Tensor:
    """log(1 + sum of exp(scores_j - scores_i) over gold_i > gold_j), in O(b log b). scores, gold: [b] -> scalar."""
    gold, order = gold.sort()
    scores = scores[order]
    # above[j]: log of the sum of exp(-score) over pair j and all that sort behind it; behind the last there is none.
    above = torch.cat([(-scores).flip(0).logcumsumexp(0).flip(0), scores.new_full((1,), -torch.inf)])
    first_higher = torch.searchsorted(gold, gold, right=True)  # equal gold scores make no couple
    return torch.cat([scores.new_zeros(1), scores + above[first_higher]]).logsumexp(0)
