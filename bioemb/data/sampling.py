"""Which rows make a batch, and which texts of a row make a group: pure arithmetic, seeded by content.

Nothing here depends on the number of processes or workers, or on where a run was resumed.
"""

from collections.abc import Sequence

import numpy as np


def choose_group(positives: int, negatives: int, group_size: int, key: Sequence[int]) -> tuple[int, np.ndarray]:
    """One positive and `group_size - 1` negatives of a row, as indices, drawn with the key (seed, epoch, query).

    With m negatives needed and fewer, n, there, each is taken at most ceil(m / n) times, as FlagEmbedding does; none at
    all is a ValueError.
    """
    rng = np.random.default_rng(key)
    positive = int(rng.integers(positives))
    needed = group_size - 1
    if needed == 0:
        return positive, np.empty(0, np.int64)
    if negatives == 0:
        raise ValueError("no negatives to choose from")
    copies = -(-needed // negatives)
    return positive, rng.permutation(np.tile(np.arange(negatives), copies))[:needed]


def epoch_batches(pools: Sequence[np.ndarray], batch_size: int, seed: int, epoch: int, drop_last: bool) -> list:
    """Row numbers [batch_size] of each batch of an epoch, in order; a batch never mixes pools.

    pools: arrays of row numbers (one pool: any rows meet; a pool per file: one file per batch). The last batch of
    a pool is shorter unless it is dropped.
    """
    batches = []
    for number, rows in enumerate(pools):
        shuffled = np.random.default_rng([seed, epoch, number]).permutation(rows)
        whole = len(rows) // batch_size * batch_size
        batches += [shuffled[start : start + batch_size] for start in range(0, whole, batch_size)]
        if not drop_last and whole < len(rows):
            batches.append(shuffled[whole:])
    if len(pools) > 1:
        order = np.random.default_rng([seed, epoch, len(pools)]).permutation(len(batches))
        batches = [batches[index] for index in order]
    return batches


def share(batch: np.ndarray, rank: int, world_size: int) -> np.ndarray:
    """A process's rows of a batch: contiguous, so that the processes' shares in order are the batch."""
    return np.array_split(batch, world_size)[rank]
