"""What a loss gave, checked where it is called, so that a mistake in one's own loss is named there and then."""

import torch
from torch import Tensor

from bioemb.errors import ConfigError


def loss_name(loss: object) -> str:
    """The name of its class, or of the function that it is."""
    return getattr(loss, "__name__", type(loss).__name__)


def require_scalar(value: object, loss: object) -> Tensor:
    """The value as a tensor without dimensions that has a gradient. Raises ConfigError with the loss's name."""
    name = loss_name(loss)
    if not isinstance(value, Tensor):
        raise ConfigError(f"the loss {name} returned {type(value).__name__}; expected a tensor with one number")
    if value.numel() != 1:
        raise ConfigError(
            f"the loss {name} returned a tensor {list(value.shape)}; expected one number: the mean over the queries"
        )
    if not value.is_floating_point():
        raise ConfigError(f"the loss {name} returned {value.dtype}; expected a floating-point number")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise ConfigError(
            f"the loss {name} returned a number without gradient: it does not depend on the vectors, or detached them"
        )
    return value.reshape(())
