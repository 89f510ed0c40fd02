"""One run at a time for each output: the second is told of the first instead of writing into its files.

The system takes a lock back when its process ends, however it ends, so that a killed run stands in nobody's way.
"""

import atexit
import fcntl
import os
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from bioemb.errors import ConfigError

_held: dict[Path, TextIOWrapper] = {}


def lock(output: str | Path) -> None:
    """Keep the output for this process until `unlock` or its end; what it has already it keeps.

    Raises ConfigError where another process has it. File systems without locks are written to without them.
    """
    path = _lock_file(output)
    while path not in _held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - it stays open as long as it is held
        except OSError as error:
            raise ConfigError(f"cannot write {output}: {error.strerror}; name another output") from None
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            handle.seek(0)
            holder = handle.read().strip()
            handle.close()
            raise ConfigError(
                f"another run writes to {output} ({holder or 'process unknown'}): wait for its end, stop it, or choose "
                "another output"
            ) from None
        except OSError:  # no locks here
            pass
        if not _is_there(handle, path):  # its holder removed it in between
            handle.close()
            continue
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        handle.flush()
        _held[path] = handle


def unlock(output: str | Path) -> None:
    """Give the output free; nothing where it is not held."""
    path = _lock_file(output)
    if path in _held:
        _release(path)


def _release(path: Path) -> None:
    handle = _held.pop(path)
    with suppress(OSError):
        path.unlink()
    handle.close()


def _lock_file(output: str | Path) -> Path:
    output = Path(output).absolute()
    return output.with_name(f".{output.name}.lock")


def _is_there(handle: TextIOWrapper, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


@atexit.register
def _unlock_all() -> None:
    for path in list(_held):
        _release(path)
