"""From mteb's saved predictions to the scores of single queries and pairs, checked against mteb's own main score."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytrec_eval
from mteb import AbsTask
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS

from bioemb.evaluation.bootstrap import statistic
from bioemb.evaluation.scores import Part
from bioemb.log import logger

# mteb's names of metrics and those of trec_eval, which mteb computes them with
TREC_MEASURES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}
TOLERANCE = 1e-4  # mteb rounds to five digits


def read_parts(task: AbsTask, predictions: Path, main_score: float) -> tuple[Part, ...]:
    """The parts of an evaluated task, whose data are still loaded; none where its metric has no single items.

    predictions: the file that mteb wrote: {subset: {split: predictions}}. Parts whose mean is not the main score
    (tasks with rules of their own) are left out, with a warning.
    """
    make = _part_maker(task)
    if make is None or not predictions.exists():
        return ()
    record = json.loads(predictions.read_text(encoding="utf-8"))
    parts = []
    for split in sorted(task.eval_splits):
        for subset in sorted(task.hf_subsets):
            data = task.dataset[split] if subset not in task.dataset else task.dataset[subset][split]
            parts.append(make(f"{split}/{subset}", data, record[subset][split]))
    mean = np.mean([statistic(part.scores, part.gold, np.ones((1, len(part.ids))))[0] for part in parts])
    if not abs(mean - main_score) <= TOLERANCE:
        logger.warning(
            "%s: single scores give %.5f, mteb's main score is %.5f; comparisons will have no interval",
            task.metadata.name,
            mean,
            main_score,
        )
        return ()
    return tuple(parts)


def _part_maker(task: AbsTask) -> Callable[[str, Any, Any], Part] | None:
    metric = task.metadata.main_score
    if isinstance(task, AbsTaskSTS) and metric == "cosine_spearman":
        return _pairs
    match = re.fullmatch(r"(\w+)_at_(\d+)", metric)
    if isinstance(task, AbsTaskRetrieval) and match and match[1] in TREC_MEASURES:
        measure, k = TREC_MEASURES[match[1]], match[2]
        return lambda name, data, found: _queries(name, data, _ranked(task, found), (measure, k))
    return None


def _pairs(name: str, data: Any, found: dict[str, list[float]]) -> Part:
    cosines, gold = np.array(found["cosine_scores"]), np.array(data["score"], dtype=np.float64)
    return Part(name, tuple(map(str, range(len(gold)))), cosines, gold)


def _queries(name: str, data: Any, found: dict[str, dict[str, float]], measure: tuple[str, str]) -> Part:
    evaluator = pytrec_eval.RelevanceEvaluator(data["relevant_docs"], {".".join(measure)})
    scores = evaluator.evaluate(found)
    ids = tuple(sorted(scores))
    return Part(name, ids, np.array([scores[query]["_".join(measure)] for query in ids]))


def _ranked(task: AbsTaskRetrieval, found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    if not task.ignore_identical_ids:
        return found
    # a query that is itself a passage of the corpus (ArguAna, Quora) must not find itself
    return {query: {id_: score for id_, score in ranked.items() if id_ != query} for query, ranked in found.items()}
