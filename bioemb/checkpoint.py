"""Checkpoints: everything a run goes on from, in safetensors and JSON, whole or absent.

A checkpoint is a model folder that loads as any other, with the optimiser's state, the random state of every
process and the place in the run beside it. Nothing in it is a pickle.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from bioemb.errors import ConfigError, DataError
from bioemb.files import give_usual_mode, write_json

PREFIX = "checkpoint-"


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """The whole checkpoints of a run, the oldest first."""
    found = [path for path in Path(output_dir).glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)))


def folder_of(output_dir: str | Path, step: int) -> Path:
    return Path(output_dir) / f"{PREFIX}{step}"


def aside_of(folder: Path) -> Path:
    """Where a checkpoint stands while it is written."""
    return folder.with_name(f".{folder.name}.part")


def remove_leftovers(output_dir: str | Path) -> None:
    """Delete what stands aside of a run that was killed: nothing of it may get into a later checkpoint."""
    for folder in Path(output_dir).glob(aside_of(Path(f"{PREFIX}*")).name):
        shutil.rmtree(folder)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by parameter number and name: `17.exp_avg`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value).contiguous()
        for number, of in state.items()
        for name, value in of.items()
    }


def load_optimizer(optimizer: Optimizer, path: Path) -> None:
    """Put back what `optimizer_tensors` gave. Raises ConfigError where it is of parameters of other shapes."""
    state: dict[int, dict[str, Tensor]] = {}
    tensors = read_tensors(path)
    moments = {key: value for key, value in tensors.items() if key.endswith(".exp_avg")}  # none without a gradient
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    here = {f"{number}.exp_avg": parameter for number, parameter in enumerate(parameters)}
    require_same(path.parent, shapes(moments), shapes({key: here[key] for key in moments if key in here}))
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """The shape of each, as JSON gives it back."""
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def require_same(folder: Path, was: Mapping[str, list[int]], now: Mapping[str, list[int]]) -> None:
    """Refuse a checkpoint of other parameters than are trained now: `shapes` by name. Raises ConfigError.

    The optimiser's state goes by number: of other parameters, a fused step reads and writes beyond its memory.
    """
    different = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    if different:
        first = different[0]
        raise ConfigError(
            f"{folder} is of a run that trained other parameters: {len(was)} there, {len(now)} here, {len(different)} "
            f"differ, first {first} ({was.get(first, 'none')} there, {now.get(first, 'none')} here); give the flags "
            "of that run (--use_lora, --fix_position_embedding, --loss, --learn_temperature, ...), or take its weights "
            f"alone: --model_name_or_path {folder} --resume_from_checkpoint no"
        )


def random_tensors() -> dict[str, Tensor]:
    """This process's random state."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["gpu"] = torch.cuda.get_rng_state()
    return states


def restore_random(path: Path) -> None:
    """Put back what `random_tensors` gave."""
    states = read_tensors(path)
    torch.set_rng_state(states["cpu"])
    if "gpu" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["gpu"])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises DataError."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot be read ({error}); remove this checkpoint to go on without it", path) from None


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.detach().cpu() for name, tensor in tensors.items()}, path)
    give_usual_mode(path)


def write_state(folder: Path, state: dict[str, Any]) -> None:
    write_json(folder / "trainer_state.json", state)


def read_state(folder: Path) -> dict[str, Any]:
    """Where the run was. Raises DataError where the folder is no checkpoint."""
    try:
        return json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"this is not a checkpoint of a training run ({error})", folder) from None


def remove_behind(output_dir: str | Path, step: int) -> None:
    """Remove the checkpoints of later steps: of what a run that goes on from this step makes again."""
    for path in list_checkpoints(output_dir):
        if int(path.name.removeprefix(PREFIX)) > step:
            shutil.rmtree(path)


def drop_old(output_dir: str | Path, limit: int | None, kept: int = 0) -> None:
    """Remove the oldest checkpoints beyond the limit, which does not count the one of step `kept`."""
    found = [path for path in list_checkpoints(output_dir) if path.name != f"{PREFIX}{kept}"]
    for path in found[: -limit if limit else 0]:
        shutil.rmtree(path)
