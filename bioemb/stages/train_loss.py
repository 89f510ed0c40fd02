"""From the flags to the loss: one of the library's by its name, or one's own by module:Class."""

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from bioemb.config import TrainConfig
from bioemb.errors import ConfigError

FLAGS = {  # a constructor's argument: the flag that gives it
    "temperature": "temperature",
    "learn_temperature": "learn_temperature",
    "in_batch": "use_inbatch_neg",
    "directions": "directions",
    "false_negative_margin": "false_negative_margin",
    "teacher_temperature": "kd_temperature",
    "scale": "score_scale",
}


def make_loss(config: TrainConfig) -> Callable:
    """The loss that the settings name. Raises ConfigError for one that cannot be imported or made so."""
    from bioemb.losses import AnglE, CoSENT, InfoNCE, KLDistillation, M3Distillation, MarginMSE, MatryoshkaLoss

    losses = {
        "info_nce": InfoNCE,
        "kl_div": KLDistillation,
        "m3_kd_loss": M3Distillation,
        "margin_mse": MarginMSE,
        "cosent": CoSENT,
        "angle": AnglE,
    }
    name = config.loss_name
    found = losses[name] if name in losses else _imported(name, ", ".join(losses))
    takes = inspect.signature(found).parameters if inspect.isclass(found) else {}
    options = _options(config, name, takes)
    missing = [
        key
        for key, parameter in takes.items()
        if key not in options
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if missing:
        raise ConfigError(f"--loss {name}: its constructor needs {', '.join(missing)}; give them defaults")
    loss = found(**options) if inspect.isclass(found) else found  # a function is a loss as it is
    if config.loss_learning_rate is not None and not list(getattr(loss, "parameters", list)()):
        raise ConfigError(f"--loss_learning_rate has no effect on --loss {name}, which has no parameters of its own")
    return MatryoshkaLoss(loss, config.mrl_dims) if config.use_mrl else loss


def _options(config: TrainConfig, name: str, takes: Any) -> dict[str, Any]:
    """What the flags say of the arguments that the loss takes. Raises ConfigError where one would have no effect."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    options = {}
    for argument, flag in FLAGS.items():
        value = getattr(config, flag)
        if argument == "false_negative_margin" and config.guide_model_name_or_path and value is None:
            value, flag = 0.0, "guide_model_name_or_path"
        if value != defaults[flag] and argument not in takes:
            raise ConfigError(f"--{flag} has no effect on --loss {name}, which takes no {argument}; leave it out")
        if argument in takes and value is not None:
            options[argument] = value
    return options


def _imported(name: str, known: str):
    module_name, _, class_name = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--loss {name}: expected {known}, or module:Class that can be imported ({error})") from None
