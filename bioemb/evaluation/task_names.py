"""From names to mteb's tasks: its own tasks and benchmarks, our biomedical suite, and tasks made of local files.

A name may carry subsets and splits: `PublicHealthQA[english]`, `CUREv1[en,es]@all`.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import mteb
from mteb import AbsTask

from bioemb.errors import ConfigError, DataError
from bioemb.evaluation.local_tasks import find_files, list_names, load_local, local_task_class
from bioemb.flags import nearest

BIOEMB_MEDICAL = (
    "BIOSSES",
    "NFCorpus",
    "TRECCOVID",
    "SciFact",
    "SCIDOCS",
    "MedicalQARetrieval",
    "PublicHealthQA[english]",
    "CUREv1[en]@all",
    "MedrxivClusteringP2P.v2",
    "MedrxivClusteringS2S.v2",
    "BiorxivClusteringP2P.v2",
    "BiorxivClusteringS2S.v2",
)
SUITES = {"bioemb-medical": BIOEMB_MEDICAL}  # English, unlike the board's medical benchmark


class TaskName(NamedTuple):
    """A task's name, with the subsets and splits to evaluate; empty: all that it has."""

    name: str
    subsets: tuple[str, ...]
    splits: tuple[str, ...]


def find_tasks(names: str | Sequence[str], local_data: str | Path | None = None) -> list[AbsTask]:
    """mteb's tasks for these names, each once; those found under `local_data` hold their data already.

    A name is a suite (`bioemb-medical`), a task or benchmark of mteb's, or a file or folder of `local_data`, which
    goes first. No name stands for all of `local_data`. Raises ConfigError for an unknown name, naming the nearest, and
    DataError for bad local data, or none.
    """
    if local_data is not None and not Path(local_data).is_dir():
        raise DataError("no such folder (local data)", local_data)
    if not names and local_data is not None:
        names = list_names(local_data)
        if not names:
            raise DataError("no TASK.jsonl and no TASK/corpus.jsonl here; or name tasks of mteb's: --task", local_data)
    tasks: dict[str, AbsTask] = {}
    for name in _expand([names] if isinstance(names, str) else names):
        for task in _tasks_of(parse_task_name(name), local_data):
            tasks.setdefault(task_label(task), task)
    return list(tasks.values())


def parse_task_name(text: str) -> TaskName:
    """`CUREv1[en,es]@all` as its name, subsets and splits. Raises ConfigError."""
    match = re.fullmatch(r"([^\[\]@]+)(?:\[([^\[\]]+)\])?(?:@(.+))?", text)
    if match is None:
        raise ConfigError(f"task {text!r}: expected NAME, NAME[subset,...] or NAME[subset,...]@split,...")
    name, subsets, splits = match.groups()
    return TaskName(name.strip(), _listed(subsets), _listed(splits))


def task_label(task: AbsTask) -> str:
    """The name of a task with the subsets and splits that it is restricted to: what `find_tasks` takes."""
    label = task.metadata.name
    if set(task.hf_subsets) != set(task.metadata.hf_subsets):
        label += f"[{','.join(task.hf_subsets)}]"
    if set(task.eval_splits) != set(task.metadata.eval_splits):
        label += f"@{','.join(task.eval_splits)}"
    return label


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _expand(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from SUITES.get(name, (name,))


def _tasks_of(wanted: TaskName, local_data: str | Path | None) -> list[AbsTask]:
    files = find_files(wanted.name, local_data) if local_data is not None else None
    if files is not None:
        name = Path(wanted.name).name
        task_class = local_task_class(name, files, _mteb_classes().get(name))
        task = _restrict(task_class(), wanted)
        load_local(task, files)
        return [task]
    try:
        return [_restrict(mteb.get_task(wanted.name), wanted)]
    except KeyError:
        pass
    try:
        tasks = list(mteb.get_benchmark(wanted.name).tasks)
    except KeyError:
        raise ConfigError(_unknown(wanted.name, local_data)) from None
    if wanted.subsets or wanted.splits:
        raise ConfigError(f"{wanted.name} is a benchmark of {len(tasks)} tasks; name subsets and splits of a task")
    return tasks


def _restrict(task: AbsTask, wanted: TaskName) -> AbsTask:
    metadata = task.metadata
    for what, asked, there in (
        ("subset", wanted.subsets, metadata.hf_subsets),
        ("split", wanted.splits, metadata.eval_splits),
    ):
        for name in asked:
            if name not in there:
                raise ConfigError(f"{metadata.name} has no {what} {name!r}; it has {', '.join(there)}")
    if wanted.splits:
        task.filter_eval_splits(list(wanted.splits))
    return task.filter_languages(None, hf_subsets=list(wanted.subsets)) if wanted.subsets else task


def _unknown(name: str, local_data: str | Path | None) -> str:
    own = list_names(local_data) if local_data is not None else []
    known = [*own, *SUITES, *_mteb_classes(), *(benchmark.name for benchmark in mteb.get_benchmarks())]
    where = (
        f"mteb's or under {local_data}" if local_data is not None else "mteb's (for one of your own, give --local_data)"
    )
    return f"no task {name!r}: it is not {where}{nearest(name, known)}"


@functools.cache
def _mteb_classes() -> dict[str, type[AbsTask]]:
    found = (item for item in vars(mteb.tasks).values() if isinstance(item, type) and issubclass(item, AbsTask))
    return {task_class.metadata.name: task_class for task_class in found}
