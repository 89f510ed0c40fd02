"""What each stage read, dropped and kept, and whatever else its manifest counts."""

from collections.abc import Iterator
from typing import Any

from bioemb.manifest import manifest_path
from bioemb.report.charts import Bar, bars
from bioemb.report.markup import Html, details, element, figure, grid, join, note, number, table
from bioemb.report.page import Section
from bioemb.report.reading import Output, Run, expecting

SHOWN_BARS = 12  # of a funnel's reasons, the most frequent; the table has all
IS_FUNNEL = {"read", "kept", "dropped"}


def funnel_section(run: Run) -> Section:
    """Every funnel of every manifest, with the counts that are no funnel as tables."""
    parts = []
    for number_of_output, output in enumerate(run.outputs):
        with expecting(manifest_path(output.path)):
            parts.append(_output(run, output, number_of_output))
    lead = note("Every record that a stage read was kept or is counted here under the one reason that dropped it.")
    return Section("funnels", "What each stage kept", join(lead, *parts))


def _output(run: Run, output: Output, place: int) -> Html:
    charts = [
        _funnel(f"funnel-{place}-{number_here}", name, funnel)
        for number_here, (name, funnel) in enumerate(funnels_of(output.counts))
        if funnel["read"]
    ]
    others = list(other_counts(output.counts))
    heading = element("h3", f"{output.stage}: {run.name_of(output.path)}")
    unfinished = [] if output.complete else [note("This stage has not finished, so that its manifest has no counts.")]
    rows = [[name, number(count)] for name, count in others]
    counts = details("Further counts" if charts else "Counts", table(["", "count"], rows)) if rows else ""
    return join(heading, *unfinished, grid(*charts) if charts else "", counts)


def funnels_of(counts: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, {"read","kept","dropped"}) of each funnel among a manifest's counts."""
    for name, value in counts.items():
        if isinstance(value, dict) and value.keys() >= IS_FUNNEL:
            yield name.replace("_", " "), value


def other_counts(counts: dict[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """(name, number) of everything that is no funnel, the names of what it stands in before it."""
    for name, value in counts.items():
        said = f"{before}{name}".replace("_", " ")
        if isinstance(value, dict):
            left = {key: one for key, one in value.items() if not (value.keys() >= IS_FUNNEL and key in IS_FUNNEL)}
            yield from other_counts(left, f"{said}: ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield said, value


def _funnel(name: str, title: str, funnel: dict[str, Any]) -> Html:
    read, kept = funnel["read"], funnel["kept"]
    dropped = sorted(funnel["dropped"].items(), key=lambda item: (-item[1], item[0]))
    shown = [Bar(f"dropped: {reason}", count, "orange", f"{count:,}") for reason, count in dropped[:SHOWN_BARS]]
    rest = dropped[SHOWN_BARS:]
    if rest:
        together = sum(count for _, count in rest)
        shown.append(Bar(f"dropped: {len(rest)} further reasons", together, "orange", f"{together:,}"))
    rows = [Bar("read", read, "muted", f"{read:,}"), *shown, Bar("kept", kept, "blue", f"{kept:,} ({kept / read:.1%})")]
    numbers = [["read", number(read)], *([f"dropped: {reason}", number(count)] for reason, count in dropped)]
    all_rows = details("All reasons", table(["", "records"], [*numbers, ["kept", number(kept)]])) if dropped else ""
    return figure(title, bars(name, f"Funnel of {title}: {kept:,} of {read:,} kept", rows), all_rows)
