"""One block of queries against one shard of the corpus: what the work of a search is cut into.

What searches comes as an argument; memory is that of its index and one block of results.
"""

from collections.abc import Callable

import numpy as np

from bioemb.mining.search import Searcher, order_ties

RESCORED_NUMBERS = 1 << 22  # of the vectors compared at once: 32 MB in double precision


def search_block(
    searcher: Searcher, queries: np.ndarray, first_id: int, k: int, batch_size: int = 4096
) -> tuple[np.ndarray, np.ndarray]:
    """(scores [q, k], ids [q, k]) of queries [q, d] in one shard of the corpus, ids being those of the whole corpus.

    searcher: holds the shard; first_id: the number of the shard's first passage; batch_size: queries searched at once.
    """
    starts = range(0, max(len(queries), 1), batch_size)
    found = [searcher.search(queries[start : start + batch_size], k) for start in starts]
    scores, ids = (np.concatenate(some) for some in zip(*found, strict=True))
    return scores, np.where(ids >= 0, ids + first_id, -1)


def rescore(
    queries: np.ndarray, ids: np.ndarray, vectors_of: Callable[[np.ndarray], np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k of each query's candidates that are truly the closest: (scores [q, k] falling, ids [q, k]).

    queries [q, d]; ids [q, c] of a search whose own scores are rounded, by half precision or codes; vectors_of: from
    ids [n] to the passages' vectors [n, d]. Each cosine is summed by itself in double precision, so that it is the same
    whatever else is searched and by however many threads.
    """
    scores = np.full(ids.shape, -np.inf, dtype=np.float32)
    step = max(RESCORED_NUMBERS // (ids.shape[1] * queries.shape[1]), 1)
    for begin in range(0, len(queries), step):
        rows, columns = np.nonzero(ids[begin : begin + step] >= 0)
        rows += begin
        if len(rows):
            products = np.multiply(queries[rows], vectors_of(ids[rows, columns]), dtype=np.float64)
            scores[rows, columns] = products.sum(axis=1)
    scores, ids = order_ties(scores, ids)
    return scores[:, :k], ids[:, :k]
