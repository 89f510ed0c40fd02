"""What a model card says of the training data: counts, where the texts come from and of what date, the funnel."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioemb.lineage import Origin

MOST_VALUES = 12  # of a column, shown in a row of the table
PUBMED_FILE = re.compile(r"(pubmed\d\dn\d{4})\.xml(\.gz)?")  # NLM's names: the year of the baseline, a number


@dataclass(frozen=True)
class TrainingSet:
    """One entry of the training data: its name, rows, and how many of them say what of `kind` and `license`."""

    name: str
    rows: int
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    is_hub: bool = False


def data_section(sets: Sequence[TrainingSet], origins: "Sequence[Origin]") -> str:
    """A row for each set, then what the raw files were, then what each stage read, dropped and kept."""
    columns = [column for column in ("kind", "license") if any(some.counts.get(column) for some in sets)]
    rows = [["set", "rows", *columns]]
    rows += [[s.name, f"{s.rows:,}", *(_counts(s.counts.get(column, {})) for column in columns)] for s in sets]
    parts = [_table(rows), *(_raw_files(origin) for origin in origins if origin.stage == "extract")]
    funnel = [row for origin in origins for row in _funnel_rows(origin)]
    if funnel:
        parts.append("What each stage read, dropped and kept:")
        parts.append(_table([["stage", "of what", "read", "kept", "dropped"], *funnel]))
    return "\n\n".join(parts)


def _raw_files(origin: "Origin") -> str:
    """Which XML files, and of which date: NLM asks redistributors to say it."""
    releases = sorted(match[1] for match in map(PUBMED_FILE.fullmatch, origin.inputs) if match)
    named = f", of which {len(releases):,} of PubMed's ({_range(releases)})" if releases else ""
    count = f"{len(origin.inputs):,} XML {'file' if len(origin.inputs) == 1 else 'files'}"
    text = f"`{origin.name}` was made from {count}{named}"
    sources = origin.counts.get("sources", {})
    pubmed, pmc = sources.get("pubmed", {}), sources.get("pmc", {})
    said = []
    if pubmed.get("records"):
        day = f" (the last revised on {pubmed['revised']})" if pubmed.get("revised") else ""
        said.append(f"{pubmed['records']:,} records of PubMed{day}")
    if pmc.get("records"):
        said.append(f"{pmc['records']:,} articles of PMC")
    return f"{text}: {' and '.join(said)}." if said else f"{text}."


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _funnel_rows(origin: "Origin") -> list[list[str]]:
    """Of each funnel among a stage's counts, {"read", "kept", "dropped"}, a row."""
    rows = []
    for what, counts in origin.counts.items():
        if isinstance(counts, dict) and {"read", "kept", "dropped"} <= counts.keys():
            made = f"{counts['kept']:,}" + (f" ({counts['pairs']:,} pairs)" if "pairs" in counts else "")
            stage = f"{origin.stage} ({origin.name})" if not rows else ""
            rows.append([stage, what, f"{counts['read']:,}", made, _dropped(counts["dropped"])])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def _dropped(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason}" for reason, count in ordered)


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{value or 'not said'} {count:,}" for value, count in ordered[:MOST_VALUES]]
    rest = sum(count for _, count in ordered[MOST_VALUES:])
    return ", ".join([*words, *([f"others {rest:,}"] if rest else [])])
