"""From token vectors to one vector per text.

The real tokens of all texts stand in one row [T, d], padding left out; lengths int64 [n] say which are whose.
"""

import torch
from torch import Tensor


def mean(tokens: Tensor, lengths: Tensor) -> Tensor:
    """The mean, summed in float32, text by text: the others of a batch do not change a bit of it."""
    return torch.segment_reduce(tokens.float(), "mean", lengths=lengths, axis=0, unsafe=True)


def cls(tokens: Tensor, lengths: Tensor) -> Tensor:
    """The first token."""
    return tokens[lengths.cumsum(0) - lengths]


def last(tokens: Tensor, lengths: Tensor) -> Tensor:
    """The last token."""
    return tokens[lengths.cumsum(0) - 1]


def maximum(tokens: Tensor, lengths: Tensor) -> Tensor:
    """The largest value of each dimension."""
    return torch.segment_reduce(tokens.float(), "max", lengths=lengths, axis=0, unsafe=True)


POOLING = {"mean": mean, "cls": cls, "last": last, "max": maximum}


def pool_padded(how: str, hidden: Tensor, mask: Tensor) -> Tensor:
    """Pool token vectors [n, t, d] over the real tokens, where the mask [n, t] is not 0, whichever side is padded."""
    return POOLING[how](hidden[mask.bool()], mask.sum(1, dtype=torch.int64))
