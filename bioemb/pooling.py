"""From token vectors to one vector per text: [n, t, d] and the mask [n, t] of real tokens to [n, d]."""

import torch
from torch import Tensor


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens, summed in float32."""
    weights = mask.unsqueeze(-1).to(torch.float32)  # [n, t, 1]
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1)


def cls(hidden: Tensor, mask: Tensor) -> Tensor:
    """The first real token, wherever the padding is."""
    return _at(hidden, mask.long().argmax(1))


def last(hidden: Tensor, mask: Tensor) -> Tensor:
    """The last real token, wherever the padding is."""
    return _at(hidden, mask.shape[1] - 1 - mask.long().flip(1).argmax(1))


def maximum(hidden: Tensor, mask: Tensor) -> Tensor:
    """The largest value of each dimension over the real tokens."""
    return hidden.masked_fill(~mask.bool().unsqueeze(-1), torch.finfo(hidden.dtype).min).amax(1)


def _at(hidden: Tensor, position: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), position]


POOLING = {"mean": mean, "cls": cls, "last": last, "max": maximum}
