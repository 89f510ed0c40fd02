"""Exact nearest-neighbour search on arrays: the Searcher contract, its NumPy reference and the merge of shards.

Scores are cosines, because every vector has length 1: higher is closer. A row of results falls in score, equal scores
stand in rising order of id, and a row that is short of passages ends in (-inf, -1). What a neighbour is good for is
`negatives.py`'s business; faiss is behind `faiss_search.py` alone.

    >>> searcher = NumpySearcher()
    >>> searcher.add(np.array([[1, 0], [0, 1]], dtype=np.float32))
    >>> searcher.add(np.array([[0.6, 0.8]], dtype=np.float32))  # ids run on: this is passage 2
    >>> scores, ids = searcher.search(np.array([[0, 1]], dtype=np.float32), k=4)
    >>> ids.tolist()
    [[1, 2, 0, -1]]
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral
from typing import Protocol

import numpy as np

from bioemb.errors import ConfigError, ModelError

LENGTH_TOLERANCE = 1e-2  # of a vector's squared length; vectors stored in half precision stay below 2e-3
SCORE_TOLERANCE = 1e-6  # rounding moves a float32 cosine by less
QUERY_ROWS = 1024  # queries of one score block
SPARE = 32  # neighbours looked at beyond those asked for, where a searcher's own scores are rounded
PAIRED_NUMBERS = 1 << 17  # of the vectors multiplied pair by pair at once: a megabyte stays in the caches
ROUNDING = 2.0**-22  # times the width: float32 cosines, added up in whatever order, differ by less
CHECKED_ROWS = 65_536  # vectors looked at at once, so that a memory-mapped corpus never comes into memory whole
LARGEST_ID = 2**32 - 1  # an id shares 64 bits with its score


class Searcher(Protocol):
    """Finds the passages closest to each query; ids count the added vectors from 0."""

    def add(self, vectors: np.ndarray) -> None:
        """Append passages [m, d] of length 1; may be called again, and ids run on."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries [q, d] of length 1 to (scores float32 [q, k] falling, ids int64 [q, k]), padded with (-inf, -1)."""


class NumpySearcher:
    """Exact search in blocks, with nothing but NumPy: the reference that other searchers must agree with.

    Added arrays are kept as they are (memory-mapped and half-precision ones too, and what only reads itself from disk
    when it is sliced) and read block by block, at least twice a search: changing them later changes the search. The
    last bits of BLAS's products may depend on where in them a pair stands, so they only find candidates, `SPARE` more
    than are wanted. These are scored pair by pair, and a row from which rounding might have kept a neighbour is
    searched again for more of them. So a pair's score has the same bits whatever else is searched with it and by
    however many threads: shards merge into exactly the whole search, and several processes find what one finds. One
    block of scores takes at most `block_bytes`; a search needs about three times that beside its results. threads: that
    look for the best of a block of scores, each in some rows; None: OMP_NUM_THREADS, else one for each core. Products
    are BLAS's.
    """

    def __init__(self, width: int | None = None, *, block_bytes: int = 16 << 20, threads: int | None = None):
        if block_bytes < 4 * QUERY_ROWS:
            raise ConfigError(f"block_bytes is {block_bytes}; a block of scores needs at least {4 * QUERY_ROWS} bytes")
        if threads is not None and not _is_count(threads):
            raise ConfigError(f"threads is {threads}; a search takes 1 or more, or None for one on each core")
        self.width = width  # None: the first vectors that arrive decide
        self.block_columns = block_bytes // (4 * QUERY_ROWS)
        self.threads = threads or _threads()
        self.parts: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def add(self, vectors: np.ndarray) -> None:
        """Append passages [m, d] of length 1. Raises ModelError for other lengths, widths and non-finite numbers."""
        check_vectors(vectors, self.width, first_row=len(self))
        self.width = vectors.shape[1]
        self.parts.append(vectors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k closest passages of each query [q, d]: (scores [q, k], ids [q, k]), exact, ties by rising id."""
        check_k(k)
        check_vectors(queries, self.width)
        with ThreadPoolExecutor(self.threads) as pool:  # NumPy lets other threads run while it compares and sorts
            return unpack(self._best(np.ascontiguousarray(queries, dtype=np.float32), k, SPARE, pool))

    def _best(self, queries: np.ndarray, k: int, spare: int, pool: ThreadPoolExecutor) -> np.ndarray:
        """The keys of each query's k closest, falling: uint64 [q, k]."""
        kept_scores, ids = unpack(self._candidates(queries, k + spare, pool))  # rising
        keys = np.sort(pack(self._scores(queries, ids, pool), ids), axis=1)[:, ::-1][:, :k]
        last, lowest = unpack(keys[:, -1:])[0][:, 0], kept_scores[:, 0]
        is_open = (lowest > -np.inf) & (last <= lowest + ROUNDING * queries.shape[1])
        rows, more = np.flatnonzero(is_open), 8 * spare
        step = max(self.block_columns * QUERY_ROWS // (8 * (k + more)), 1)
        for begin in range(0, len(rows), step):
            some = rows[begin : begin + step]
            keys[some] = self._best(queries[some], k, more, pool)
        return keys

    def _candidates(self, queries: np.ndarray, k: int, pool: ThreadPoolExecutor) -> np.ndarray:
        """The keys of the k highest of BLAS's scores of each query, rising: uint64 [q, k], 0 where there are fewer."""
        keys = np.zeros((len(queries), k), dtype=np.uint64)
        for first_id, passages in self._blocks():
            columns = np.ascontiguousarray(passages, dtype=np.float32).T
            for begin in range(0, len(queries), QUERY_ROWS):
                best = keys[begin : begin + QUERY_ROWS]
                scores = queries[begin : begin + QUERY_ROWS] @ columns
                step = -(-len(best) // self.threads)
                parts = [slice(at, at + step) for at in range(0, len(best), step)]
                best[:] = np.concatenate(list(pool.map(partial(_absorb, best, scores, first_id), parts)))
        return keys

    def _scores(self, queries: np.ndarray, ids: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
        """Each query's scores [q, c] with its own candidates [q, c], pair by pair; -inf where an id is missing."""
        scores, wanted = np.full(ids.size, -np.inf, dtype=np.float32), ids.ravel()
        order = np.argsort(wanted, kind="stable")  # so that passages are read in their order
        wanted, rows = wanted[order], order // ids.shape[1]
        step = max(PAIRED_NUMBERS // queries.shape[1], 1)

        def score(part: slice, first_id: int, passages: np.ndarray) -> None:
            for at in range(part.start, part.stop, step):
                some = slice(at, min(at + step, part.stop))
                vectors = np.asarray(passages[wanted[some] - first_id], dtype=np.float32)
                scores[order[some]] = np.einsum("nd,nd->n", queries[rows[some]], vectors)

        for first_id, passages in self._blocks():
            first, stop = np.searchsorted(wanted, [first_id, first_id + len(passages)]).tolist()
            share = max(-(-(stop - first) // self.threads), 1)
            parts = [slice(at, min(at + share, stop)) for at in range(first, stop, share)]
            list(pool.map(partial(score, first_id=first_id, passages=passages), parts))
        return scores.reshape(ids.shape)

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(the first id, vectors [<= block_columns, d]) of one block of passages after the other."""
        first_id = 0
        for part in self.parts:
            for begin in range(0, len(part), self.block_columns):
                yield first_id + begin, part[begin : begin + self.block_columns]
            first_id += len(part)


def merge_top_k(
    scores_list: Sequence[np.ndarray], ids_list: Sequence[np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the searches of the same queries over several corpus shards into one, as if searched as a whole.

    scores_list, ids_list: one [q, k_i] pair per shard, the ids already those of the whole corpus.
    Every shard must have been asked for at least k. Returns (scores [q, k], ids [q, k]).
    """
    check_k(k)
    if not scores_list or len(scores_list) != len(ids_list):
        raise ConfigError(f"merging needs one array of ids per array of scores: {len(scores_list)} and {len(ids_list)}")
    return merge_keys([pack(scores, ids) for scores, ids in zip(scores_list, ids_list, strict=True)], k)


def merge_keys(keys_list: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """`merge_top_k` of searches that are packed already: uint64 [q, k_i] each, in any order within a row."""
    keys = np.sort(np.concatenate(keys_list, axis=1), axis=1)[:, ::-1][:, :k]
    missing = k - keys.shape[1]
    return unpack(np.pad(keys, ((0, 0), (0, max(missing, 0)))))


def measure_recall(searcher: Searcher, exact: Searcher, queries: np.ndarray, k: int) -> float:
    """The share of the exact k closest passages of the queries [q, d] that `searcher` finds too, in [0, 1]."""
    _, expected = exact.search(queries, k)
    _, found = searcher.search(queries, k)
    wanted = expected >= 0
    hits = sum(len(np.intersect1d(row[keep], other)) for row, keep, other in zip(expected, wanted, found, strict=True))
    return hits / max(int(wanted.sum()), 1)


def check_vectors(vectors: np.ndarray, width: int | None, first_row: int = 0) -> None:
    """Refuse what would not give cosines: other shapes and widths, non-finite numbers, lengths other than 1.

    width: the expected d, None for any; first_row: what the message adds to the row's number. Raises ModelError.
    """
    if not isinstance(getattr(vectors, "dtype", None), np.dtype):
        raise ModelError(f"vectors must be an array of floating point numbers [m, d]; got {type(vectors).__name__}")
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise ModelError(f"vectors must be floating point numbers [m, d]; got {vectors.dtype} {list(vectors.shape)}")
    if width is not None and vectors.shape[1] != width:
        raise ModelError(
            f"vectors have width {vectors.shape[1]}, the index has {width}; encode both with the same model"
        )
    for begin in range(0, len(vectors), CHECKED_ROWS):
        block = np.asarray(vectors[begin : begin + CHECKED_ROWS], dtype=np.float32)
        squared = np.einsum("md,md->m", block, block)
        wrong = ~(np.abs(squared - 1) <= LENGTH_TOLERANCE)  # a comparison with nan is False
        if wrong.any():
            row = int(np.argmax(wrong))
            _refuse(block[row], first_row + begin + row)


def check_k(k: int) -> None:
    """Refuse to search for fewer than one neighbour, or for a part of one."""
    if not _is_count(k):
        raise ConfigError(f"k is {k}; a search returns at least 1 neighbour, a whole number")


def order_ties(scores: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order each row [q, k] by falling score, then rising id, missing ids last, as (-inf, -1)."""
    return unpack(np.sort(pack(scores, ids), axis=1)[:, ::-1])


def pack(scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """One integer per candidate that rises with its score and, among equal scores, with falling id; 0 if missing."""
    if ids.size and int(ids.max()) >= LARGEST_ID:
        raise ConfigError(f"passage id {int(ids.max())} is too large; one search takes at most {LARGEST_ID} passages")
    bits = (np.asarray(scores, dtype=np.float32) + np.float32(0)).view(np.uint32)  # + 0: no -0.0, which equals 0.0
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    keys = rising << np.uint64(32) | (LARGEST_ID - np.asarray(ids, dtype=np.int64)).astype(np.uint64)
    return np.where(ids < 0, np.uint64(0), keys)


def unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `pack`: (scores float32, ids int64), (-inf, -1) where missing."""
    rising = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(rising >> 31, rising & np.uint32(2**31 - 1), ~rising)
    ids = LARGEST_ID - (keys & np.uint64(LARGEST_ID)).astype(np.int64)
    missing = keys == 0
    return np.where(missing, np.float32(-np.inf), bits.view(np.float32)), np.where(missing, -1, ids)


def _refuse(vector: np.ndarray, row: int) -> None:
    if not np.isfinite(vector).all():
        raise ModelError(f"vector {row} (counted from 0) is not finite; the model failed on that text")
    length = float(np.linalg.norm(vector))
    raise ModelError(
        f"vector {row} (counted from 0) has length {length:.4g}; scores are cosines only of vectors of length 1: "
        "encode with normalisation, or divide each vector by its length"
    )


def _is_count(number: object) -> bool:
    """Whether it is a whole number from 1."""
    return isinstance(number, Integral) and not isinstance(number, bool) and number >= 1


def _threads() -> int:
    """As many as the process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(asked) if asked.isdecimal() and int(asked) else cores


def _absorb(best: np.ndarray, scores: np.ndarray, first_id: int, rows: slice) -> np.ndarray:
    """Merge some rows of a block's scores [q, c] into the best keys [q, k] so far, rising: those rows' new ones [r, k].

    What cannot enter is never sorted.
    """
    best, scores = best[rows], scores[rows]
    k, columns = best.shape[1], scores.shape[1]
    floor = unpack(best[:, :1])[0]  # [r, 1] the k-th best score so far, -inf while there are fewer
    if columns > k and not best[:, 0].all():
        floor = np.maximum(floor, np.partition(scores, columns - k, axis=1)[:, columns - k, None])
    row, column = np.divmod(np.flatnonzero(scores >= floor), columns)  # ten times as fast as np.nonzero here
    entering = np.bincount(row, minlength=len(best))  # [r]
    place = np.arange(len(row)) - np.repeat(np.cumsum(entering) - entering, entering)
    merged = np.zeros((len(best), k + entering.max(initial=0)), dtype=np.uint64)
    merged[:, :k] = best
    merged[row, k + place] = pack(scores[row, column], first_id + column)
    merged.sort(axis=1)
    return merged[:, -k:]
