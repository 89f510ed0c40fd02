"""The optimiser's parameter groups and the learning rate of each step."""

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bioemb.errors import ConfigError

SCHEDULES = (  # those of transformers that need no more than the numbers of steps
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)


def make_optimizer(
    encoder: nn.Module,
    loss: object,
    rates: tuple[float, float],
    weight_decay: float,
    betas: tuple[float, float],
    epsilon: float,
) -> AdamW:
    """AdamW over what is trained; biases, norms and other vectors do not decay.

    rates: of the encoder, and of the loss's own parameters. Fused on CPUs, in one pass over
    memory; on GPUs a fused step would hide from accelerate that float16 overflowed.
    """
    groups = []
    for module, rate in zip((encoder, loss), rates, strict=True):
        trained = [p for p in module.parameters() if p.requires_grad] if isinstance(module, nn.Module) else []
        groups += [
            {"params": [p for p in trained if p.ndim >= 2], "lr": rate, "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "lr": rate, "weight_decay": 0.0},
        ]
    fused = not torch.cuda.is_available()
    return AdamW([group for group in groups if group["params"]], betas=betas, eps=epsilon, fused=fused)


def make_schedule(name: str, optimizer: Optimizer, warmup_steps: int, total_steps: int) -> LambdaLR:
    """The learning rate over the steps, by transformers' names. Raises ConfigError."""
    from transformers import get_scheduler

    if name not in SCHEDULES:
        raise ConfigError(f"lr_scheduler_type {name!r}: expected one of {', '.join(SCHEDULES)}")
    return get_scheduler(name, optimizer, num_warmup_steps=warmup_steps, num_training_steps=total_steps)
