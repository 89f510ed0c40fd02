"""The models whose scores lie in save folders, and those of them that are asked for. No model is loaded."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bioemb.errors import ConfigError, DataError
from bioemb.evaluation.scores import TaskScore, read_score, read_settings
from bioemb.flags import nearest

Key = TypeVar("Key", str, tuple[str, str])  # of a task, of a model
BM25_NAME, BM25_LABEL = "bioemb/bm25", "BM25"
SHORT_REVISION = 7  # characters that tell two revisions of a model apart, for people


class SavedModel(NamedTuple):
    """One model at one revision, with its scores by task."""

    name: str  # "local/minilm"
    revision: str
    scores: dict[str, TaskScore]
    settings: dict[str, Any]  # what its vectors were made with, as `evaluate` kept it


def find_saved(folders: Sequence[str | Path]) -> dict[str, SavedModel]:
    """The models of all save folders by a short label, those of the last evaluation first and in its order, BM25 of
    the others last.

    A label is the name's last part, both parts where that is not enough, with `@revision` where there are several.
    Raises DataError where a folder holds no scores, or two hold a model's scores on different data.
    """
    found: dict[tuple[str, str], SavedModel] = {}
    for folder in map(Path, folders):
        files = sorted(folder.glob("scores/*/*/*.json"))
        if not files:
            wrong = "no saved scores here" if folder.is_dir() else "no such folder"
            raise DataError(f"{wrong}; `bioemb evaluate --save_folder {folder} ...` leaves some", folder)
        for file in files:
            name, revision = file.parts[-3].replace("__", "/", 1), file.parts[-2]
            model = found.get((name, revision)) or SavedModel(name, revision, {}, {})
            found[name, revision] = model._replace(settings=model.settings or read_settings(file.parent))
            _add(found[name, revision].scores, read_score(file), file)
    last = _last(folders, lambda comparison: _compared(comparison, found))
    models = [found[key] for key in _in_order(sorted(found, key=lambda key: (key[0] == BM25_NAME, key)), last)]
    return dict(zip(_labels(models), models, strict=True))


def differing_settings(models: Mapping[str, SavedModel]) -> dict[str, dict[str, Any]]:
    """Of each model, by label, the settings that tell it from other revisions of it among these; {} where none do."""
    differing = {}
    for label, model in models.items():
        others = [other.settings for other in models.values() if other.name == model.name and other.settings]
        keys = [key for key, value in model.settings.items() if any(other.get(key) != value for other in others)]
        differing[label] = {key: model.settings[key] for key in keys}
    return differing


def find_task_names(models: Iterable[SavedModel], folders: Sequence[str | Path]) -> list[str]:
    """The tasks that any of the models was scored on, those of the last evaluation first and in its order."""
    found = dict.fromkeys(task for model in models for task in model.scores)
    return _in_order(sorted(found), _last(folders, lambda comparison: [one["task"] for one in comparison["tasks"]]))


def choose(models: dict[str, SavedModel], names: Sequence[str]) -> list[str]:
    """The labels that these names stand for, in their order; all revisions where none is named.

    A name is a label, the full name ("local/minilm") or a part of it, with or without `@` and the revision's start.
    Raises ConfigError for a name that no model has, with the nearest one.
    """
    chosen: dict[str, None] = {}
    for name in names:
        own = [name] if name in models else [label for label in models if _is_called(label, models[label], name)]
        if not own:
            raise ConfigError(f"no model {name!r} is saved here; there are {', '.join(models)}{nearest(name, models)}")
        chosen |= dict.fromkeys(own)
    return list(chosen)


def _is_called(label: str, model: SavedModel, name: str) -> bool:
    name, _, revision = name.casefold().partition("@")
    names = (label.partition("@")[0], model.name, model.name.rpartition("/")[2])
    return name in map(str.casefold, names) and model.revision.startswith(revision)


def _add(scores: dict[str, TaskScore], score: TaskScore, file: Path) -> None:
    before = scores.setdefault(score.task, score)
    if before.data_revision != score.data_revision:
        raise DataError(
            f"another of these folders has this model's score on other data ({before.data_revision}, here "
            f"{score.data_revision}); compare one of them at a time",
            file,
        )


def _labels(models: Sequence[SavedModel]) -> list[str]:
    names = {model.name for model in models}
    ends = [name.rpartition("/")[2] for name in names]
    labels = []
    for model in models:
        end = model.name.rpartition("/")[2]
        label = BM25_LABEL if model.name == BM25_NAME else end if ends.count(end) == 1 else model.name
        is_alone = sum(other.name == model.name for other in models) == 1
        labels.append(label if is_alone else f"{label}@{model.revision[:SHORT_REVISION]}")
    if len(set(labels)) < len(labels):  # revisions that begin alike, as BM25's
        labels = [f"{label.partition('@')[0]}@{model.revision}" for label, model in zip(labels, models, strict=True)]
    return labels


def _in_order(found: Iterable[Key], first: Sequence[Key]) -> list[Key]:
    order = {key: place for place, key in enumerate(dict.fromkeys(first))}
    return sorted(found, key=lambda key: order.get(key, len(order)))


def _compared(comparison: dict[str, Any], found: dict[tuple[str, str], SavedModel]) -> list[tuple[str, str]]:
    # of an older evaluation, which did not keep its models' full names, the one that it called the starting model
    if "models" in comparison:
        return [(one["name"], one["revision"]) for one in comparison["models"]]
    return [key for key, model in found.items() if _is_called(model.name, model, comparison["starting_model"])]


def _last(folders: Sequence[str | Path], read: Callable[[dict[str, Any]], list[Key]]) -> list[Key]:
    # of each folder's last evaluation: {"models": [{name, revision}], "tasks": [{task}]}
    entries = []
    for folder in folders:
        path = Path(folder) / "comparison.json"
        try:
            entries += read(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise DataError(f"the saved comparison is damaged ({error}); delete it", path) from None
    return entries
