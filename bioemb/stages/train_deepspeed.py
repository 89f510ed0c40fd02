"""DeepSpeed's configuration beside our flags: what it leaves open is filled in, what contradicts them is refused."""

from typing import TYPE_CHECKING, Any

from bioemb.config import TrainConfig
from bioemb.errors import ConfigError
from bioemb.log import logger

if TYPE_CHECKING:
    from accelerate import Accelerator

MADE_HERE = {"optimizer": ("Adam", "AdamW"), "scheduler": ("WarmupLR", "WarmupDecayLR", "WarmupCosineLR")}
INNER = ("torch_adam", "adam_w_mode")  # of the optimizer: how it computes, not what


def pass_through(accelerator: "Accelerator", config: TrainConfig) -> None:
    """Make the accelerator's plugin ready for `prepare`. Raises ConfigError."""
    plugin = accelerator.state.deepspeed_plugin
    fill_in(plugin.deepspeed_config, config, accelerator.num_processes)
    plugin.dschf = None  # else transformers would load an encoder in shares already, which no copy can be made of


def fill_in(settings: dict[str, Any], config: TrainConfig, processes: int) -> None:
    """Put our flags into DeepSpeed's configuration, in place, where it says "auto" or nothing.

    The optimizer and the learning rate are made by our flags alone. Raises ConfigError.
    """
    zero = settings["zero_optimization"]
    half = next((name for name in ("bf16", "fp16") if settings.get(name, {}).get("enabled") is True), None)
    if zero.get("stage", 0) == 0 and half:
        raise ConfigError(
            f"DeepSpeed's ZeRO stage 0 with {half} would add gradients up in 16 bits and spreads nothing over the "
            "processes; use stage 1, 2 or 3, or train without DeepSpeed"
        )
    for name in MADE_HERE:
        _take_out(name, settings)
    for name, (value, flags) in _ours(config, processes).items():
        found = settings.get(name)
        is_open = found in (None, "auto") or (name == "gradient_accumulation_steps" and found == 1)  # accelerate's own
        if not is_open and found != value:
            raise ConfigError(f'DeepSpeed\'s configuration says {name} {found}, and {flags} {value}; say "auto" there')
        settings[name] = value
    for name in [name for name, value in zero.items() if value == "auto"]:
        del zero[name]  # DeepSpeed's default
    if half == "bf16" and zero["stage"] < 3:
        settings.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")


def _ours(config: TrainConfig, processes: int) -> dict[str, tuple[float, str]]:
    """What DeepSpeed's configuration must hold, by its names, and the flags that say it."""
    queries, batches = config.per_device_train_batch_size, config.gradient_accumulation_steps
    return {
        "train_micro_batch_size_per_gpu": (queries, "--per_device_train_batch_size"),
        "gradient_accumulation_steps": (batches, "--gradient_accumulation_steps"),
        "train_batch_size": (queries * batches * processes, "our flags and processes"),
        "gradient_clipping": (config.max_grad_norm, "--max_grad_norm"),
    }


def _take_out(name: str, settings: dict[str, Any]) -> None:
    """Remove the optimizer or the scheduler from DeepSpeed's configuration. Raises ConfigError if it is not ours."""
    section = settings.pop(name, None)
    if section is None:
        return
    said = [key for key, value in section.get("params", {}).items() if value != "auto" and key not in INNER]
    if said or section.get("type") not in MADE_HERE[name]:
        raise ConfigError(
            f"DeepSpeed's configuration has the {name} {section.get('type')} with {', '.join(said) or 'nothing'} "
            f'set; ours is made by our flags: leave "{name}" out, or say "auto" in it'
        )
    logger.info("the %s of DeepSpeed's configuration gives way to that of the flags", name)
