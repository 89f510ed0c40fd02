"""`bioemb run`: a recipe in, every stage's output out; what is complete is skipped, what was interrupted goes on.

A recipe is YAML: stages in the order of the file, each a command with its flags as settings. A stage's name may be
followed by a word of one's own (`filter passages:`), and `{root}` in a setting stands for the recipe's folder.
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Any, NamedTuple

from bioemb.config import RunConfig
from bioemb.errors import BioembError, ConfigError
from bioemb.flags import from_mapping, nearest, read_config_file
from bioemb.log import logger
from bioemb.stages import STAGES


class Step(NamedTuple):
    """One stage of a recipe."""

    name: str  # as the recipe calls it
    module: str
    settings: Any  # the command's dataclass


def run(config: RunConfig) -> str:
    """Run the recipe's stages; all settings are checked before the first one starts."""
    recipe = read_config_file(config.recipe)
    root = str(config.root or recipe.pop("root", None) or ".")
    steps = parse_recipe({name: value for name, value in recipe.items() if name != "root"}, root, config.overwrite)
    names = [step.name for step in steps]
    if config.until and config.until not in names:
        raise ConfigError(f"--until {config.until}: the recipe has no such stage{nearest(config.until, names)}")
    return run_steps(steps[: names.index(config.until) + 1] if config.until else steps)


def run_steps(steps: list[Step]) -> str:
    """Run the stages in order and return what each had to say."""
    told = []
    for number, step in enumerate(steps, start=1):
        logger.info("[%d/%d] %s", number, len(steps), step.name)
        try:
            summary = importlib.import_module(step.module).run(step.settings)
        except BioembError as error:
            raise type(error)(f"{step.name}: {error}") from error
        told.append(f"== {step.name}\n{summary}")
    return "\n\n".join(told)


def parse_recipe(recipe: dict[str, Any], root: str, overwrite: bool) -> list[Step]:
    """The stages of a recipe with their settings. Raises ConfigError that names the stage."""
    steps = []
    for name, settings in recipe.items():
        stage = str(name).split()[0] if str(name).split() else ""
        if stage not in STAGES:
            raise ConfigError(
                f"the recipe names a stage {name!r}{nearest(stage, STAGES)}; stages are {', '.join(STAGES)}"
            )
        if settings is not None and not isinstance(settings, dict):
            raise ConfigError(f"{name}: expected `setting: value` lines, got {settings!r:.60}")
        config_class, module = STAGES[stage]
        values = {key: _with_root(value, root) for key, value in (settings or {}).items()}
        try:
            config = from_mapping(config_class, values, stage)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        if overwrite:
            field = "overwrite_output_dir" if stage == "train" else "overwrite"
            config = dataclasses.replace(config, **{field: True})
        steps.append(Step(str(name), module, config))
    if not steps:
        raise ConfigError("the recipe has no stage")
    return steps


def _with_root(value: Any, root: str) -> Any:
    if isinstance(value, str):
        return str(Path(value.replace("{root}", root))) if "{root}" in value else value
    return [_with_root(one, root) for one in value] if isinstance(value, list) else value
