"""How the gradient of a loss reaches the weights and changes them: by torch and accelerate, or by DeepSpeed's engine.

Both take any number of backward calls for one update; all but the last are made within `unsynced`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

if TYPE_CHECKING:
    from accelerate import Accelerator


class Engine(Protocol):
    """What the trainer asks of either."""

    def backward(self, loss: Tensor) -> None:
        """Differentiate a loss of the model's vectors into the weights."""

    def cached_backward(self, tensor: Tensor, gradient: Tensor | None = None) -> None:
        """Differentiate a loss of detached vectors, which reaches no weight; or vectors [n, d] with its gradient."""

    def unsynced(self) -> AbstractContextManager:
        """Within this the processes need not share gradients: more are to come before the update."""

    def update(self) -> float:
        """Clip the gradients, change the weights and clear the gradients; returns the norm before clipping.

        Gradients that are not finite change no weight (DeepSpeed's do, outside float16).
        """

    def weights(self) -> dict[str, Tensor]:
        """The trained weights by name, whole where the processes share them; a call for all processes."""


class Plain:
    """torch's optimiser, with what accelerate wraps around it: DDP, FSDP, float16's scale."""

    def __init__(
        self, accelerator: "Accelerator", model: nn.Module, optimizer: Optimizer, trained: nn.Module, max_norm: float
    ):
        """model, optimizer: as accelerate prepared them; trained: what is clipped; max_norm: 0 is none."""
        self.accelerator, self.model, self.optimizer, self.trained = accelerator, model, optimizer, trained
        self.max_norm = max_norm or float("inf")

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def cached_backward(self, tensor: Tensor, gradient: Tensor | None = None) -> None:
        if gradient is None:
            self.accelerator.backward(tensor)
        else:  # float16's scale is in it already
            torch.autograd.backward(tensor, gradient)

    def unsynced(self) -> AbstractContextManager:
        return self.accelerator.no_sync(self.model)

    def update(self) -> float:
        norm = float(self.accelerator.clip_grad_norm_(self.trained.parameters(), self.max_norm))
        if isfinite(norm) or self.accelerator.scaler is not None:  # which skips such a step itself
            self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def weights(self) -> dict[str, Tensor]:
        return self.accelerator.get_state_dict(self.model)


class DeepSpeed:
    """DeepSpeed's engine, asked for a step once an update: accelerate's `backward` makes one with the gradient."""

    def __init__(self, engine: nn.Module):
        """engine: the model as accelerate prepared it."""
        self.engine = engine
        engine.set_gradient_accumulation_boundary(True)

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss, scale_wrt_gas=False)  # the trainer has divided by the number of batches

    def cached_backward(self, tensor: Tensor, gradient: Tensor | None = None) -> None:
        if gradient is None:
            tensor.backward()
        else:
            self.backward((tensor * gradient).sum())  # the engine takes scalars, and scales them for float16

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        before = self.engine.is_gradient_accumulation_boundary()
        self.engine.set_gradient_accumulation_boundary(False)
        yield
        self.engine.set_gradient_accumulation_boundary(before)

    def update(self) -> float:
        gradients = [weight.grad for weight in self.engine.module.parameters() if weight.grad is not None]
        norm = get_total_norm(gradients)
        self.engine.step()
        known = self.engine.get_global_grad_norm()
        return float(norm if known is None else known)  # stage 0 knows none, and has the gradients whole

    def weights(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_fp32_param

        trained = {name: weight for name, weight in self.engine.module.named_parameters() if weight.requires_grad}
        whole = {name: safe_get_full_fp32_param(weight) for name, weight in trained.items()}
        return {name: (trained[name] if weight is None else weight).cpu() for name, weight in whole.items()}
