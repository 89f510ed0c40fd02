"""A run, as its folder shows it: the stages' outputs, found by the manifests beside them and not by their names."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bioemb.errors import DataError
from bioemb.manifest import read_manifest

STAGES = ("corpus", "extract", "filter", "mine", "score", "train", "evaluate")  # in the order of the path
SUFFIX = ".manifest.json"


class Output(NamedTuple):
    """What a stage made, and what its manifest says of it."""

    path: Path
    manifest: dict[str, Any]

    @property
    def stage(self) -> str:
        return str(self.manifest.get("stage"))

    @property
    def counts(self) -> dict[str, Any]:
        return self.manifest.get("counts") or {}

    @property
    def settings(self) -> dict[str, Any]:
        return self.manifest.get("settings") or {}

    @property
    def complete(self) -> bool:
        return bool(self.manifest["complete"])


class Run(NamedTuple):
    """A folder and the outputs in it, stage by stage."""

    folder: Path
    outputs: list[Output]
    comparisons: list[Path]  # tables of scores

    def of(self, stage: str) -> list[Output]:
        """The outputs of a stage that are there, finished or not."""
        return [output for output in self.outputs if output.stage == stage]

    def name_of(self, path: Path) -> str:
        """A path as the page calls it: from the run's folder on."""
        return path.relative_to(self.folder).as_posix()


def find_run(folder: str | Path) -> Run:
    """Every output below a folder that has a manifest. Raises DataError where there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError("there is no such folder; name the folder of a run, as `root` in its recipe does", folder)
    paths = [path.with_name(path.name.removesuffix(SUFFIX)) for path in _files(folder, f"*{SUFFIX}")]
    outputs = [Output(path, read_manifest(path)) for path in paths]
    known = [output for output in outputs if output.stage in STAGES]
    comparisons = [path for path in _files(folder, "comparison.json") if is_comparison(read_value(path))]
    if not known and not comparisons:
        raise DataError("no stage of bioemb has left an output here (none has a .manifest.json beside it)", folder)
    known.sort(key=lambda output: (STAGES.index(output.stage), output.path))
    return Run(folder, known, comparisons)


def is_comparison(value: Any) -> bool:
    """Whether this is what `bioemb evaluate` writes of models side by side."""
    return isinstance(value, dict) and baseline_of(value) is not None and isinstance(value.get("tasks"), list)


def baseline_of(comparison: dict[str, Any]) -> Any:
    """The model that the others are compared with; older versions called it the starting model, whichever it was."""
    return comparison.get("baseline", comparison.get("starting_model"))


def read_object(path: Path) -> dict[str, Any]:
    """One JSON object. Raises DataError for anything else."""
    with expecting(path):
        value = read_value(path)
        if not isinstance(value, dict):
            raise ValueError(f"expected an object, got a {type(value).__name__}")
    return value


def read_value(path: Path) -> Any:
    """What a file of JSON holds. Raises DataError."""
    with expecting(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a training log, by step. A last line that was cut off is left out, as the run may be going on."""
    if not path.exists():
        return []
    rows, lines = [], path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            int(row["step"])
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break
            raise DataError("this is no line of a training log; delete it", path, number) from None
        rows.append(row)
    return rows


@contextmanager
def expecting(path: Path) -> Iterator[None]:
    """Turn what a damaged or foreign file makes of a block of code into one DataError that names it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise DataError(f"this is not what bioemb writes here ({said}); make it again", path) from None


def _files(folder: Path, pattern: str) -> list[Path]:
    """Files of this name below a folder, but for what stages keep aside and hidden folders."""
    found = (path for path in sorted(folder.rglob(pattern)) if path.is_file())
    return [path for path in found if not any(_is_aside(part) for part in path.relative_to(folder).parts)]


def _is_aside(part: str) -> bool:
    return part.startswith(".") or part.endswith(".work")
