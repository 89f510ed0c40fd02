"""JSON lines and Parquet in, JSON lines out: every record with its line, every output written aside and renamed."""

import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bioemb.errors import DataError

RECORD_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".json.zst", ".jsonl.zst", ".parquet")


class Located(NamedTuple):
    """A record and where it stands; `line` counts from 1 (for Parquet: the row)."""

    record: dict[str, Any]
    path: Path
    line: int


def list_files(paths: str | Path | Sequence[str | Path], suffixes: Sequence[str]) -> list[Path]:
    """Files named directly, and those with these suffixes below folders, sorted. Raises DataError where none are."""
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            matching = [file for file in inside if file.name.lower().endswith(tuple(suffixes))]
            matching = [file for file in matching if not file.name.endswith(".manifest.json")]
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
        with open(path, "rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with gzip.open(raw) as plain:
                    yield plain
            elif magic == b"\x28\xb5\x2f\xfd":
                import zstandard

                with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as plain:
                    try:
                        yield io.BufferedReader(plain)
                    except zstandard.ZstdError as error:
                        raise DataError(f"the compressed file is damaged or cut off ({error})", path) from None
            else:
                yield raw
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except IsADirectoryError:
        raise DataError("expected a file, got a folder", path) from None


@contextmanager
def write_aside(path: str | Path) -> Iterator[io.TextIOBase]:
    """A text file that appears under its name, whole, when the block ends well; .gz and .zst are compressed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with (
            open(aside, "wb") as raw,
            _compressed(raw, path) as binary,
            io.TextIOWrapper(binary, encoding="utf-8", newline="\n") as text,
        ):
            yield text
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def json_line(record: dict[str, Any]) -> str:
    """One record as a line of JSON, characters as they are."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """A small JSON file, readable by people, written aside and renamed."""
    with write_aside(path) as out:
        out.write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def hash_file(path: str | Path) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def text_field(located: Located, key: str, flag: str = "") -> str:
    """The text under a key, not empty. Raises DataError that names the keys there are."""
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


def _read_json(path: Path) -> Iterator[Located]:
    with open_read(path) as handle:
        lines = enumerate(_lines(handle, path), start=1)
        for number, line in lines:
            if number == 1 and line.lstrip().startswith("["):
                yield from _read_array(path, line + "".join(rest for _, rest in lines))
            elif line.strip():
                yield Located(_object(line, path, number), path, number)


def _lines(handle: io.BufferedIOBase, path: Path) -> Iterator[str]:
    number = 1
    try:
        for number, raw in enumerate(handle, start=1):
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        bad = error.object[error.start : error.start + 1].hex()
        message = f"not UTF-8 (byte 0x{bad} at column {error.start + 1}); convert the file to UTF-8"
        raise DataError(message, path, number) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"the compressed file is damaged or cut off ({error}); fetch it again", path, number) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error}", path, number) from None


def _object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not JSON ({error.msg} at column {error.colno}): {line[:60].rstrip()!r}", path, number
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"expected a JSON object, got {_describe(value)}", path, number)
    return value


def _read_array(path: Path, text: str) -> Iterator[Located]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg} at column {error.colno})", path, error.lineno) from None
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(f"element {number}: expected a JSON object, got {_describe(value)}", path)
        yield Located(value, path, number)


def _read_parquet(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            row = 0
            for batch in table.iter_batches(batch_size=4096):
                for record in batch.to_pylist():
                    row += 1
                    yield Located(record, path, row)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"not readable as Parquet: {str(error).splitlines()[0]}", path) from None


@contextmanager
def _compressed(raw: io.BufferedIOBase, path: Path) -> Iterator[io.BufferedIOBase]:
    if path.suffix == ".gz":
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            yield packed
    elif path.suffix == ".zst":
        import zstandard

        with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as packed:
            yield packed
    else:
        yield raw
