"""The tables of `recipe.py`: cases on what is held out and on the test sets, what both have in common, what it cost."""

import argparse
import json
from pathlib import Path

import numpy as np
from quality import SEED, cost_file, differences, mean_and_spread, runs_of, with_interval
from quality_training import START
from recipe_cases import BESIDE, CASES, FRESH, trainings_of
from reporting import Table

PARTS = {"mean of retrieval": "ndcg_at_10", "mean of similarity": "cosine_spearman"}  # of the test tasks, by metric
LEAST_CASES = 5  # for a correlation over them


def choice_table(scores: dict[str, list], options: argparse.Namespace) -> Table:
    """Every case on what it was chosen by."""
    rows = []
    for case in (START, FRESH, *CASES):
        runs = runs_of(scores, case)
        if runs:
            points = points_of(scores, case)
            rows.append([case, len(runs), *map(mean_and_spread, (*points.T, points.mean(axis=1)))])
    caption = (
        "Held-out articles, and questions, nDCG@10 in points, the mean (least, most) of the seeds; "
        f"{options.examples:,} queries a training"
    )
    return Table(caption, ["case", "seeds", *(of.task for of in scores[START]), "mean"], rows)


def test_table(scores: dict[str, list], options: argparse.Namespace) -> Table:
    """Every start on the test sets in points, and what each case gained over its own."""
    rows = []
    for start in (START, FRESH):
        if start in scores:
            rows.append([start, None, *(f"{100 * of.score:.2f}" for of in scores[start]), *[None] * len(PARTS)])
        for case in [case for case, recipe in CASES.items() if recipe.start == start]:
            runs = runs_of(scores, case)
            if runs:
                rows.append([case, len(runs), *gains([scores[start]], runs, options)])
    caption = (
        "The test sets: nDCG@10 or Spearman's correlation of a start in points, and what each case gained over it "
        "[95 % interval over queries or pairs, and over seeds]"
    )
    return Table(caption, ["case", "seeds", *(of.task for of in scores[START]), *PARTS], rows)


def peers_table(scores: dict[str, list], options: argparse.Namespace) -> Table:
    """Ours less each peer's, of as many queries of the same rows."""
    rows = []
    for own, peer in BESIDE:
        mine, theirs = runs_of(scores, own), runs_of(scores, peer)
        if mine and theirs:
            rows.append([f"{own} less {peer}", f"{len(mine)}, {len(theirs)}", *gains(theirs, mine, options)])
    caption = "Beside the peers, in points [95 % interval over queries or pairs, and over seeds]"
    return Table(caption, ["less", "seeds", *(of.task for of in scores[START]), *PARTS], rows)


def points_beyond(scores: dict[str, list], case: str, other: str, metric: str) -> float | None:
    """The difference of two cases' means over the tasks of this metric; None where one was not scored."""
    if not runs_of(scores, case) or not runs_of(scores, other):
        return None
    places = places_of(scores, metric)
    return float(points_of(scores, case)[:, places].mean() - points_of(scores, other)[:, places].mean())


def cost_table(folder: Path, cases: list[str], seeds: list[int]) -> Table:
    """What the trainings of each case cost, those that it averages together."""
    rows = []
    for case in cases:
        jobs = [trainings_of(case, seed) for seed in seeds if cost_file(folder, f"{case}{SEED}{seed}").exists()]
        read = [[json.loads(cost_file(folder, job).read_text()) for job in some] for some in jobs]
        if read:
            times = [np.array([sum(use[time] for use in some) for some in read]) for time in ("cpu", "wall")]
            peak = max(use["peak_mb"] for some in read for use in some)
            threads = sorted({use["threads"] for some in read for use in some})
            rows.append([case, len(read), *map(mean_and_spread, times), peak, ", ".join(map(str, threads))])
    return Table("Training", ["case", "seeds", "CPU s (least, most)", "wall s", "peak MB", "threads"], rows)


def agreement_table(choice: dict[str, list], tests: dict[str, list]) -> Table | None:
    """Whether what is held out orders the cases as the test sets do: it was not chosen by this, which looks at them."""
    from scipy.stats import spearmanr

    both = [case for case, of in CASES.items() if of.start == START and runs_of(choice, case) and runs_of(tests, case)]
    if len(both) < LEAST_CASES:
        return None
    held_out = np.array([points_of(choice, case).mean(axis=0) for case in both])  # [cases, tasks]
    names = [of.task for of in choice[START]]
    columns = dict(zip(names, held_out.T, strict=True)) | {"mean": held_out.mean(axis=1)}
    means = [
        np.array([points_of(tests, case)[:, places_of(tests, metric)].mean() for case in both])
        for metric in PARTS.values()
    ]
    rows = [[name, *(f"{spearmanr(values, mean).statistic:.2f}" for mean in means)] for name, values in columns.items()]
    caption = f"Rank correlation over {len(both)} cases of what is held out with the test sets"
    return Table(caption, ["held out", *PARTS], rows)


def points_of(scores: dict[str, list], case: str) -> np.ndarray:
    """[seeds, tasks]"""
    return np.array([[100 * of.score for of in run] for run in runs_of(scores, case)])


def places_of(scores: dict[str, list], metric: str) -> list[int]:
    """Of the tasks of this metric."""
    return [place for place, of in enumerate(scores[START]) if of.metric == metric]


def gains(before: list, after: list, options: argparse.Namespace) -> list[str]:
    """Of runs over other runs: of each test task, then of the means of PARTS."""
    drawn, found, tasks = [], [], before[0]
    for place in range(len(tasks)):
        ones, others = ([run[place] for run in runs] for runs in (before, after))
        drawn.append(differences(ones, others, options.resamples, np.random.default_rng([0, place])))
        found.append(np.mean([of.score for of in others]) - np.mean([of.score for of in ones]))
    groups = [[place] for place in range(len(tasks))]
    groups += [[place for place, of in enumerate(tasks) if of.metric == metric] for metric in PARTS.values()]
    return [with_interval(np.mean([found[of] for of in g]), np.mean([drawn[of] for of in g], axis=0)) for g in groups]
