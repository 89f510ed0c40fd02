"""What the benchmark programs share: their flags, commands run alone and by turns, medians with their spread.

A program names its cases, and starts itself once more for each (`--one CASE`), so that one's memory, threads and
settings are not another's. What a process costs is read by its parent when it ends; a case that wants less counted
(no imports, no loading) measures itself with `measured` and says so in its last line, as JSON. Linux only.
"""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for what a program prepares itself; its cases get it anyway


class CaseError(Exception):
    """A case that ended with an error; the text is the last line that it wrote."""


class Spread(NamedTuple):
    """The median of some runs, and the least and the most of them."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        middle = number(self.median)
        return middle if self.least == self.most else f"{middle} ({number(self.least)}, {number(self.most)})"


Runs = dict[str, list[dict]]  # case -> what each of its runs gave
Summary = dict[str, dict[str, Spread]]  # case -> field -> spread


# Flags


def make_parser(description: str, repeats: int = 3, without: Collection[str] = ()) -> argparse.ArgumentParser:
    """The flags that every program has; `without`: of those that change nothing here, which take no value but 1.

    "cases" among them is no flag at all.
    """
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--quick", action="store_true", help="small sizes: minutes, and figures that say little")
    for name, default, words in (
        ("repeats", repeats, "runs of each case; medians count"),
        ("threads", len(os.sched_getaffinity(0)), "of each case"),
    ):
        settings = {"default": 1, "choices": [1]} if name in without else {"default": default}
        flags.add_argument(f"--{name}", type=int, help=words, **settings)
    flags.set_defaults(cases=None)
    if "cases" not in without:
        flags.add_argument("--cases", nargs="+", help="only these; the report goes to benchmarks/results/chosen")
    flags.add_argument("--json", type=Path, help="where the report goes (default: benchmarks/results)")
    flags.add_argument("--one", help=argparse.SUPPRESS)  # run this case here
    flags.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # with what the program prepared
    return flags


def parse(flags: argparse.ArgumentParser, **quick: object) -> argparse.Namespace:
    """The command line; `--quick` puts these values in place of the defaults, not of what was typed."""
    if "--quick" in sys.argv[1:]:
        flags.set_defaults(**quick)
    return flags.parse_args()


# One process


def run_alone(command: Sequence[str], threads: int) -> dict:
    """Run a command: CPU seconds (children included), wall seconds, peak MB, and what its last line says in JSON.

    The peak is that of the largest of its processes. Interrupted, it kills all of them. Raises CaseError.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads)),
        "OMP_WAIT_POLICY": "PASSIVE",  # a thread that waits for the others must not count as work
        "TOKENIZERS_PARALLELISM": "false",
    }
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=said, env=environment, start_new_session=True
        )
        try:
            _, status, use = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        lines, errors = _lines(out), _lines(said)
    if process.returncode:
        raise CaseError(errors[-1] if errors else f"exit {process.returncode}")
    result = {"cpu": use.ru_utime + use.ru_stime, "wall": wall, "peak_mb": use.ru_maxrss / 1024}
    if lines and lines[-1].startswith("{"):
        result |= json.loads(lines[-1])
    return result


def run_by_turns(commands: Mapping[str, Sequence[str]], repeats: int, threads: int) -> tuple[Runs, dict[str, str]]:
    """Every case once, then every case again, ..., so that a busy moment falls on all. What failed comes back too.

    Cases in bfloat16 are left out where the processor has no instructions for it: they would take many times as long.
    """
    from bioemb.process_settings import termination_as_interruption

    with termination_as_interruption():  # else the case under way would go on
        return _run_by_turns(commands, repeats, threads)


def _run_by_turns(commands: Mapping[str, Sequence[str]], repeats: int, threads: int) -> tuple[Runs, dict[str, str]]:
    runs: Runs = {name: [] for name in commands}
    failed: dict[str, str] = {}
    for name in [name for name in commands if "bf16" in name and not has_bf16()]:
        failed[name] = "this processor has no instructions for bfloat16"
        print(f"{name}: left out ({failed[name]})", file=sys.stderr, flush=True)
    for turn in range(repeats):
        for name, command in commands.items():
            if name in failed:
                continue
            try:
                runs[name].append(run_alone(command, threads))
            except CaseError as error:
                failed[name] = str(error)
                print(f"{name}: left out ({error})", file=sys.stderr, flush=True)
                continue
            last = runs[name][-1]
            values = ", ".join(f"{key} {number(value)}" for key, value in last.items() if _is_number(value))
            print(f"{turn + 1}/{repeats} {name}: {values}", file=sys.stderr, flush=True)
    return {name: of for name, of in runs.items() if of and name not in failed}, failed


def has_bf16() -> bool:
    """Whether this processor multiplies in bfloat16."""
    import torch

    from bioemb import encoding

    return encoding.has_bf16(torch.device("cpu"))


def in_best(case: str, found: Collection[str]) -> str:
    """This case in bfloat16, or where that is not among those found, which some processors do not have, in float32."""
    return case if case in found else case.replace("bf16", "float32")


def own_commands(cases: Sequence[str], folder: Path) -> dict[str, list[str]]:
    """This program's own cases as commands: the same command line, with the case and the prepared folder."""
    return {
        case: [sys.executable, sys.argv[0], *sys.argv[1:], "--folder", str(folder), "--one", case] for case in cases
    }


def chosen(cases: Sequence[str], options: argparse.Namespace, needs: Mapping[str, str] | None = None) -> list[str]:
    """The cases that were asked for, in the program's order; `needs`: a case -> another that it cannot be without."""
    unknown = set(options.cases or ()) - set(cases)
    if unknown:
        raise SystemExit(f"no case {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
    names = [case for case in cases if not options.cases or case in options.cases]
    for case, needed in (needs or {}).items():
        if case in names and needed not in names:
            raise SystemExit(f"{case!r} says nothing without {needed!r}: add that one to --cases")
    return names


# Files that a later run goes on from


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Where to write a file or a folder, which appears under its name, whole, when the block ends well."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an interrupted run; a file is written over
    yield part
    part.replace(path)


# Within a process


@contextmanager
def measured() -> Iterator[dict]:
    """The dict gets CPU seconds (children included), wall seconds and the peak MB of what is done within."""
    use: dict = {}
    reset_peak()
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield use
    use.update(cpu=cpu_seconds() - cpu, wall=time.perf_counter() - wall, peak_mb=peak_mb())


def cpu_seconds() -> float:
    """Of this process and of its children that ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def peak_mb() -> float:
    """Of this process or the largest child; getrusage's own would count that of the process that started it."""
    own = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def own_mb() -> float:
    """What this process holds now, without the files that it has mapped."""
    return int(re.search(r"RssAnon:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def reset_peak() -> None:
    """The peak becomes what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def print_case(cases: Mapping[str, Callable[[argparse.Namespace], dict]], options: argparse.Namespace) -> None:
    """Run the one case that `--one` names, here, and print what it gave."""
    result = cases[options.one](options)
    print(json.dumps(result))


# Many runs


def number(value: float) -> str:
    """With about three digits that count."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.01 else f"{value:.1e}"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def summarise(runs: Runs) -> Summary:
    """The spread of each number of each case."""
    return {
        case: {
            name: spread([run[name] for run in of if _is_number(run.get(name))])
            for name, value in of[0].items()
            if _is_number(value)
        }
        for case, of in runs.items()
    }


def ratio(summary: Summary, over: str, under: str, field: str = "cpu") -> float | None:
    """How many times the median of one case is that of another; None where either is missing."""
    if over not in summary or under not in summary:
        return None
    return summary[over][field].median / summary[under][field].median


def _lines(file) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").strip().splitlines()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
