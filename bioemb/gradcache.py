"""Exact gradients of a large batch in the memory of a small one (GradCache, arXiv 2101.06983).

First pass: vectors of every sub-batch without a graph. The loss of all vectors gives the gradient of each. Second
pass: each sub-batch again, with a graph, against its vectors' gradient. Random state is replayed, so that dropout
draws the same masks in both passes and the gradient equals that of the plain step.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor

SubBatch = TypeVar("SubBatch")


def cached_backward(
    embed: Callable[[SubBatch], Tensor],
    sub_batches: Sequence[SubBatch],
    loss_of: Callable[[Tensor], Tensor],
    backward: Callable[[Tensor], None],
    unsynced: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """Accumulate the gradient of `loss_of(all vectors)` and return the loss.

    embed: a sub-batch to its vectors [n_i, d]; loss_of: vectors [n, d] in the order of the sub-batches to a scalar;
    backward: how the loss is differentiated (a gradient scaler goes here); unsynced: entered around every
    sub-batch but the last, so that DDP exchanges gradients once.
    """
    states, vectors = [], []
    with torch.no_grad():
        for sub_batch in sub_batches:
            states.append(RandomState())
            vectors.append(embed(sub_batch))
    after = RandomState()
    cached = torch.cat(vectors).requires_grad_()
    loss = loss_of(cached)
    backward(loss)
    gradients = cached.grad.split([len(some) for some in vectors])
    for number, (sub_batch, state, gradient) in enumerate(zip(sub_batches, states, gradients, strict=True), start=1):
        with unsynced() if number < len(sub_batches) else nullcontext():
            state.restore()
            torch.autograd.backward(embed(sub_batch), gradient)
    after.restore()
    return loss.detach()


class RandomState:
    """The state of torch's generators (CPU and the current GPU) at the time of its making."""

    def __init__(self):
        self.cpu = torch.get_rng_state()
        self.gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu)
