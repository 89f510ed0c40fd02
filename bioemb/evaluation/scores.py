"""What an evaluation leaves behind: each task's score, and the scores of its single queries or pairs.

The single ones make a paired comparison possible later, without mteb and without the models.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bioemb.errors import DataError
from bioemb.files import write_json

MODEL_FILES = "model_files"  # the setting that is the hash of weights, tokenizer and the folder's own words


class Part(NamedTuple):
    """One split and subset of a task, item by item; an item is a query of a retrieval task or a pair of an STS task."""

    name: str  # "test/default"
    ids: tuple[str, ...]
    scores: np.ndarray  # [n] the metric of each query; of each pair its cosine
    gold: np.ndarray | None = None  # [n] the human score of each pair; None: the part's score is the mean of `scores`


class TaskScore(NamedTuple):
    """A model's score on a task, from 0 to 1 (a correlation: from -1), the mean over its parts."""

    task: str  # "BIOSSES", "CUREv1[en]@all"
    metric: str  # "ndcg_at_10", "cosine_spearman", ...
    score: float
    data_revision: str
    parts: tuple[Part, ...] = ()  # empty where mteb's metric is not made of single items (clustering, ...)

    @property
    def items(self) -> int:
        """How many queries or pairs the score is made of; 0 where it is not made of single items."""
        return sum(len(part.ids) for part in self.parts)


def write_score(path: Path, score: TaskScore) -> None:
    """Keep a score as JSON, written aside and renamed."""
    parts = [
        part._asdict() | {"scores": part.scores.tolist(), "gold": None if part.gold is None else part.gold.tolist()}
        for part in score.parts
    ]
    write_json(path, score._asdict() | {"parts": parts})


def read_score(path: Path) -> TaskScore:
    """A score that `write_score` kept. Raises DataError where the file is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return TaskScore(**record | {"parts": tuple(_part(part) for part in record["parts"])})
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"the saved score is damaged ({error}); delete it and evaluate again", path) from None


def scores_folder(save_folder: str | Path, model: str, revision: str) -> Path:
    """Where a model's scores are kept, named as mteb names its own folder of results."""
    return Path(save_folder) / "scores" / model.replace("/", "__").replace(" ", "_") / revision


def settings_file(folder: Path) -> Path:
    """Where stands what a revision's vectors were made with, beside its `scores_folder`."""
    return folder.with_name(f"{folder.name}.json")


def read_settings(folder: Path) -> dict[str, Any]:
    """What the vectors of a revision were made with; {} where an older evaluation kept none. Raises DataError."""
    path = settings_file(folder)
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"the saved settings are damaged ({error}); delete them", path) from None
    if not isinstance(settings, dict) or not isinstance(settings.get(MODEL_FILES, ""), str):
        raise DataError("the saved settings are damaged (not those of a model); delete them", path)
    return settings


def read_scores(save_folder: str | Path, model: str, revision: str) -> list[TaskScore]:
    """All scores that `evaluate` kept of one model, by task name. Raises DataError where there are none."""
    folder = scores_folder(save_folder, model, revision)
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DataError("no saved scores here; evaluate the model first", folder)
    return [read_score(file) for file in files]


def _part(record: dict[str, Any]) -> Part:
    gold = None if record["gold"] is None else np.array(record["gold"], dtype=np.float64)
    return Part(record["name"], tuple(record["ids"]), np.array(record["scores"], dtype=np.float64), gold)
