"""Models side by side: one table of scores with the difference to a baseline, its interval and a plain word."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bioemb.errors import DataError
from bioemb.evaluation.bootstrap import Interval, paired_interval, score_interval
from bioemb.evaluation.scores import TaskScore
from bioemb.records import stable_hash

ABSENT = "-"
ENOUGH_ITEMS = 10  # queries or pairs; an interval drawn from fewer says nothing


class Cell(NamedTuple):
    """A model's score on a task and, but for the baseline, its difference to the baseline's."""

    score: float
    difference: float | None = None
    interval: Interval | None = None  # None as well where the task has no single queries or pairs
    items: int = 0  # queries or pairs of the smallest part that the interval was drawn from

    @property
    def verdict(self) -> str:
        """`better` or `worse` when the whole 95 % interval is on one side of zero, else `not told apart`.

        `too few to tell` where a part has less than `ENOUGH_ITEMS` queries or pairs, whatever the interval.
        """
        if self.interval is None:
            return ""
        if self.items < ENOUGH_ITEMS:
            return "too few to tell"
        if self.interval.low > 0:
            return "better"
        return "worse" if self.interval.high < 0 else "not told apart"

    def lines(self) -> list[str]:
        """The cell for people, in points of 100."""
        lines = [f"{100 * self.score:.1f}"]
        if self.difference is not None:
            bounds = f" [{100 * self.interval.low:+.1f}, {100 * self.interval.high:+.1f}]" if self.interval else ""
            lines += [f"{100 * self.difference:+.1f}{bounds}", self.verdict or "no interval"]
        return lines


class Column(NamedTuple):
    """A task, its metric, and how many queries or pairs its scores are made of."""

    task: str
    metric: str
    items: int  # 0 where they are not made of single ones
    unit: str  # "queries" or "pairs"

    def lines(self) -> list[str]:
        """The head of the column for people."""
        return [self.task, self.metric, *([f"{self.items:,} {self.unit}"] if self.items else [])]


@dataclass(frozen=True)
class Comparison:
    """The table: rows are models, the baseline first; columns are tasks; a cell is None where there is no score."""

    models: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[str, str], Cell]  # (model, task name)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # lines below a model's name, for people

    def as_dict(self) -> dict[str, Any]:
        """For JSON: scores and differences as fractions of one."""
        columns = []
        for task, metric, items, _ in self.columns:
            rows = [{"model": model} | self._cell_record(model, task) for model in self.models]
            columns.append({"task": task, "metric": metric, "items": items or None, "models": rows})
        return {"baseline": self.models[0], "interval": "paired bootstrap, 95 %", "tasks": columns}

    def as_markdown(self) -> str:
        rows = [["model", *("<br>".join(column.lines()) for column in self.columns)]]
        rows.append(["---", *("---:" for _ in self.columns)])
        for model in self.models:
            rows.append(["<br>".join(lines) for lines in self._row(model)])
        escaped = [[text.replace("|", "\\|") for text in row] for row in rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in escaped)

    def as_text(self) -> str:
        """Aligned columns; a cell's difference and its word stand below its score."""
        blocks = [[["model"], *(column.lines() for column in self.columns)]]
        blocks += [self._row(model) for model in self.models]
        widths = [max(len(line) for block in blocks for line in block[column]) for column in range(len(blocks[0]))]
        lines = []
        for block in blocks:
            for row in range(max(len(cell) for cell in block)):
                texts = [cell[row] if row < len(cell) else "" for cell in block]
                lines.append("  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip())
        return "\n".join(lines)

    def _row(self, model: str) -> list[list[str]]:
        cells = (self.cells.get((model, column.task)) for column in self.columns)
        return [[model, *self.notes.get(model, ())], *(cell.lines() if cell else [ABSENT] for cell in cells)]

    def _cell_record(self, model: str, task: str) -> dict[str, Any]:
        cell = self.cells.get((model, task))
        if cell is None:
            return {"score": None, "difference": None, "low": None, "high": None, "verdict": ""}
        low, high = cell.interval or (None, None)
        return {"score": cell.score, "difference": cell.difference, "low": low, "high": high, "verdict": cell.verdict}


def compare(scores: Mapping[str, Sequence[TaskScore]], *, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Set models beside the first one, the baseline, task by task.

    scores: each model's, as `evaluate` or `read_scores` returned them. The draws depend on the seed and the task's
    name only. Raises DataError when there is no model, or two were scored on different data.
    """
    if not scores:
        raise DataError("no model to compare")
    by_model = {model: {score.task: score for score in own} for model, own in scores.items()}
    start = next(iter(by_model))
    cells = {}
    for model, own in by_model.items():
        for task, score in own.items():
            before = by_model[start].get(task) if model != start else None
            if before:
                _require_same_items((start, before), (model, score))
            cells[model, task] = _cell(score, before, resamples, seed)
    return Comparison(tuple(by_model), tuple(_columns(score for own in scores.values() for score in own)), cells)


def interval_of(score: TaskScore, *, resamples: int = 10_000, seed: int = 0) -> Interval | None:
    """The 95 % interval of one model's score, from the same draws; None where there are no single queries or pairs."""
    if not score.parts:
        return None
    gold = [part.gold for part in score.parts]
    interval = score_interval([part.scores for part in score.parts], gold, resamples, _draws(score.task, seed))
    return None if np.isnan(interval).any() else interval


def _columns(scores: Iterable[TaskScore]) -> Iterable[Column]:
    columns: dict[tuple[str, str], Column] = {}
    for score in scores:
        is_pairs = any(part.gold is not None for part in score.parts)
        column = Column(score.task, score.metric, score.items, "pairs" if is_pairs else "queries")
        if not columns.setdefault(column[:2], column).items:  # a model may lack the single ones
            columns[column[:2]] = column
    return columns.values()


def _cell(score: TaskScore, before: TaskScore | None, resamples: int, seed: int) -> Cell:
    if before is None:
        return Cell(score.score)
    difference = score.score - before.score
    if not score.parts or not before.parts:
        return Cell(score.score, difference)
    interval = paired_interval(
        [part.scores for part in before.parts],
        [part.scores for part in score.parts],
        [part.gold for part in score.parts],
        resamples,
        _draws(score.task, seed),
    )
    if np.isnan(interval).any():  # correlations of parts so small that some samples have none
        return Cell(score.score, difference)
    return Cell(score.score, difference, interval, min(len(part.ids) for part in score.parts))


def _draws(task: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, stable_hash(task)])


def _require_same_items(first: tuple[str, TaskScore], second: tuple[str, TaskScore]) -> None:
    (start, before), (model, score) = first, second
    if before.data_revision != score.data_revision:
        raise DataError(
            f"{score.task}: {start} was scored on data {before.data_revision}, {model} on {score.data_revision}; "
            "evaluate both on the same data"
        )
    if before.parts and score.parts and [part[:2] for part in before.parts] != [part[:2] for part in score.parts]:
        raise DataError(
            f"{score.task}: {start} and {model} were scored on different queries or pairs; evaluate both again"
        )
