"""The temperature that scores are divided by, fixed or learnt."""

import math

import torch
from torch import Tensor, nn

from bioemb.errors import ConfigError


class Scale(nn.Module):
    """What cosines are multiplied by, 1 / temperature; learnt as its logarithm (CLIP, arXiv 2103.00020).

    A learnt scale is one parameter of the loss: give `loss.parameters()` to the optimiser, without weight decay.
    """

    def __init__(self, temperature: float, learnt: bool = False):
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ConfigError(f"temperature is {temperature}; expected more than 0, usually 0.01 to 0.1")
        self.fixed = 1 / temperature
        self.logarithm = nn.Parameter(torch.tensor(-math.log(temperature))) if learnt else None

    def forward(self) -> float | Tensor:
        return self.fixed if self.logarithm is None else self.logarithm.exp()


def learnt_temperature(loss: object) -> float | None:
    """The temperature of now where the loss, or one that it wraps, learns it; else None."""
    for module in loss.modules() if isinstance(loss, nn.Module) else ():
        if isinstance(module, Scale) and module.logarithm is not None:
            with torch.no_grad():
                return 1 / float(module())
    return None
