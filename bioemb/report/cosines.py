"""What the filter saw: cosines of pairs and of shuffled pairs with the threshold, and pairs from both sides of it."""

from pathlib import Path
from typing import Any

from bioemb.report.charts import Series, histogram, occupied
from bioemb.report.markup import Html, details, element, figure, grid, join, note, number, quoted, table
from bioemb.report.page import Section
from bioemb.report.reading import Output, Run, expecting, read_object

SHARES = ("5", "25", "50", "75")


def cosine_section(run: Run) -> Section | None:
    """One part for each output of the filter that has its statistics beside it; None where there is none."""
    parts = []
    for place, output in enumerate(run.of("filter")):
        path = statistics_of(output)
        if path.exists():
            statistics = read_object(path)
            with expecting(path):
                parts.append(_output(run, output, statistics, place))
    if not parts:
        return None
    lead = note(
        "Each pair's cosine beside that of its query with another pair's document. A model that tells them apart puts "
        "the two heaps apart; the threshold cuts at the vertical line. Counts are in bins 0.05 wide."
    )
    return Section("cosines", "What the filter saw", join(lead, *parts))


def statistics_of(output: Output) -> Path:
    """Where the filter keeps its statistics."""
    return Path(f"{output.path}.stats.json")


def _output(run: Run, output: Output, statistics: dict[str, Any], place: int) -> Html:
    charts = [_histogram(f"cosines-{place}-{row}", kind, of) for row, (kind, of) in enumerate(statistics.items())]
    head = [
        "kind",
        "pairs",
        "mean",
        *(f"{p} %" for p in SHARES),
        "shuffled: 50 %",
        "99 %",
        "AUC",
        "threshold",
        "kept",
        "share",
    ]
    rows = [_row(kind, of) for kind, of in statistics.items()]
    examples = [_examples(kind, of) for kind, of in statistics.items()]
    heading = element("h3", run.name_of(output.path))
    said = note(
        "Percentiles of the cosines; AUC is the probability that a pair's cosine is above a shuffled pair's "
        "(0.5 tells nothing, 1 separates)."
    )
    return join(heading, grid(*charts), table(head, rows), said, *examples)


def _histogram(name: str, kind: str, of: dict[str, Any]) -> Html:
    edges, own, shuffled = of["histogram"]["edges"], of["histogram"]["counts"], of["shuffled"]["histogram"]["counts"]
    threshold = of["threshold"]
    said = "no threshold" if threshold is None else join("threshold ", number(threshold, ".3f"))
    title = join(kind, element("small", number(of["count"]), " pairs, ", said))
    series = [Series("pairs", own, "blue"), Series("shuffled", shuffled, "orange")]
    chart = histogram(
        name, f"Cosines of {kind} pairs and of shuffled pairs", edges, series, occupied(edges, own, shuffled), threshold
    )
    bins = [
        [f"{low:.2f} to {high:.2f}", number(one), number(other)]
        for low, high, one, other in zip(edges[:-1], edges[1:], own, shuffled, strict=True)
        if one or other
    ]
    return figure(title, chart, details("Numbers", table(["cosine", "pairs", "shuffled"], bins)))


def _row(kind: str, of: dict[str, Any]) -> list[object]:
    own, shuffled = of["percentiles"], of["shuffled"]["percentiles"]
    return [
        kind,
        number(of["count"]),
        number(of["mean"], ".3f"),
        *(number(own[p], ".3f") for p in SHARES),
        number(shuffled["50"], ".3f"),
        number(shuffled["99"], ".3f"),
        number(of["auc"], ".3f"),
        "any" if of["threshold"] is None else number(of["threshold"], ".3f"),
        number(of["kept"]),
        f"{of['kept'] / of['count']:.1%}",
    ]


def _examples(kind: str, of: dict[str, Any]) -> Html:
    """The pairs nearest to the threshold, dropped ones first."""
    sides = [("below the threshold, dropped", of["examples"]["below"]), ("above it", of["examples"]["above"])]
    shown = [
        join(element("h4", f"{kind}, nearest {side}"), *(_example(example) for example in examples))
        for side, examples in sides
        if examples
    ]
    return details(f"{kind}: pairs on both sides of the threshold", *shown) if shown else Html("")


def _example(example: dict[str, Any]) -> Html:
    score = element("span", "cosine ", number(example["cos_sim"], ".3f"), class_="score")
    query, document = (element("p", quoted(example[key])) for key in ("query", "document"))
    return element("div", element("p", score), query, document, class_="example")
