"""From vectors in blocks to each query's nearest passages: shard by shard of the corpus, block by block of queries.

What embeds and what searches come as arguments; memory is one shard's index and one block of results.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from bioemb.mining.search import Searcher, merge_top_k


def search_shard(
    searcher: Searcher,
    passages: Iterable[np.ndarray],
    first_id: int,
    queries: Iterable[np.ndarray],
    k: int,
    batch_size: int = 4096,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(scores [b, k], ids [b, k]) of every block of queries [b, d] in one shard of the corpus.

    searcher: empty, trained where its kind needs it; passages: the shard's vectors in blocks; first_id: the number of
    its first passage in the whole corpus; batch_size: queries searched at once.
    """
    for vectors in passages:
        searcher.add(vectors)
    for block in queries:
        found = [searcher.search(block[start : start + batch_size], k) for start in range(0, len(block), batch_size)]
        scores, ids = (np.concatenate(some) for some in zip(*found, strict=True))
        yield scores, np.where(ids >= 0, ids + first_id, -1)


def merged(results: list[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """One block's results from all shards as if the corpus had been searched whole."""
    if len(results) == 1:
        return results[0]
    return merge_top_k([scores for scores, _ in results], [ids for _, ids in results], k)
