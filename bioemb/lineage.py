"""Where a file came from: its manifest, and those of the inputs that lie beside it, back to the raw files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bioemb.errors import DataError
from bioemb.files import hash_file
from bioemb.log import logger
from bioemb.manifest import read_manifest


class Origin(NamedTuple):
    """What a manifest says of a file: the stage that made it, from which files, and what was counted."""

    name: str  # "kept.jsonl"
    stage: str
    inputs: tuple[str, ...]  # names, in their order
    counts: dict[str, Any]


def trace(outputs: Iterable[str | Path]) -> list[Origin]:
    """The origins of these files and of what they were made from, the first stage first; each file once.

    An input is followed where a file of its name and hash lies in the same folder. A file without a whole manifest has
    no origin, and a damaged manifest is warned of.
    """
    found: dict[Path, Origin] = {}
    for output in outputs:
        _follow(Path(output).absolute(), found)
    return list(found.values())


def _follow(output: Path, found: dict[Path, Origin]) -> None:
    manifest = None if output in found else complete_manifest(output)
    if manifest is None:
        return
    inputs = manifest.get("inputs", {})  # {"0 pairs.jsonl": hash}
    for path in _inputs_beside(output, inputs):
        _follow(path, found)
    names = tuple(key.partition(" ")[2] for key in inputs)
    found[output] = Origin(output.name, manifest["stage"], names, manifest.get("counts", {}))


def complete_manifest(output: Path) -> dict[str, Any] | None:
    """The manifest beside a file, if there is a whole one; a damaged one is warned of."""
    try:
        manifest = read_manifest(output)
    except DataError as error:
        logger.warning("%s", error)
        return None
    return manifest if manifest and manifest["complete"] and "stage" in manifest else None


def _inputs_beside(output: Path, inputs: dict[str, str]) -> Iterator[Path]:
    for key, digest in inputs.items():
        path = output.with_name(key.partition(" ")[2])
        if path != output and complete_manifest(path) and path.is_file() and hash_file(path) == digest:
            yield path
