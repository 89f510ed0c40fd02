"""JSON lines and Parquet in, JSON lines out: every record with its line, every output written aside and renamed."""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, time, timedelta
from decimal import Decimal
from math import isinf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bioemb.compression import DAMAGE, compressed, decompressed
from bioemb.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow

RECORD_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".json.zst", ".jsonl.zst", ".parquet")
LONGEST_NAME = 200  # bytes, of an output's name: a file system takes 255, and names beside it are longer


class Located(NamedTuple):
    """A record and where it stands; `line` counts from 1 (for Parquet: the row)."""

    record: dict[str, Any]
    path: Path
    line: int


def list_files(paths: str | Path | Sequence[str | Path], suffixes: Sequence[str]) -> list[Path]:
    """Files named directly, and those with these suffixes below folders, sorted. Raises DataError where none are.

    In folders, what a stage keeps beside its output (manifests, statistics, work folders) and hidden files are not
    looked at.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if not _is_aside(file, path) and file.is_file()]
            matching = [file for file in inside if file.name.lower().endswith(tuple(suffixes))]
            if not matching:
                others = ", ".join(file.name for file in inside[:3]) or "nothing"
                raise DataError(f"no file here ends in {', '.join(suffixes)} (found: {others})", path)
            found += matching
        elif path.exists():
            found.append(path)
        else:
            raise DataError("no such file or folder", path)
    return list(dict.fromkeys(found))


def read_records(paths: Iterable[str | Path]) -> Iterator[Located]:
    """Every JSON object of the files, in order, with its place. Raises DataError naming the file and line."""
    for path in map(Path, paths):
        yield from _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_json(path)


@contextmanager
def open_read(path: str | Path) -> Iterator[io.BufferedIOBase]:
    """A file's bytes, decompressed when it is gzip or Zstandard, by its first bytes. Raises DataError."""
    path = Path(path)
    try:
        raw = open(path, "rb")  # noqa: SIM115 - only opening it stands within the try
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except IsADirectoryError:
        raise DataError("expected a file, got a folder", path) from None
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", path) from None
    with raw:
        try:
            with decompressed(raw) as plain:
                yield plain
        except DAMAGE as error:  # of a reader that does not look for it with a line at hand
            raise DataError(_damaged(error), path) from None


@contextmanager
def write_aside(path: str | Path) -> Iterator[io.TextIOBase]:
    """A text file that appears under its name, whole, when the block ends well; .gz and .zst are compressed."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with (
            _open_aside(aside, path) as raw,
            compressed(raw, path.suffix) as binary,
            io.TextIOWrapper(binary, encoding="utf-8", newline="\n") as text,
        ):
            yield text
        aside.replace(path)
    finally:
        with suppress(OSError):  # where nothing can be written, nothing can be removed either
            aside.unlink()


def _open_aside(path: Path, wanted: Path) -> io.BufferedWriter:
    """A new file's bytes, in a folder made where there is none; `wanted` is what an error names. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "wb")
    except OSError as error:
        raise ConfigError(f"cannot write {wanted}: {_reason(error)}; name another output") from None


def _reason(error: OSError) -> str:
    is_below_file = isinstance(error, FileExistsError | NotADirectoryError)
    return "part of its path is a file, not a folder" if is_below_file else error.strerror


def check_name_length(path: str | Path) -> None:
    """Refuse an output whose companions (its manifest, its parts) could not have their names. Raises ConfigError."""
    length = len(os.fsencode(Path(path).name))
    if length > LONGEST_NAME:
        raise ConfigError(f"the output's name has {length} bytes, expected {LONGEST_NAME} at most: {str(path)[:80]}...")


def check_output_name(path: str | Path) -> None:
    """Refuse a folder, and a name that says Parquet: outputs are JSON lines. Raises ConfigError."""
    check_name_length(path)
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"the output {path} is a folder; name a file in it, such as {path / 'output.jsonl'}")
    if path.suffix.lower() == ".parquet":
        raise ConfigError(f"the output {path} would be JSON lines, not Parquet; end its name in .jsonl, .gz or .zst")


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Delete what `write_aside` left in a folder of the files with this name, when its process was killed."""
    for leftover in folder.glob(f".{name}.*.part"):
        leftover.unlink(missing_ok=True)


def json_line(record: dict[str, Any]) -> str:
    """One record as a line of JSON, characters as they are, dates as text. Raises DataError for what JSON has not."""
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False, default=_as_text) + "\n"
    except ValueError:
        wrong = ", ".join(f"{key!r}: {value}" for key, value in record.items() if isinstance(value, float))
        raise DataError(f"JSON has no numbers that are not finite; the record holds {wrong or 'some'}") from None


def write_json(path: str | Path, value: Any) -> None:
    """A small JSON file, readable by people, written aside and renamed."""
    with write_aside(path) as out:
        out.write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def give_usual_mode(path: str | Path) -> None:
    """Give a file the mode that the umask gives new ones; safetensors makes its own for their owner alone."""
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask)
    Path(path).chmod(0o666 & ~umask)


def hash_file(path: str | Path) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def text_field(located: Located, key: str, flag: str = "") -> str:
    """The text under a key; it may be empty. Raises DataError that names the keys there are."""
    record, path, line = located
    if key not in record:
        hint = f"; name another with {flag}" if flag else ""
        raise DataError(f"no key {key!r}; the record has {', '.join(map(repr, record)) or 'none'}{hint}", path, line)
    value = record[key]
    if not isinstance(value, str):
        raise DataError(f"{key!r} is {_describe(value)}, expected text", path, line)
    return value


def _describe(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _damaged(error: Exception) -> str:
    return f"the compressed file is damaged or cut off ({error}); fetch it again"


def _is_aside(file: Path, folder: Path) -> bool:
    """Whether a file below an input folder is hidden, or was put there by a stage beside its output."""
    *folders, name = file.relative_to(folder).parts
    if name.startswith(".") or any(part.startswith(".") or part.endswith(".work") for part in folders):
        return True
    # such a name may be data's where nothing is beside it
    output = file.with_name(name.removesuffix(".stats.json").removesuffix(".contamination.json"))
    beside = output != file and (output.exists() or output.with_name(f"{output.name}.manifest.json").exists())
    return beside or name.endswith(".manifest.json")


def _as_text(value: Any) -> str:
    if isinstance(value, date | time | timedelta | Decimal):  # Parquet has these, JSON has not
        return str(value)
    if isinstance(value, bytes):
        raise DataError(f"JSON has no bytes, and the record holds {_describe(value)}; leave that column out")
    raise TypeError(f"{type(value).__name__} is not JSON")


def _read_json(path: Path) -> Iterator[Located]:
    with open_read(path) as handle:
        lines = ((number, line) for number, line in enumerate(text_lines(handle, path), start=1) if line.strip())
        first = True
        for number, line in lines:
            if first and line.lstrip().startswith("["):
                yield from _read_array(path)
                return
            first = False
            yield Located(_object(line, path, number), path, number)


def text_lines(handle: io.BufferedIOBase, path: Path) -> Iterator[str]:
    """The lines of what `open_read` opened, as UTF-8. Raises DataError naming the line."""
    number = 1
    try:
        for number, raw in enumerate(handle, start=1):
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        bad = error.object[error.start : error.start + 1].hex()
        message = f"not UTF-8 (byte 0x{bad} at column {error.start + 1}); convert the file to UTF-8"
        raise DataError(message, path, number) from None
    except DAMAGE as error:
        raise DataError(_damaged(error), path, number) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error}", path, number) from None


def _object(line: str, path: Path, number: int) -> dict[str, Any]:
    value = _decode(line, path, number)
    if not isinstance(value, dict):
        raise DataError(f"expected a JSON object, got {_describe(value)}", path, number)
    return value


def _read_array(path: Path) -> Iterator[Located]:
    with open_read(path) as handle:
        values = _decode("".join(text_lines(handle, path)), path, 1)
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(f"element {number}: expected a JSON object, got {_describe(value)}", path)
        yield Located(value, path, number)


def _decode(text: str, path: Path, first_line: int) -> Any:
    """A JSON value that JSON, UTF-8 and Arrow can all hold."""
    text = text.rstrip()  # so that an error at the end is not one of the next line
    try:
        value = JSON.decode(text)
        if "\\ud" in text or "\\uD" in text:  # escapes of surrogates: two make a character, one alone is none
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        wrong = text.split("\n")[error.lineno - 1][:60]
        reason = f"not JSON ({error.msg} at column {error.colno}): {wrong!r}"
        raise DataError(reason, path, first_line + error.lineno - 1) from None
    except UnicodeEncodeError:
        raise DataError("a \\ud... escape stands for half a character; remove it", path, first_line) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not usable as JSON: {error}", path, first_line) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON; write null or leave the key out")


JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _without_nan(located: Located, keys: Sequence[str]) -> Located:
    """Numbers that are nan, as pandas marks what is missing, become null. Raises DataError for infinite ones."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(one) for one in value]
        if value is not None and isinf(value):
            raise DataError(f"JSON has no number {value}; write another, or null", located.path, located.line)
        return None if value is not None and isnan(value) else value

    located.record.update((key, plain(located.record[key])) for key in keys)
    return located


def _holds_floats(kind: "pyarrow.DataType") -> bool:
    """Whether it is floating point numbers, or lists of them."""
    import pyarrow.types as types

    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return _holds_floats(kind.value_type) if is_list else types.is_floating(kind)


def _read_parquet(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            row, numbers = 0, [field.name for field in table.schema_arrow if _holds_floats(field.type)]
            for batch in table.iter_batches(batch_size=4096):
                for record in batch.to_pylist():
                    row += 1
                    yield _without_nan(Located(record, path, row), numbers)
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"not readable as Parquet: {str(error).splitlines()[0]}", path) from None
