"""What an output holds, written beside it: stage, version, settings, inputs, model, counts, complete or not.

`begin` answers whether a stage has anything to do; `finish` says that it is done.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bioemb import __version__
from bioemb.errors import ConfigError, DataError
from bioemb.files import check_name_length, hash_file, remove_leftovers, write_json
from bioemb.locking import lock, unlock

LISTED_INPUTS = 1000  # with a hash each; PMC comes in millions of files
SHOWN = 8  # differences in an error


def manifest_path(output: str | Path) -> Path:
    return Path(f"{output}.manifest.json")


def work_folder(output: str | Path) -> Path:
    """Where a stage keeps what it goes on from, and what a run with other selection settings uses again."""
    return Path(f"{output}.work")


def describe(
    stage: str, settings: dict[str, Any], inputs: Iterable[Path], models: dict[str, str] | None = None
) -> dict:
    """What decides an output: stage, settings, hash of each input, hash of each model's weights.

    Of more inputs than LISTED_INPUTS it is one hash: of their names and hashes, in order.
    """
    listed, combined, count = {}, hashlib.blake2b(digest_size=16), 0
    for count, path in enumerate(inputs, start=1):
        name, digest = f"{count - 1} {path.name}", hash_file(path)
        combined.update(f"{name} {digest}\n".encode("utf-8", "surrogateescape"))
        if count <= LISTED_INPUTS:
            listed[name] = digest
    if count > LISTED_INPUTS:
        listed = {"all inputs": f"{count} files, combined hash {combined.hexdigest()}"}
    return {"stage": stage, "settings": settings, "inputs": listed, "models": models or {}}


def read_manifest(output: str | Path) -> dict[str, Any] | None:
    """The manifest beside an output, or None. Raises DataError where it is damaged."""
    path = manifest_path(output)
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"the manifest is damaged ({error}); delete it to start over", path) from None
    if not isinstance(found, dict) or "complete" not in found:
        raise DataError("this is no manifest of bioemb; delete it to start over", path)
    return found


def begin(output: str | Path, description: dict[str, Any], overwrite: bool) -> bool:
    """True when the stage has work to do; False when its output is complete and made from the same.

    Raises ConfigError when the output is there and was made from something else, or another run is writing it. A run
    that left no output, failed or interrupted, does not stand in the way of another one: its work folders are named by
    what they were made from.
    """
    check_name_length(output)
    if not _has_work(output, description, overwrite):
        return False
    lock(output)
    if not _has_work(output, description, overwrite):  # another run completed it in between
        unlock(output)
        return False
    write_json(manifest_path(output), {"bioemb": __version__, **description, "complete": False})
    return True


def _has_work(output: str | Path, description: dict[str, Any], overwrite: bool) -> bool:
    output, found = Path(output), read_manifest(output)
    is_there = output.exists() and not (output.is_dir() and not any(output.iterdir()))  # an empty folder is none
    if found is None and is_there and not overwrite:
        raise ConfigError(f"{output} exists and was not made by this command; use --overwrite to replace it")
    if found is not None and is_there and not overwrite:
        difference = differences(found, description)
        if difference:
            more = f"; and {len(difference) - SHOWN} more" if len(difference) > SHOWN else ""
            said = "; ".join(difference[:SHOWN]) + more
            raise ConfigError(f"{output} was made otherwise: {said}; use --overwrite to replace it")
    return found is None or not found["complete"] or not is_there or bool(differences(found, description))


def finish(output: str | Path, description: dict[str, Any], counts: dict[str, Any]) -> None:
    """Say in the manifest that the output is complete, with the stage's counts."""
    write_json(manifest_path(output), {"bioemb": __version__, **description, "counts": counts, "complete": True})
    unlock(output)


def remove_unfinished(output: str | Path) -> None:
    """Delete what a process that was killed left half-written beside an output and in its work folder.

    Nobody may be writing there.
    """
    output = Path(output)
    remove_leftovers(output.parent, output.name)
    for leftover in work_folder(output).rglob(".*.part"):
        leftover.unlink(missing_ok=True)


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs between a manifest and a description, a phrase each."""
    result = []
    if found.get("stage") != wanted["stage"]:
        result.append(f"stage was {found.get('stage')!r}, is {wanted['stage']!r}")
    for group in ("settings", "inputs", "models"):
        old, new = found.get(group, {}), wanted[group]
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                result.append(f"{key} was {old.get(key)!r}, is {new.get(key)!r}")
    return result


def work_key(description: dict[str, Any]) -> str:
    """12 hexadecimal digits that name the folder of an intermediate result made from this."""
    return hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=6).hexdigest()
