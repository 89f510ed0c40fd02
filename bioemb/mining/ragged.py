"""Lists of differing lengths, one per query, as two flat arrays."""

from collections.abc import Sequence
from itertools import chain
from numbers import Real
from operator import index
from typing import NamedTuple

import numpy as np

from bioemb.errors import ConfigError

Lists = Sequence[Sequence[float] | None] | Sequence[np.ndarray] | Sequence[float] | np.ndarray


class Ragged(NamedTuple):
    """q lists; list i is `values[starts[i]:starts[i + 1]]`."""

    values: np.ndarray
    starts: np.ndarray  # int64 [q + 1]

    def row(self, i: int) -> np.ndarray:
        """List i."""
        return self.values[self.starts[i] : self.starts[i + 1]]

    def rows(self, part: slice) -> "Ragged":
        """Some of the lists, consecutive ones; nothing is copied."""
        return Ragged(self.values, self.starts[part.start : part.stop + 1])


def ragged(lists: "Lists | Ragged", queries: int, dtype: type, name: str) -> Ragged:
    """q lists (None: an empty one), or q plain numbers as lists of one. Raises ConfigError, naming `name`, else.

    dtype: int64 or float64; nothing is cut to a whole number.
    """
    if isinstance(lists, Ragged):
        return lists
    if len(lists) != queries:
        raise ConfigError(f"{name} has {len(lists)} rows, and there are {queries} queries")
    is_whole = np.issubdtype(dtype, np.integer)
    try:
        if isinstance(lists, np.ndarray) and lists.ndim == 1 and lists.dtype.kind in ("iu" if is_whole else "iuf"):
            return Ragged(lists.astype(dtype), np.arange(queries + 1))
        rows = [() if some is None else [some] if isinstance(some, Real) else some for some in lists]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=queries)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        numbers = chain.from_iterable(rows)
        return Ragged(np.fromiter(map(index, numbers) if is_whole else numbers, dtype=dtype, count=starts[-1]), starts)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"{name} is a list of {'whole ' if is_whole else ''}numbers for each query, as [[3], [2, 4]]; "
            f"got others ({error})"
        ) from None


def is_listed(values: np.ndarray, lists: Ragged) -> np.ndarray:
    """Whether each value [r, k] is in its row's list: bool [r, k].

    Goes through the lists' first members, then their second ones: the work is k comparisons per member, however
    much the lists differ in length.
    """
    starts, lengths = lists.starts[:-1], np.diff(lists.starts)
    listed = np.zeros(values.shape, dtype=bool)
    for member in range(lengths.max(initial=0)):
        rows = np.flatnonzero(lengths > member)
        listed[rows] |= values[rows] == lists.values[starts[rows] + member, None]
    return listed


def lowest(lists: Ragged) -> np.ndarray:
    """The smallest number of each list [q], as float64; nan for an empty list or one that holds nan."""
    starts, lengths = lists.starts[:-1], np.diff(lists.starts)
    result = np.full(len(starts), np.nan)
    if len(lists.values):
        result[lengths > 0] = np.minimum.reduceat(lists.values, starts[lengths > 0])
    return result
