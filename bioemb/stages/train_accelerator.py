"""accelerate for a training: devices, precision, trackers, and what an engine that spreads the weights cannot do."""

import os

import torch

from bioemb.config import TrainConfig
from bioemb.encoding import choose_bf16, has_bf16
from bioemb.errors import ConfigError
from bioemb.log import logger
from bioemb.processes import PATIENCE


def make_accelerator(config: TrainConfig):
    """The accelerator of this machine: GPUs where there are, else CPU processes over gloo. Raises ConfigError."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    precision = "fp16" if config.fp16 else "bf16" if choose_bf16(config.bf16, device) else "no"
    if precision == "fp16" and not on_gpu:
        precision, name = ("bf16", "bfloat16") if has_bf16(device) else ("no", "float32")
        logger.warning("--fp16 needs a GPU; there is none here, so %s stands in for it", name)
    wants_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    if wants_deepspeed and not on_gpu:
        logger.warning("accelerate runs DeepSpeed on GPUs; there is none here, so training goes on without it")
    _check_tracker(config.report_to)
    patience = InitProcessGroupKwargs(timeout=PATIENCE)  # to read the examples takes the first process a while
    AcceleratorState._reset_state(reset_partial_state=True)  # or a recipe's second training could not have another one
    accumulation = None if wants_deepspeed and on_gpu else GradientAccumulationPlugin(num_steps=1)  # the trainer's own
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            cpu=not on_gpu,
            log_with=None if config.report_to == "none" else config.report_to,
            project_dir=config.output_dir,
            kwargs_handlers=[patience],
            gradient_accumulation_plugin=accumulation,
        )
    except (ImportError, ValueError) as error:  # DeepSpeed or its configuration, which are looked for here
        raise ConfigError(f"accelerate: {error}") from error
    return accelerator


def _check_tracker(name: str) -> None:
    """Refuse a tracker without its package, with which accelerate would log nowhere. Raises ConfigError."""
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    installed = [str(tracker) for tracker in get_available_trackers()]
    is_there = bool(installed) if name == "all" else name in installed
    if name in LoggerType.list() and not is_there:
        raise ConfigError(
            f"--report_to {name}: its package is not installed; install it, or leave --report_to out (metrics.jsonl is "
            "always written)"
        )


def check_sharded(config: TrainConfig, accelerator, loss) -> None:
    """Refuse what needs all weights in one place during training, and an engine with a loop of its own.

    Raises ConfigError.
    """
    from bioemb.run_state import OWN_LOOP, SHARDED

    kind = accelerator.distributed_type
    if kind in OWN_LOOP:
        raise ConfigError(
            f"training does not work with {kind.value}, which has a loop of its own; use FSDP or DeepSpeed, which "
            "spread weights and gradients as well"
        )
    if kind not in SHARDED:
        return
    for name in ("ema_decay", "use_lora", "learn_temperature", "eval_data", "eval_share"):
        if getattr(config, name):
            raise ConfigError(
                f"--{name} does not work with {kind.value}, which spreads the weights over the "
                "processes; leave it out, or train with plain data parallelism"
            )
    if isinstance(loss, torch.nn.Module) and list(loss.parameters()):
        raise ConfigError(
            f"--loss {config.loss_name} has parameters of its own, which {kind.value} does not train; use another, or "
            "train with plain data parallelism"
        )
