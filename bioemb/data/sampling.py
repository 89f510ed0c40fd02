"""Which rows make a batch, and which texts of a row make a group: pure arithmetic, seeded by content.

Nothing here depends on the number of processes or workers, or on where a run was resumed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """A data set's row numbers, and how often an epoch takes them: 0.5 a half of them in turn, 2 each of them twice."""

    rows: np.ndarray
    weight: float = 1.0

    @property
    def taken(self) -> int:
        """Rows that an epoch takes."""
        return max(1, round(self.weight * len(self.rows))) if len(self.rows) else 0

    def of_epoch(self, seed: int, epoch: int, number: int) -> np.ndarray:
        """(pass, row) of each row that the epoch takes [taken, 2]: the next so many of one shuffled pass after another.

        Every row comes once before any comes again, and its pass decides which of its texts are drawn.
        """
        count, end = len(self.rows), (epoch + 1) * self.taken
        done, keys = epoch * self.taken, []
        while done < end:
            turn, start = divmod(done, count)
            stop = min(count, start + end - done)
            rows = np.asarray(self.rows)
            if stop - start < count:  # part of a pass
                rows = np.sort(np.random.default_rng([seed, turn, number, 0]).permutation(rows)[start:stop])
            keys.append(np.stack([np.full(len(rows), turn), rows], 1))
            done += stop - start
        return np.concatenate(keys) if keys else np.empty((0, 2), np.int64)


Pool = Sequence[Part]  # rows that may meet in a batch


def temperature_weights(sizes: Sequence[int], temperature: float) -> list[float]:
    """How often an epoch takes each set so that its share is size^(1 / temperature), and an epoch as long as ever.

    1 leaves the shares as they are, infinity makes them equal (arXiv 1907.05019).
    """
    shares = np.array(sizes, float) ** (1 / temperature)
    shares[np.array(sizes) == 0] = 0
    taken = shares / shares.sum() * sum(sizes)
    return [float(rows / size) if size else 0.0 for rows, size in zip(taken, sizes, strict=True)]


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


def epoch_batches(pools: Sequence[Pool], batch_size: int, seed: int, epoch: int, drop_last: bool) -> list[np.ndarray]:
    """(pass, row) [batch_size, 2] of each batch of an epoch, in order; a batch never mixes pools.

    One pool: any rows meet; a pool per file: one file per batch. The last batch of a pool is shorter unless it is
    dropped. Every epoch has equally many batches.
    """
    batches = []
    for number, pool in enumerate(pools):
        keys = np.concatenate([part.of_epoch(seed, epoch, place) for place, part in enumerate(pool)])
        shuffled = np.random.default_rng([seed, epoch, number]).permutation(keys)
        whole = len(keys) // batch_size * batch_size
        batches += [shuffled[start : start + batch_size] for start in range(0, whole, batch_size)]
        if not drop_last and whole < len(keys):
            batches.append(shuffled[whole:])
    if len(pools) > 1:
        order = np.random.default_rng([seed, epoch, len(pools)]).permutation(len(batches))
        batches = [batches[index] for index in order]
    return batches


def share(batch: np.ndarray, rank: int, world_size: int) -> np.ndarray:
    """A process's rows of a batch: contiguous, so that the processes' shares in order are the batch."""
    return np.array_split(batch, world_size)[rank]
