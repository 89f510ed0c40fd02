"""Triplet margin with the hardest negative of the batch (arXiv 1703.07737): the example to write your own loss from.

loss = mean_i  max(0, margin - s_ic + max_j s_ij)      s_ij = <query_i, passage_j>,  c = column_i,  j a negative of i

loss = TripletMargin(margin=0.2)
loss(query, passages, targets).backward()              # [b, d], [n, d]
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioemb.losses.masks import not_negative
from bioemb.losses.targets import Targets, complete_targets


class TripletMargin(nn.Module):
    """The positive is to lead the hardest negative by the margin, in cosines. Dense: it builds [b, n]."""

    def __init__(self, margin: float = 0.2):
        super().__init__()
        self.margin = margin

    def forward(self, query: Tensor, passages: Tensor, targets: Targets | None = None) -> Tensor:
        """query: [b, d]; passages: [n, d]."""
        targets = complete_targets(query, passages, targets)
        scores = query @ passages.T  # [b, n]
        positive = scores.gather(1, targets.column[:, None])[:, 0]  # [b]
        rivals = scores.masked_fill(not_negative(targets, len(passages)), -torch.inf)
        hardest = F.pad(rivals, (0, 1), value=-torch.inf).amax(1)  # there may be no passages at all
        return (self.margin - positive + hardest).clamp(min=0).sum() / max(1, len(query))
