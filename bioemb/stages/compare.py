"""`bioemb compare`: saved scores in, the table of `bioemb evaluate` out; nothing is run and no model is loaded."""

import json

from bioemb.config import CompareConfig
from bioemb.errors import ConfigError
from bioemb.evaluation.comparison import compare
from bioemb.evaluation.saved import SavedModel, choose, find_saved, find_task_names
from bioemb.flags import nearest


def run(config: CompareConfig) -> str:
    """The table of the chosen models and tasks, as text, Markdown or JSON."""
    saved = find_saved(config.save_folder)
    labels = choose_models(saved, config)
    tasks = choose_tasks(find_task_names((saved[label] for label in labels), config.save_folder), config.task)
    scores = {label: [saved[label].scores[task] for task in tasks if task in saved[label].scores] for label in labels}
    comparison = compare(scores)
    if config.json:
        return json.dumps(comparison.as_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    return comparison.as_markdown() if config.markdown else comparison.as_text()


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
