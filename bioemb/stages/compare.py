"""`bioemb compare`: saved scores in, the table of `bioemb evaluate` out; nothing is run and no model is loaded."""

import json
from dataclasses import replace
from typing import Any

from bioemb.config import CompareConfig
from bioemb.errors import ConfigError
from bioemb.evaluation.comparison import compare
from bioemb.evaluation.saved import (
    SHORT_REVISION,
    SavedModel,
    choose,
    differing_settings,
    find_saved,
    find_task_names,
)
from bioemb.evaluation.scores import MODEL_FILES
from bioemb.flags import nearest

MOST_CHARACTERS = 40  # of a setting's value below a model's name


def run(config: CompareConfig) -> str:
    """The table of the chosen models and tasks, as text, Markdown or JSON."""
    saved = find_saved(config.save_folder)
    labels = choose_models(saved, config)
    tasks = choose_tasks(find_task_names((saved[label] for label in labels), config.save_folder), config.task)
    scores = {label: [saved[label].scores[task] for task in tasks if task in saved[label].scores] for label in labels}
    settings = differing_settings({label: saved[label] for label in labels})
    notes = {label: [words_of(*item) for item in own.items()] for label, own in settings.items()}
    comparison = replace(compare(scores), notes=notes)
    if config.json:
        record = {**comparison.as_dict(), "differing_settings": settings}
        return json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False)
    return comparison.as_markdown() if config.markdown else comparison.as_text()


def words_of(setting: str, value: Any) -> str:
    """A setting that tells a row from others of its model, on one short line: 'query_max_len 64', 'bf16 yes'."""
    if isinstance(value, bool):
        return f"{setting} {'yes' if value else 'no'}"
    if setting == MODEL_FILES:
        return f"{setting} {value[:SHORT_REVISION]}"
    words = json.dumps(value, ensure_ascii=False) if setting.endswith("_prompt") else str(value)
    return f"{setting} {words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 1] + '…'}"


def choose_models(saved: dict[str, SavedModel], config: CompareConfig) -> list[str]:
    """Labels of the models to show, the baseline first. Raises ConfigError where it is unknown or not one model."""
    labels = choose(saved, config.model) if config.model else list(saved)
    if config.baseline is None:
        return labels
    first = choose(saved, [config.baseline])
    if len(first) > 1:
        raise ConfigError(f"baseline {config.baseline!r} may be {' or '.join(first)}; name one")
    return [*first, *(label for label in labels if label not in first)]


def choose_tasks(there: list[str], wanted: tuple[str, ...]) -> list[str]:
    """The tasks that are asked for. Raises ConfigError for one that no model was scored on, with the nearest."""
    for task in wanted:
        if task not in there:
            raise ConfigError(
                f"none of the models has a saved score on {task!r}; there are {', '.join(there)}{nearest(task, there)}"
            )
    return list(dict.fromkeys(wanted)) or there
