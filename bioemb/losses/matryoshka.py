"""Matryoshka: any loss on the leading dimensions too, so that vectors can be cut short (arXiv 2205.13147).

loss = mean over dims of loss( unit(query[:, :dim]), unit(passages[:, :dim]) )

loss = MatryoshkaLoss(InfoNCE(), dims=[384, 256, 128, 64])
loss(query, passages, targets).backward()              # [b, d], [n, d]
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bioemb.errors import ConfigError
from bioemb.losses.targets import Loss, Targets


class MatryoshkaLoss(nn.Module):
    """The plain mean of a loss over the listed widths; the full width counts only if it is listed.

    dims: each above 0; one beyond the vectors' width is the full width, as in FlagEmbedding's `mrl_dims`.
    """

    def __init__(self, loss: Loss, dims: Sequence[int]):
        super().__init__()
        if not dims or min(dims) < 1:
            raise ConfigError(f"matryoshka dims are {list(dims)}; expected one or more widths of at least 1")
        self.loss, self.dims = loss, tuple(dims)

    def forward(self, query: Tensor, passages: Tensor, targets: Targets | None = None) -> Tensor:
        """query: [b, d]; passages: [n, d]."""
        losses = [self.loss(_cut(query, dim), _cut(passages, dim), targets) for dim in self.dims]
        return sum(losses) / len(losses)


def _cut(vectors: Tensor, dim: int) -> Tensor:
    return F.normalize(vectors[:, :dim], dim=1)
