"""What training logged: loss, learning rate, throughput and, where queries were held out, how well they find theirs."""

from typing import Any

from bioemb.report.charts import Series, lines
from bioemb.report.markup import Html, details, element, figure, grid, join, note, number, points, table
from bioemb.report.page import Section
from bioemb.report.reading import Output, Run, expecting, read_metrics

# name in the log: what it is called, how it is written
LOGGED = {
    "loss": ("loss", ".4f"),
    "learning_rate": ("learning rate", ".1e"),
    "tokens_per_second": ("tokens per second, one process", ",.0f"),
    "gradient_norm": ("norm of the gradient", ".2f"),
}
HELD_OUT = {"eval_mrr": "MRR", "eval_recall@1": "recall@1", "eval_recall@10": "recall@10"}
ROLES = {"eval_mrr": "blue", "eval_recall@1": "orange", "eval_recall@10": "muted"}
SHOWN_ROWS = 60  # of the log, evenly spread


def training_section(run: Run) -> Section | None:
    """One part for each training run; None where there is none that has logged anything."""
    parts = []
    for place, output in enumerate(run.of("train")):
        path = output.path / "metrics.jsonl"
        rows = read_metrics(path)
        if rows:
            with expecting(path):
                parts.append(_output(run, output, rows, place))
    return Section("training", "How training went", join(*parts)) if parts else None


def _output(run: Run, output: Output, rows: list[dict[str, Any]], place: int) -> Html:
    steps = [row for row in rows if "loss" in row]
    scores = [row for row in rows if HELD_OUT.keys() & row.keys()]
    charts = [
        _line(f"{name.replace('_', '-')}-{place}", title, name, form, steps)
        for name, (title, form) in LOGGED.items()
        if steps and all(name in row for row in steps)
    ]
    if scores:
        charts.insert(1, _held_out(f"held-out-{place}", scores))
    unfinished = [] if output.complete else [note("Training has not finished; this is what it has logged so far.")]
    missing = [] if scores else [note("No queries were held out (--eval_share), so there is no held-out recall.")]
    last = output.counts.get("held_out") or {}
    ended = [note("The saved model on the held-out queries: ", _in_words(last), ".")] if last else []
    log = details(f"The log, {min(len(steps), SHOWN_ROWS)} of {len(steps)} lines", _table(steps)) if steps else ""
    heading = element("h3", run.name_of(output.path))
    return join(heading, *unfinished, grid(*charts), *ended, *missing, log)


def _line(name: str, title: str, key: str, form: str, rows: list[dict[str, Any]]) -> Html:
    series = Series("", [row[key] for row in rows], "blue")
    chart = lines(name, f"{title} over steps", [row["step"] for row in rows], [series], "step", form)
    return figure(title.capitalize(), chart)


def _held_out(name: str, rows: list[dict[str, Any]]) -> Html:
    keys = [key for key in HELD_OUT if all(key in row for row in rows)]
    series = [Series(HELD_OUT[key], [row[key] for row in rows], ROLES[key]) for key in keys]
    chart = lines(name, "Held-out scores over steps", [row["step"] for row in rows], series, "step", ".3f")
    body = [[number(row["step"]), *(number(row[key], ".4f") for key in keys)] for row in rows]
    numbers = details("Numbers", table(["step", *(HELD_OUT[key] for key in keys)], body, words=0))
    return figure("Held-out queries", chart, numbers)


def _in_words(scores: dict[str, float]) -> Html:
    said = [join(f"{name} ", points(score), ", ") for name, score in scores.items()]
    return Html(join(*said).removesuffix(", "))


def _table(rows: list[dict[str, Any]]) -> Html:
    keys = [key for key in LOGGED if all(key in row for row in rows)]
    shown = sorted({round(place * (len(rows) - 1) / (SHOWN_ROWS - 1)) for place in range(SHOWN_ROWS)})
    chosen = [rows[place] for place in shown]
    body = [[number(row["step"]), *(number(row[key], LOGGED[key][1]) for key in keys)] for row in chosen]
    return table(["step", *(LOGGED[key][0] for key in keys)], body, words=0)
