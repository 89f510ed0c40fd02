"""Tables of texts on disk in Arrow's format: written once in a stream, then read memory-mapped by rows or slices."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_PER_BATCH = 1000  # small: Arrow's 32-bit offsets hold 2 GB of text in a batch


@contextmanager
def table_writer(path: str | Path, schema: pa.Schema) -> Iterator[Callable[[dict], None]]:
    """What appends a row to a new table: written aside, it appears under its name when the block ends well."""
    path, some = Path(path), []
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")

    def flush() -> None:
        if some:
            writer.write_batch(pa.RecordBatch.from_pylist(some, schema=schema))
            some.clear()

    def append(row: dict) -> None:
        some.append(row)
        if len(some) == ROWS_PER_BATCH:
            flush()

    try:
        with pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            yield append
            flush()
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_table(path: str | Path, schema: pa.Schema, rows: Iterable[dict]) -> None:
    """Write the rows aside, then rename: the table is whole or absent."""
    with table_writer(path, schema) as append:
        for row in rows:
            append(row)


def open_table(path: str | Path) -> "Dataset":
    """The table as a memory-mapped `datasets.Dataset`: `table[i]` is a dict, `table["text"][a:b]` a list."""
    from datasets import Dataset

    return Dataset.from_file(str(path))
