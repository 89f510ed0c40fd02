"""Exact gradients of a large batch in the memory of a small one (GradCache, arXiv 2101.06983).

First pass: vectors of every sub-batch, without a graph. The loss of all vectors gives the gradient of each. Second
pass: each sub-batch again, with a graph, against its vectors' gradient. Random state is replayed, so that dropout
draws the same masks in both passes and the gradient equals that of the plain step. The last sub-batches may keep their
graph from the first pass, as many as memory allows, and need no second: memory buys time smoothly.
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
    backward: Callable[..., None] = torch.autograd.backward,
    unsynced: Callable[[], AbstractContextManager] = nullcontext,
    keep: int = 0,
) -> Tensor:
    """Accumulate the gradient of `loss_of(all vectors)` and return the loss.

    embed: a sub-batch to its vectors [n_i, d]; loss_of: vectors [n, d] in the order of the sub-batches to a scalar;
    backward: how the loss is differentiated (a gradient scaler goes here), and then vectors, given their gradient,
    into the weights; unsynced: entered around every sub-batch but the last that is run with a graph, so that DDP
    exchanges gradients once; keep: how many of the last sub-batches keep their graph, fewer than all: the first is
    always run again.
    """
    again = max(1, len(sub_batches) - keep)
    states, vectors = [], []
    for number, sub_batch in enumerate(sub_batches):
        states.append(RandomState())
        with unsynced(), torch.set_grad_enabled(number >= again):
            vectors.append(embed(sub_batch))
    cached = torch.cat([some.detach() for some in vectors]).requires_grad_()
    loss = loss_of(cached)
    backward(loss)
    after = RandomState()  # the loss may have drawn, too
    gradients = cached.grad.split([len(some) for some in vectors])
    with unsynced():
        while len(vectors) > again:
            backward(vectors.pop(), gradients[len(vectors)])
    for number in range(again):
        with unsynced() if number < again - 1 else nullcontext():
            states[number].restore()
            backward(embed(sub_batches[number]), gradients[number])
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
