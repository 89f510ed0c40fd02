"""Averages of weights: of those along a training run, and of a trained model with the one that it started from.

    moving average    a <- decay a + (1 - decay) w, after each step, from the starting weights on
    with the start    w <- (1 - share) w + share w_start  (WiSE-FT, arXiv 2109.01903; LM-Cocktail, arXiv 2311.13534)

The first smooths the noise of the last steps; the second gives back some of what fine-tuning on one field forgot.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bioemb.errors import DataError


class MovingAverage:
    """The exponential moving average of a module's trained weights.

    decay: in [0, 1), reached gradually, min(decay, (1 + step) / (10 + step)), or the starting weights would hold
    decay^steps of a short run. Costs the memory of the weights once more.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in _trained(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after this step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, weight in _trained(module).items():
            self.weights[name].lerp_(weight, 1 - decay)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from the `weights` of an earlier average. Raises DataError where they are another model's."""
        _require_same_names(self.weights, weights)
        for name, weight in self.weights.items():
            weight.copy_(weights[name])

    @torch.no_grad()
    def put_into(self, module: nn.Module) -> None:
        """Replace the module's weights by their average."""
        for name, weight in _trained(module).items():
            weight.copy_(self.weights[name])

    @contextmanager
    def standing_in(self, module: nn.Module) -> Iterator[None]:
        """The average in the place of the module's weights, and then these again, to the bit."""
        weights = {name: weight.detach().clone() for name, weight in _trained(module).items()}
        self.put_into(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in _trained(module).items():
                    weight.copy_(weights[name])


@torch.no_grad()
def average_with(module: nn.Module, other: nn.Module, share: float) -> None:
    """Move the module's weights by `share` (0 to 1) of the way to those of the other, an equal module elsewhere."""
    here, there = dict(module.named_parameters()), dict(other.named_parameters())
    _require_same_names(here, there)
    for name, weight in here.items():
        weight.lerp_(there[name].to(weight), share)


def _trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def _require_same_names(here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> None:
    different = sorted(here.keys() ^ there.keys())
    if different:
        raise DataError(f"these weights belong to another model: {len(different)} differ in name, first {different[0]}")
