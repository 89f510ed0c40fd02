"""What the benchmark programs write: tables, aims and the machine, as JSON and on the terminal."""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from measuring import Spread, number

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "transformers", "faiss-cpu", "FlagEmbedding", "sentence-transformers", "lxml", "pubmed_parser")
AIM_COLUMNS = ("aim", "wanted", "reached", "")


class Table(NamedTuple):
    """Cells as they are printed; the first column stands left, the others right."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Aim(NamedTuple):
    """What was to be reached and what was; reached None: not measured."""

    what: str
    reached: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.at_least if self.at_least is not None else self.reached <= self.at_most


def markdown(table: Table | dict) -> str:
    """The table as Markdown, its caption above it."""
    caption, columns, rows = table.values() if isinstance(table, dict) else table
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|--:" * (len(columns) - 1) + "|"]
    lines += ["| " + " | ".join("–" if cell is None else cell_text(cell) for cell in row) + " |" for row in rows]
    return (f"{caption}\n\n" if caption else "") + "\n".join(lines)


def cell_text(cell: object) -> str:
    return number(cell) if isinstance(cell, int | float) and not isinstance(cell, Spread | bool) else str(cell)


def write_report(
    name: str,
    options: argparse.Namespace,
    tables: Sequence[Table],
    aims: Sequence[Aim],
    measurements: Mapping[str, object],
) -> None:
    """Print the tables and aims, and write all of it with the machine as JSON.

    Of a choice of cases (`--cases`) the aims that need others are left out.
    """
    if options.cases:
        aims = [aim for aim in aims if aim.met is not None]
    path = report_path(name, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "name": name,
        "date": date.today().isoformat(),
        "settings": settings_of(options),
        "machine": machine(options.threads),
        "tables": [
            table._asdict() | {"rows": [[_plain(cell) for cell in row] for row in table.rows]} for table in tables
        ],
        "aims": [aim._asdict() | {"met": aim.met} for aim in aims],
        "measurements": measurements,
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n\n".join(markdown(table) for table in tables))
    if aims:
        rows = [aim_cells(aim._asdict() | {"met": aim.met}) for aim in aims]
        print("\n" + markdown(Table("", AIM_COLUMNS, rows)))
    print(f"\n{path}", file=sys.stderr)


def report_path(name: str, options: argparse.Namespace) -> Path:
    """The results' folder is for whole runs; quick ones, and those of some cases, have folders of their own."""
    folder = "quick" if options.quick else "chosen" if options.cases else ""
    return options.json or RESULTS / folder / f"{name}.json"


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """The flags as a report has them."""
    left_out = ("json", "one", "folder", "work")
    return {key: _setting(key, value) for key, value in vars(options).items() if key not in left_out}


def aim_cells(aim: dict) -> list[str]:
    """An aim as it is printed: what, the bound, what was reached, whether that is enough."""
    bound = f"at least {aim['at_least']}" if aim["at_least"] is not None else f"at most {aim['at_most']}"
    if aim["met"] is None:
        return [aim["what"], bound, "–", "not measured"]
    value = f"{aim['reached']:.5f}" if 0.99 < aim["reached"] < 1 else number(aim["reached"])
    return [aim["what"], bound, value, "met" if aim["met"] else "**missed**"]


def machine(threads: int) -> dict:
    """What a figure depends on, and how busy the machine was when the report was written."""
    words = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", words)
    flags = set((re.search(r"flags\s*:\s*(.*)", words) or [""])[0].split())
    return {
        "processor": model[1] if model else platform.machine(),
        "low precision": [flag for flag in ("avx512_bf16", "amx_bf16", "amx_int8", "avx512_vnni") if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load": round(os.getloadavg()[2], 1),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _setting(key: str, value: object) -> object:
    """As it was given, but no paths of a machine."""
    if isinstance(value, list):
        return [_setting(key, one) for one in value]
    return Path(value).name if isinstance(value, Path) or key == "model" else value


def _plain(cell: object) -> object:
    return str(cell) if isinstance(cell, Spread) else cell
