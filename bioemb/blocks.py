"""Large arrays on disk as numbered blocks of rows, each written whole or not at all, read memory-mapped.

A stage that fills such a folder goes on where it stopped: a block that is there is done. Memory is one block's.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bioemb.errors import DataError


class BlockFolder:
    """A folder holding `rows` rows in blocks of `block_rows` (the last may be shorter)."""

    def __init__(self, folder: str | Path, rows: int, block_rows: int):
        self.folder, self.rows, self.block_rows = Path(folder), rows, block_rows

    @property
    def count(self) -> int:
        return -(-self.rows // self.block_rows)

    def span(self, index: int) -> slice:
        """The rows of a block."""
        return slice(index * self.block_rows, min((index + 1) * self.block_rows, self.rows))

    def path(self, index: int) -> Path:
        return self.folder / f"block-{index:06d}.npy"

    def missing(self) -> list[int]:
        """Blocks that have not been written yet."""
        return [index for index in range(self.count) if not self.path(index).exists()]

    def write(self, index: int, rows: np.ndarray) -> None:
        """Write one block aside and rename it."""
        span = self.span(index)
        assert len(rows) == span.stop - span.start, f"block {index} of {self.folder} got {len(rows)} rows"
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f".block-{index:06d}.{os.getpid()}.npy"
        try:
            np.save(aside, rows, allow_pickle=False)
            aside.replace(self.path(index))
        finally:
            aside.unlink(missing_ok=True)

    def read(self, index: int) -> np.ndarray:
        """One block, memory-mapped. Raises DataError where it is absent or damaged."""
        try:
            return np.load(self.path(index), mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise DataError("there is no such block; start again to have it made", self.path(index)) from None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"a block cannot be read ({error}); delete it and start again", self.path(index)) from None

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Every block in order, with the rows it holds."""
        return ((self.span(index), self.read(index)) for index in range(self.count))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The given rows, in the given order, as one array in memory."""
        rows = np.asarray(rows, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        result = None
        for index in np.unique(rows // self.block_rows):
            of_block = order[rows[order] // self.block_rows == index]
            values = self.read(index)[rows[of_block] - index * self.block_rows]
            if result is None:
                result = np.empty((len(rows), *values.shape[1:]), values.dtype)
            result[of_block] = values
        return np.empty((0,)) if result is None else result
