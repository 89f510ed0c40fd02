"""Every text that tasks evaluate on, and on which side it stands: what training data must not repeat."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from mteb import AbsTask
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.aggregated_task import AbsTaskAggregate

from bioemb.evaluation.hub import hub_is_reachable, offline, require_data
from bioemb.evaluation.running import load_data

NO_TEXTS = {"id", "_id", "idx", "label", "labels", "label_text", "lang", "language", "score", "split", "subset"}
INPUTS = ("input_column_name", "input1_column_name", "input2_column_name", "column_names")  # of a task


class EvaluationText(NamedTuple):
    """A text of a task; `side` is queries, documents, or texts: of pairs, clusters and classes."""

    task: str
    side: str
    text: str


def evaluation_texts(
    tasks: Sequence[AbsTask], is_reachable: Callable[[], bool] = hub_is_reachable
) -> Iterator[EvaluationText]:
    """The texts of the tasks' subsets and splits, a text of one task and side once, in order.

    A document is its title and its text, as it is encoded. Raises ConfigError and DataError where data cannot be had.
    """
    may_ask = require_data(tasks, is_reachable)
    for task in _single(tasks):
        was_loaded = task.data_loaded
        with nullcontext() if may_ask else offline():
            load_data(task)
        found = _retrieval_texts(task) if isinstance(task, AbsTaskRetrieval) else _other_texts(task)
        for side, text in dict.fromkeys((side, text) for side, text in found if text.strip()):
            yield EvaluationText(task.metadata.name, side, text)
        if not was_loaded:
            task.unload_data()


def _single(tasks: Iterable[AbsTask]) -> Iterator[AbsTask]:
    for task in tasks:
        yield from _single(task.tasks) if isinstance(task, AbsTaskAggregate) else [task]


def _retrieval_texts(task: AbsTask) -> Iterator[tuple[str, str]]:
    for data in _splits(task):
        for record in data["queries"]:
            yield from (("queries", text) for text in _strings(record["text"]))
        for record in data["corpus"]:
            title = record.get("title") or ""
            yield from (("documents", f"{title}\n{text}" if title else text) for text in _strings(record["text"]))


def _other_texts(task: AbsTask) -> Iterator[tuple[str, str]]:
    inputs = {name for said in INPUTS for name in _strings(getattr(task, said, None))}
    labels = {*NO_TEXTS, getattr(task, "label_column_name", None)}
    for data in _splits(task):
        there = [name for name in data.column_names if name in inputs]
        for column in there or [name for name in data.column_names if name not in labels]:
            for value in data[column]:
                yield from (("texts", text) for text in _strings(value))


def _splits(task: AbsTask) -> Iterator[Any]:
    """The data of each subset and split that is evaluated on; some tasks have no subsets."""
    for subset in task.hf_subsets:
        of_subset = task.dataset.get(subset, task.dataset)
        yield from (of_subset[split] for split in task.eval_splits if split in of_subset)


def _strings(value: Any) -> Iterator[str]:
    """The texts in a value: itself, or those of a list, of lists, of a conversation's turns."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings(value.get("content", value.get("text")))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for one in value:
            yield from _strings(one)
