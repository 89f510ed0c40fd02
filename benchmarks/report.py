"""Puts what the benchmark programs wrote into docs/benchmarks.md: tables, machine, and what became of the aims.

    python benchmarks/report.py
    python benchmarks/report.py --check     # exit code 1, and which, where blocks are not what the results say

The page's words are written by hand. What stands between `<!-- results: NAME -->` and `<!-- end -->` is that of
benchmarks/results/NAME.json, and stays as it is while there is no such file; `aims` are those of all of them.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path

from measuring import REPOSITORY
from reporting import AIM_COLUMNS, PACKAGES, RESULTS, Table, aim_cells, markdown

PAGE = REPOSITORY / "docs" / "benchmarks.md"
BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
AIMS = "aims"
NO_FLAGS = ("generated", "finished")  # what a program notes among its settings, and what only reports


def fill_page(page: str, results: dict[str, dict]) -> str:
    """The page with every block replaced for which there are results."""

    def fill(block: re.Match) -> str:
        name = block[2]
        if name == AIMS and results:
            return f"{block[1]}\n{aims_table(results)}\n\n{block[3]}"
        return f"{block[1]}\n{section(results[name])}\n\n{block[3]}" if name in results else block[0]

    return BLOCK.sub(fill, page)


def section(result: dict) -> str:
    """The tables of one program, where they were measured, and what it could not run."""
    parts = [markdown(table) for table in result["tables"]]
    left_out = result["measurements"].get("left out") or {}
    parts += [f"Left out: {case} ({reason})." for case, reason in left_out.items()]
    return "\n\n".join([*parts, where(result), f"Run by `{command_of(result)}`."])


def command_of(result: dict) -> str:
    """The command that measured it, flags at their defaults included; of paths their last part."""
    parts = result["name"].split("_")  # `step_mixed` is of `step`
    names = ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]
    program = next((name for name in names if (REPOSITORY / "benchmarks" / f"{name}.py").exists()), result["name"])
    words = ["python", f"benchmarks/{program}.py"]
    for flag, value in result["settings"].items():
        if flag in NO_FLAGS or value is None or value is False or value == []:
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        words += [f"--{flag}", *(shlex.quote(str(one)) for one in values)]
    return " ".join(words)


def where(result: dict) -> str:
    """Machine, versions, repeats and load in a sentence or two."""
    machine, settings = result["machine"], result["settings"]
    precision = f" ({', '.join(machine['low precision'])})" if machine["low precision"] else ""
    versions = [f"{package} {machine[package]}" for package in PACKAGES if machine[package]]
    order = "not by turns" if settings.get("add") else "by turns"  # some are of another run of the program
    return (
        f"{result['date']}: {machine['threads']} threads of {machine['processor']}{precision}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB; Python {machine['python']}, {', '.join(versions)}. "
        f"{count_runs(result)} of each case, {order}; the machine's load was "
        f"{machine['load']} over the last 15 minutes."
    )


def count_runs(result: dict) -> str:
    """How many runs each case had: as many as were kept of it, else as many as were asked for."""
    runs = result["measurements"].get("runs")
    counts = [len(of) for of in runs.values()] if runs else [result["settings"]["repeats"]]
    least, most = min(counts), max(counts)
    if most == 1:
        return "One run"
    return f"Medians of {most} runs" if least == most else f"Medians of {least} to {most} runs"


def aims_table(results: dict[str, dict]) -> str:
    """All aims with the results that they are of, those that were missed first."""
    rows = [[*aim_cells(aim), name] for name, result in results.items() for aim in result["aims"]]
    rows.sort(key=lambda row: ("missed" not in row[-2], row[-2] != "met"))
    return markdown(Table("", (*AIM_COLUMNS, "results"), rows))


def read_results(folder: Path) -> dict[str, dict]:
    """What the programs wrote, by the files' names: of one program there may be several, of other sizes or machines."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--results", type=Path, default=RESULTS)
    flags.add_argument("--page", type=Path, default=PAGE)
    flags.add_argument("--check", action="store_true", help="write nothing")
    options = flags.parse_args()
    page = options.page.read_text(encoding="utf-8")
    filled = fill_page(page, read_results(options.results))
    if options.check:
        differing = [block[2] for block in BLOCK.finditer(page) if block[0] not in filled]
        if differing:
            print(f"{options.page}: not what the results say: {', '.join(differing)}; run benchmarks/report.py")
        return int(filled != page)
    options.page.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
