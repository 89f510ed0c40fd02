"""What an evaluation says in a model card: a table for people, and the hub's `model-index` for programs."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from mteb import AbsTask

from bioemb.evaluation.bootstrap import statistic
from bioemb.evaluation.comparison import ABSENT, compare, interval_of
from bioemb.evaluation.scores import Part, TaskScore
from bioemb.evaluation.task_names import task_label

SOURCE = {"name": "mteb", "url": "https://github.com/embeddings-benchmark/mteb"}
NOTE = (
    "Scores in points of 100, by mteb {version}; in brackets 95 % intervals by a bootstrap over queries or pairs. "
    "{beside}An interval says what other queries or pairs of this kind would change, not what another training run "
    "would."
)
BESIDE = "Below another model's score stands this model's lead over it, on the same queries or pairs. "


def evaluation_section(scores: Sequence[TaskScore], others: Mapping[str, Sequence[TaskScore]]) -> str:
    """The table: a row a task; this model's score with its interval, then each other model's and the difference."""
    rows = [["task", "metric", "this model", *others], ["---", "---", *["---:"] * (1 + len(others))]]
    tables = {name: compare({name: own, "": scores}) for name, own in others.items()}
    for score in scores:
        interval = interval_of(score)
        bounds = f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" if interval else ""
        cells = [
            _beside(table.cells.get((name, score.task)), table.cells["", score.task]) for name, table in tables.items()
        ]
        rows.append([score.task, score.metric, f"{100 * score.score:.1f}{bounds}", *cells])
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return f"{table}\n\n{NOTE.format(version=version('mteb'), beside=BESIDE if others else '')}"


def model_index(name: str, scores: Sequence[TaskScore], tasks: Sequence[AbsTask]) -> list[dict[str, Any]]:
    """The hub's record of the scores, as fractions of one: an entry for each task, or each subset and split of it."""
    by_label = {task_label(task): task for task in tasks}
    results = [result for score in scores for result in _results(score, by_label[score.task])]
    return [{"name": name, "results": results}]


def _beside(other: Any, own: Any) -> str:
    if other is None:
        return ABSENT
    score, difference, word = [*other.lines(), *own.lines()[1:]]
    return f"{score}<br>{difference}, {word}"


def _results(score: TaskScore, task: AbsTask) -> list[dict[str, Any]]:
    is_local = score.data_revision.startswith("local-")  # whose path says nothing elsewhere
    dataset = {
        "type": task.metadata.name if is_local else task.metadata.dataset["path"],
        "name": f"{task.metadata.name} (local files)" if is_local else f"MTEB {task.metadata.name}",
    }
    places: list[tuple[dict[str, str], float]] = [(_place(part), _value(part)) for part in score.parts]
    return [
        {
            "task": {"type": task.metadata.type},
            "dataset": {**dataset, **place, "revision": score.data_revision},
            "metrics": [{"type": score.metric, "value": round(value, 5)}],
            "source": dict(SOURCE),  # one each: YAML would write an alias for the same
        }
        for place, value in places or [({"split": ", ".join(task.eval_splits)}, score.score)]
    ]


def _place(part: Part) -> dict[str, str]:
    split, _, subset = part.name.partition("/")
    return {"config": subset, "split": split}


def _value(part: Part) -> float:
    return float(statistic(part.scores, part.gold, np.ones((1, len(part.ids))))[0])
