"""From the flags to the loss: one of the library's by its name, or one's own by module:Class."""

import dataclasses
import importlib
import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from bioemb.config import TrainConfig
from bioemb.errors import BioembError, ConfigError

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
    takes = _parameters(name, found)
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
    loss = _made(name, found, options)
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


def _imported(name: str, known: str) -> Any:
    module_name, _, class_name = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # a module of the user's own may raise anything
        expected = f"expected {known}, or module:Class that can be imported"
        raise ConfigError(f"--loss {name}: {expected} ({_told(error)})") from error


def _parameters(name: str, found: Any) -> Mapping[str, inspect.Parameter]:
    """What the constructor takes; a function has none, and is a loss as it is."""
    try:
        return inspect.signature(found).parameters if inspect.isclass(found) else {}
    except ValueError as error:  # a class written in C
        raise ConfigError(f"--loss {name} is no loss ({_told(error)})") from error


def _made(name: str, found: Any, options: dict[str, Any]) -> Callable:
    """The loss of this class or function. Raises ConfigError where it cannot be made, or cannot be called."""
    try:
        loss = found(**options) if inspect.isclass(found) else found
    except BioembError:
        raise
    except Exception as error:  # a constructor of the user's own may raise anything
        raise ConfigError(f"--loss {name}: its constructor raised {_told(error)}") from error
    if not callable(loss):
        kind = type(loss).__name__
        raise ConfigError(f"--loss {name} is no loss: {kind} cannot be called as loss(query, passages, targets)")
    _check_arguments(name, loss)
    return loss


def _check_arguments(name: str, loss: Callable) -> None:
    called = loss.forward if isinstance(loss, torch.nn.Module) else loss
    try:
        inspect.signature(called).bind(None, None, None)
    except TypeError as error:
        raise ConfigError(f"--loss {name} cannot be called as loss(query, passages, targets): {error}") from error
    except ValueError:  # it does not say what it takes
        pass


def _told(error: BaseException) -> str:
    """An error's type and words, and file and line where it was raised: "ValueError: too few, /home/me/own.py:12"."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{type(error).__name__}: {error.msg}, {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = (__file__, importlib.__file__, inspect.__file__)
    places = [
        f", {frame.filename}:{frame.lineno}"
        for frame in frames
        if frame.filename not in ours and not frame.filename.startswith("<frozen")
    ]
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}{places[-1] if places else ''}"
