"""Tables of texts on disk in Arrow's format: written once in a stream, then read memory-mapped by rows or slices."""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_PER_BATCH = 1000  # small: Arrow's 32-bit offsets hold 2 GB of text in a batch


def write_table(path: str | Path, schema: pa.Schema, rows: Iterable[dict]) -> None:
    """Write the rows aside, then rename: the table is whole or absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            rows = iter(rows)
            while some := list(islice(rows, ROWS_PER_BATCH)):
                writer.write_batch(pa.RecordBatch.from_pylist(some, schema=schema))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def open_table(path: str | Path) -> "Dataset":
    """The table as a memory-mapped `datasets.Dataset`: `table[i]` is a dict, `table["text"][a:b]` a list."""
    from datasets import Dataset

    return Dataset.from_file(str(path))
