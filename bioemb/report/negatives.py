"""What mining found: how close positives and negatives are to their queries, why candidates were not taken, examples.

Scores are counted in narrow bins as they come (`CosineCounts`), so that memory does not grow with the rows.
"""

import heapq
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from bioemb.files import Located, read_records
from bioemb.log import progress
from bioemb.mining.score_statistics import CosineCounts
from bioemb.records import stable_hash
from bioemb.report.charts import Bar, Series, bars, by_order, histogram, occupied
from bioemb.report.markup import Html, details, element, figure, grid, join, note, number, quoted, table
from bioemb.report.page import Section
from bioemb.report.reading import Output, Run, expecting

ORDERS = 30  # of a row's negatives, from the closest on
EXAMPLES, SHOWN_NEGATIVES = 5, 3
ROWS_AT_ONCE = 4096
QUARTILES = (25, 50, 75)
ROUNDING = 1.001  # a cosine may be above 1 by a little


class Similarities(NamedTuple):
    """The scores of a file of examples."""

    rows: int
    positives: CosineCounts
    negatives: CosineCounts
    orders: list[CosineCounts]  # the closest negative of each row, the second, ...
    unscored: int  # negatives, filled up at random
    examples: list[dict[str, Any]]


def negative_section(run: Run, seed: int) -> Section | None:
    """One part for each output of mining that is there; None where there is none."""
    outputs = [output for output in run.of("mine") if output.complete and output.path.is_file()]
    parts = [_output(run, output, place, seed) for place, output in enumerate(outputs)]
    if not parts:
        return None
    lead = note("Cosines by the model that mined; hard negatives are near the positive, and not above it by much.")
    return Section("negatives", "What mining found", join(lead, *parts))


def read_similarities(output: Output, seed: int) -> Similarities:
    """Read every row once. Raises DataError where scores are no cosines."""
    positives, negatives, orders = CosineCounts(), CosineCounts(), []
    rows = unscored = 0
    drawn: list[tuple[int, int, dict]] = []  # a heap of the rows with the smallest hashes
    records = iter(progress(read_records([output.path]), "read examples"))
    while block := list(islice(records, ROWS_AT_ONCE)):
        own = [_cosines(located, "pos") for located in block]
        others = [sorted((x for x in _cosines(located, "neg") if x is not None), reverse=True) for located in block]
        unscored += sum(len(located.record.get("neg") or []) for located in block) - sum(map(len, others))
        positives.add(_flat(own))
        negatives.add(_flat(others))
        for order in range(min(ORDERS, max(map(len, others)))):
            if order == len(orders):
                orders.append(CosineCounts())
            orders[order].add(_flat([row[order : order + 1] for row in others]))
        for located in block:
            key = stable_hash(f"{seed} {located.record.get('query')}")
            heapq.heappush(drawn, (-key, -rows, located.record))
            rows += 1
            if len(drawn) > EXAMPLES:
                heapq.heappop(drawn)
    return Similarities(rows, positives, negatives, orders, unscored, [row for *_, row in sorted(drawn, reverse=True)])


def _cosines(located: Located, side: str) -> list[float | None]:
    """The cosines of a row's positives or negatives by the model that mined; none where it has none."""
    record = located.record
    with expecting(located.path):
        scores = record.get(f"{side}_cosines") or record.get(f"{side}_scores") or []
        if any(score is not None and not abs(score) <= ROUNDING for score in scores):
            raise ValueError(f"line {located.line} has {side}_scores that are no cosines")
    return scores


def _flat(rows: list[list[float | None]]) -> np.ndarray:
    return np.array([score for row in rows for score in row if score is not None], dtype=np.float32)


def _output(run: Run, output: Output, place: int, seed: int) -> Html:
    found = read_similarities(output, seed)
    with expecting(output.path):
        charts = []
        if found.positives.total and found.negatives.total:
            charts = [_by_order(f"orders-{place}", found), _histogram(f"similarities-{place}", found)]
        charts += _candidates(f"candidates-{place}", output)
        examples = [_example(row) for row in found.examples]
    heading = element("h3", run.name_of(output.path))
    unscored = note(
        number(found.unscored),
        " negatives were filled up at random and have no score: too few candidates of their rows passed the rules. "
        "They are not in the charts.",
    )
    return join(
        heading,
        grid(*charts) if charts else note("These examples have no scores to show."),
        unscored if found.unscored else "",
        details(f"{len(examples)} rows, drawn by the seed, with their closest negatives", *examples),
    )


def _by_order(name: str, found: Similarities) -> Html:
    quartiles = np.array([[order.percentile(p) for p in QUARTILES] for order in found.orders])
    own = [found.positives.percentile(p) for p in QUARTILES]
    chart = by_order(name, "Cosine of positives, and of negatives by the order of their score", quartiles, own)
    sides = [("positive", found.positives), *((f"negative {k}", of) for k, of in enumerate(found.orders, start=1))]
    rows = [
        [
            side,
            number(of.total),
            *(number(of.percentile(p), ".3f") for p in QUARTILES),
            number(of.sum / of.total, ".3f"),
        ]
        for side, of in sides
    ]
    title = join("Cosine by order", element("small", "median and middle half; blue: positive, orange: negatives"))
    head = ["", "texts", *(f"{p} %" for p in QUARTILES), "mean"]
    return figure(title, chart, details("Numbers", table(head, rows)))


def _histogram(name: str, found: Similarities) -> Html:
    own, others = (of.as_dict()["histogram"] for of in (found.positives, found.negatives))
    series = [Series("positives", own["counts"], "blue"), Series("negatives", others["counts"], "orange")]
    limits = occupied(own["edges"], own["counts"], others["counts"])
    chart = histogram(name, "Cosines of positives and of negatives", own["edges"], series, limits)
    said = element("small", number(found.positives.total), " positives, ", number(found.negatives.total), " negatives")
    return figure(join("Cosines of all", said), chart)


def _candidates(name: str, output: Output) -> list[Html]:
    counts = output.counts.get("candidates") or {}
    taken = output.counts.get("negatives")
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [Bar(reason, count, "orange", f"{count:,}") for reason, count in rows]
    if not shown:
        return []
    if taken is not None:
        shown.append(Bar("negatives written", taken, "blue", f"{taken:,}"))
    title = join("Candidates, and why not taken", element("small", "each query's neighbours, from the closest on"))
    return [figure(title, bars(name, "Why candidates were not taken", shown))]


def _example(row: dict[str, Any]) -> Html:
    """A row: the query, its positives, and the closest of its negatives."""
    negatives = _scored(row, "neg")
    negatives.sort(key=lambda item: np.inf if item[1] is None else -item[1])  # those without a score last
    shown = [_passage("positive", "right", *item) for item in _scored(row, "pos")]
    shown += [_passage("negative", "score", *item) for item in negatives[:SHOWN_NEGATIVES]]
    return element("div", element("p", element("strong", quoted(row["query"]))), *shown, class_="example")


def _scored(row: dict[str, Any], side: str) -> list[tuple[str, float | None]]:
    texts = row[side]
    scores = row.get(f"{side}_cosines") or row.get(f"{side}_scores") or [None] * len(texts)
    return list(zip(texts, scores, strict=True))


def _passage(side: str, class_name: str, text: str, score: float | None) -> Html:
    said = "not scored" if score is None else join("cosine ", number(score, ".3f"))
    label = element("span", side, class_=class_name)
    return element("p", label, " ", element("span", said, class_="score"), " ", quoted(text))
