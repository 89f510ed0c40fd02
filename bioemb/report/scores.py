"""The models side by side, as `bioemb evaluate` compared them: a table, and the differences with their intervals."""

from pathlib import Path
from typing import Any

from bioemb.report.charts import Span, intervals
from bioemb.report.markup import Html, element, figure, grid, join, note, points, shortened, table
from bioemb.report.page import Section
from bioemb.report.reading import Run, baseline_of, expecting, read_object

ROLE_OF = {"better": "blue", "worse": "orange"}
NAME_CHARACTERS = 18  # of a model's name in the chart


def score_section(run: Run) -> Section | None:
    """One part for each comparison in the folder; None where there is none."""
    parts = []
    for place, path in enumerate(run.comparisons):
        comparison = read_object(path)
        with expecting(path):
            parts.append(_comparison(run, path, comparison, place))
    return Section("scores", "Did the model get better?", join(*parts)) if parts else None


def _comparison(run: Run, path: Path, comparison: dict[str, Any], place: int) -> Html:
    tasks, baseline = comparison["tasks"], baseline_of(comparison)
    models = list(dict.fromkeys(row["model"] for task in tasks for row in task["models"]))
    others = [model for model in models if model != baseline]
    head = ["task", *(_name(model, bool(others) and model == baseline) for model in models)]
    rows = [[_task(task), *(_cell(_row_of(task, model)) for model in models)] for task in tasks]
    spans = {model: _spans(model, tasks) for model in others}
    limits = limits_of([span for of_model in spans.values() for span in of_model])
    charts = [
        _chart(f"differences-{place}-{number}", (model, baseline), of_model, limits)
        for number, (model, of_model) in enumerate(spans.items())
        if of_model
    ]
    below = (
        f" Below each, its difference to {baseline} with the interval ({comparison['interval']}) and a plain word: "
        "better or worse where the whole interval is on one side of zero, unless queries or pairs are too few to tell."
    )
    said = note(f"Scores in points of 100.{below if others else ''}")
    heading = element("h3", run.name_of(path))
    return join(heading, said, table(head, rows), grid(*charts))


def _name(model: str, is_baseline: bool) -> Html:
    return join(model, element("small", "baseline")) if is_baseline else join(model)


def _task(task: dict[str, Any]) -> Html:
    return join(task["task"], element("small", task["metric"]))


def _row_of(task: dict[str, Any], model: str) -> dict[str, Any]:
    found = [row for row in task["models"] if row["model"] == model]
    return found[0] if found else {"score": None, "difference": None, "low": None, "high": None, "verdict": ""}


def _cell(row: dict[str, Any]) -> Html:
    """A score with its difference, interval and verdict below it."""
    lines = [points(row["score"])]
    if row["difference"] is not None:
        lines.append(element("small", points(row["difference"], "+.1f"), *bounds_of(row)))
        lines.append(element("small", row["verdict"] or "no interval", class_=f"verdict {row['verdict']}".rstrip()))
    return join(*lines)


def bounds_of(row: dict[str, Any]) -> list[object]:
    """The interval in brackets; nothing where there is none."""
    if row["low"] is None:
        return []
    return [" [", points(row["low"], "+.1f"), ", ", points(row["high"], "+.1f"), "]"]


def limits_of(spans: list[Span]) -> tuple[float, float]:
    """A scale that shows every interval, and zero."""
    ends = [0.0, *(end for span in spans for end in (span.value, *(span.bounds or ())))]
    frame = 0.06 * max(max(ends) - min(ends), 1.0)
    return min(ends) - frame, max(ends) + frame


def _chart(name: str, models: tuple[str, str], spans: list[Span], limits: tuple[float, float]) -> Html:
    model, baseline = models
    title = join(model, element("small", f"difference to {baseline}"))
    return figure(title, intervals(name, f"Differences of {model}", spans, limits, "points of 100"))


def _spans(model: str, tasks: list[dict[str, Any]]) -> list[Span]:
    spans = [_span(task["task"], _row_of(task, model)) for task in tasks]
    return [span for span in spans if span]


def _span(task: str, row: dict[str, Any]) -> Span | None:
    if row["difference"] is None:
        return None
    value = 100 * row["difference"]
    bounds = None if row["low"] is None else (100 * row["low"], 100 * row["high"])
    said = f" [{bounds[0]:+.1f}, {bounds[1]:+.1f}]" if bounds else ""
    name = f"\u2068{shortened(task, NAME_CHARACTERS)}\u2069"  # set apart, so that its direction is its own
    label = f"{name}  {value:+.1f}{said} {row['verdict']}"
    return Span(label, value, bounds, ROLE_OF.get(row["verdict"], "muted"))
