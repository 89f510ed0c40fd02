"""Large arrays on disk as numbered blocks of rows, each written whole or not at all, read memory-mapped.

A stage that fills such a folder goes on where it stopped: a block that is there is done. Memory is one block's.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bioemb.errors import DataError

FEW = 64  # rows of a block at most that are read one by one; mapping its file for so few costs more
VISIBLE_AFTER = 120.0  # seconds until a shared file system shows what another machine wrote; NFS takes up to 60


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
        present = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [index for index in range(self.count) if self.path(index).name not in present]

    def remove_leftovers(self) -> None:
        """Delete what a process that was killed left unfinished; nobody may be writing."""
        for leftover in self.folder.glob(".block-*.npy"):
            leftover.unlink(missing_ok=True)

    def wait_until_whole(self, seconds: float = VISIBLE_AFTER) -> None:
        """Return when every block is there, others' too. Raises DataError when they do not come to be seen."""
        wait_until_there(self.missing, self.path, seconds)

    def write(self, index: int, rows: np.ndarray) -> None:
        """Write one block aside and rename it."""
        span = self.span(index)
        assert len(rows) == span.stop - span.start, f"block {index} of {self.folder} got {len(rows)} rows"
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f".block-{index:06d}.{os.getpid()}.npy"
        try:
            np.save(aside, np.ascontiguousarray(rows), allow_pickle=False)
            aside.replace(self.path(index))
        finally:
            aside.unlink(missing_ok=True)

    def read(self, index: int) -> np.ndarray:
        """One block, memory-mapped. Raises DataError where it is absent or damaged."""
        with self._reading(index) as path:
            return np.load(path, mmap_mode="r", allow_pickle=False)

    def stored(self, index: int, rows: int | None = None) -> "StoredRows":
        """The first rows of a block (all, if None), to be read from disk whenever they are looked at."""
        return StoredRows(self, index, rows)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Every block in order, with the rows it holds."""
        return ((self.span(index), self.read(index)) for index in range(self.count))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The given rows, in the given order, as one array in memory. Raises DataError as `read` does."""
        rows = np.asarray(rows, dtype=np.int64)
        if not len(rows):
            return np.empty((0,))
        order = np.argsort(rows, kind="stable")
        blocks, begins = np.unique(rows[order] // self.block_rows, return_index=True)
        first = self.read(int(blocks[0]))
        result = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for index, of_block in zip(blocks.tolist(), np.split(order, begins[1:]), strict=True):
            within = rows[of_block] - index * self.block_rows
            is_few = len(within) <= FEW
            result[of_block] = self._read_rows(index, within, first) if is_few else self.read(index)[within]
        return result

    def _read_rows(self, index: int, rows: np.ndarray, like: np.memmap) -> np.ndarray:
        """A few rows [n] of a block, each read by itself; another block says where in a file rows stand."""
        result = np.empty((len(rows), *like.shape[1:]), like.dtype)
        flat, span = result.reshape(len(rows), -1), self.span(index)
        size = flat[0].nbytes
        with self._reading(index) as path, open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != like.offset + (span.stop - span.start) * size:
                raise ValueError("it is not as large as its rows")
            for row, place in zip(flat, rows.tolist(), strict=True):
                file.seek(like.offset + place * size)
                file.readinto(row)
        return result

    @contextmanager
    def _reading(self, index: int) -> Iterator[Path]:
        """The path of a block, to be read within."""
        try:
            yield self.path(index)
        except FileNotFoundError:
            raise DataError("there is no such block; start again to have it made", self.path(index)) from None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"a block cannot be read ({error}); delete it and start again", self.path(index)) from None


def wait_until_there(
    missing: Callable[[], list[int]], path: Callable[[int], Path], seconds: float = VISIBLE_AFTER
) -> None:
    """Return when nothing is missing of what other machines wrote. Raises DataError when it does not come to be seen.

    missing: the numbers of what is not there; path: from a number to its path.
    """
    deadline = time.monotonic() + seconds
    while numbers := missing():
        if time.monotonic() > deadline:
            raise DataError(
                f"{len(numbers)} files, this one first, are not to be seen here; several machines need a folder that "
                "all of them share",
                path(numbers[0]),
            )
        time.sleep(0.1)


class StoredRows:
    """Rows of a block that look like an array and are read anew by each slice: they take no memory in between.

    A memory-mapped block counts as the process's own for as long as it is open; where all blocks of a folder are gone
    through again and again, this keeps memory at one of them.
    """

    def __init__(self, folder: BlockFolder, index: int, rows: int | None = None):
        self.folder, self.index = folder, index
        whole = folder.read(index)
        self.dtype, self.ndim = whole.dtype, whole.ndim
        self.shape = (len(whole) if rows is None else min(rows, len(whole)), *whole.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.array(self.folder.read(self.index)[: len(self)][rows])
