"""Score a model on tasks through mteb, and keep each task's score with the scores of its single queries or pairs.

mteb's results stand under `save_folder/results` in its own layout, ours under `save_folder/scores`. A task whose score
is there, for the same model revision and the same data, is not run again.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import datasets
import mteb
import numpy as np
from datasets.exceptions import DatasetsError
from mteb import AbsTask, TaskResult
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.aggregated_task import AbsTaskAggregate

from bioemb.errors import DataError, ModelError
from bioemb.evaluation.bm25 import BM25
from bioemb.evaluation.encoder_adapter import EncoderForMteb
from bioemb.evaluation.hub import hub_is_reachable, offline, require_data
from bioemb.evaluation.parts import read_parts
from bioemb.evaluation.scores import TaskScore, read_score, scores_folder, settings_file, write_score
from bioemb.evaluation.task_names import task_label
from bioemb.files import write_json
from bioemb.log import logger, progress


def evaluate(
    model: EncoderForMteb | BM25,
    tasks: Sequence[AbsTask],
    save_folder: str | Path,
    *,
    overwrite: bool = False,
    is_reachable: Callable[[], bool] = hub_is_reachable,
) -> list[TaskScore]:
    """The model's score on each task; BM25 has none but on retrieval tasks.

    tasks: as `find_tasks` or mteb give them. overwrite: run again what is saved already.
    Raises ConfigError before anything is run where data cannot be had, DataError and ModelError.
    """
    if isinstance(model, BM25):
        tasks = [task for task in tasks if _is_retrieval(task)]
    folder = scores_folder(save_folder, model.mteb_model_meta.name, model.mteb_model_meta.revision)
    saved = [None if overwrite else _saved_score(folder, task) for task in tasks]
    may_ask = require_data([task for task, score in zip(tasks, saved, strict=True) if score is None], is_reachable)
    if model.settings:
        write_json(settings_file(folder), model.settings)
    scores = []
    with _no_progress_bars(), nullcontext() if may_ask else offline():
        for task, score in progress(list(zip(tasks, saved, strict=True)), f"evaluate {model.mteb_model_meta.name}"):
            if score is None:
                score = _run(model, task, mteb.ResultCache(save_folder), overwrite)
                write_score(folder / f"{score.task}.json", score)
                logger.info("%s: %s %s %.4f", model.mteb_model_meta.name, score.task, score.metric, score.score)
            scores.append(score)
    return scores


def _is_retrieval(task: AbsTask) -> bool:
    if isinstance(task, AbsTaskAggregate):
        return all(map(_is_retrieval, task.tasks))
    return isinstance(task, AbsTaskRetrieval)


def _saved_score(folder: Path, task: AbsTask) -> TaskScore | None:
    file = folder / f"{task_label(task)}.json"
    score = read_score(file) if file.exists() else None
    return score if score and score.data_revision == task.metadata.revision else None


def _run(model: EncoderForMteb | BM25, task: AbsTask, cache: mteb.ResultCache, overwrite: bool) -> TaskScore:
    was_loaded = task.data_loaded
    load_data(task)
    with tempfile.TemporaryDirectory() as predictions:
        results = mteb.evaluate(
            model,
            task,
            co2_tracker=False,
            cache=cache,
            overwrite_strategy="always" if overwrite else _strategy(model, task, cache),
            prediction_folder=predictions,
            show_progress_bar=False,
        )
        score = _main_score(task, results.task_results[0], model)
        parts = read_parts(task, Path(predictions) / task.prediction_file_name, score)
    if not was_loaded and task.data_loaded:
        task.unload_data()
    return TaskScore(task_label(task), task.metadata.main_score, score, task.metadata.revision, parts)


def load_data(task: AbsTask) -> None:
    """Load the task's data through mteb. Raises DataError where they cannot be had."""
    if isinstance(task, AbsTaskAggregate):
        return  # its tasks are loaded one by one
    try:
        task.load_data()
        if isinstance(task, AbsTaskRetrieval):
            task.convert_v1_dataset_format_to_v2(num_proc=None)  # what mteb does when it evaluates
    except (OSError, ValueError, DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{task.metadata.name}: mteb could not load {task.metadata.dataset['path']}: {reason}"
        ) from error


def _strategy(model: EncoderForMteb | BM25, task: AbsTask, cache: mteb.ResultCache) -> str:
    # What mteb has saved and we have not holds no single scores, or is of data that have changed, which mteb overlooks:
    # run it again. Results of other subsets and splits stay beside the new ones.
    try:
        saved = cache.load_task_result(task.metadata.name, model.mteb_model_meta)
    except ValueError:  # damaged
        return "always"
    there = (
        {(split, entry["hf_subset"]) for split, entries in saved.scores.items() for entry in entries} if saved else ()
    )
    wanted = {(split, subset) for split in task.eval_splits for subset in task.hf_subsets}
    return "only-missing" if wanted.isdisjoint(there) else "always"


def _main_score(task: AbsTask, result: TaskResult, model: EncoderForMteb | BM25) -> float:
    if isinstance(task, AbsTaskAggregate):
        score = result.get_score()
    else:
        entries = [entry for split in task.eval_splits for entry in result.scores[split]]
        score = float(np.mean([entry["main_score"] for entry in entries if entry["hf_subset"] in task.hf_subsets]))
    if math.isnan(score):
        raise ModelError(
            f"{model.mteb_model_meta.name} has no {task.metadata.main_score} on {task.metadata.name}: "
            "all its vectors are alike"
        )
    return score


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    # of `datasets`, which draws one for each look at a column; ours says how many tasks are done
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
