"""Random numbers without a generator's state: each is a hash of a seed, a row's key and an item's id.

So the order of rows, the number of processes, shards and restarts change nothing, and whole arrays are drawn at once.
The hash is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): a row's stream
starts at a hash of (seed, key), and item i of the stream is its i-th output.
"""

from collections.abc import Callable

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(state: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: uint64 to uint64, one to one, every bit depending on all of the input's."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def streams(seed: int, keys: np.ndarray, purpose: int = 0) -> np.ndarray:
    """Where each key's stream starts: int64 keys [q] to uint64 [q]; streams of other purposes are unrelated."""
    start = mix(np.array([seed % 2**64], dtype=np.uint64) + GOLDEN)  # arrays: their overflow wraps without a warning
    start = mix(start + GOLDEN * np.array([purpose + 1], dtype=np.uint64))
    return mix(start ^ np.asarray(keys, dtype=np.int64).astype(np.uint64))


def outputs(streams: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Items [..] of streams that broadcast with them: random uint64, the same for the same (stream, item)."""
    return mix(streams + GOLDEN * (items + 1).astype(np.uint64))


def uniforms(streams: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The same as float64 in (0, 1), never 0 or 1, so that their logarithms are finite."""
    return ((outputs(streams, items) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def draw_distinct(
    stream: np.ndarray, size: int, count: int, is_allowed: Callable[[np.ndarray], np.ndarray], looks: int
) -> np.ndarray:
    """Up to `count` distinct ids below `size` that `is_allowed` (ids [n] to bool [n]), uniformly; fewer if no more are.

    stream: uint64 [1]. Few draws usually do. Where they do not, a small corpus is put in random order as a whole; in a
    large one the first draw of `looks` ids or more is the last.
    """
    drawn = 2 * count + 16
    while drawn < size:
        ids = (outputs(stream, np.arange(drawn)) % np.uint64(size)).astype(np.int64)
        _, first = np.unique(ids, return_index=True)
        ids = ids[np.sort(first)]
        ids = ids[is_allowed(ids)][:count]
        if len(ids) == count or drawn >= looks:
            return ids
        drawn *= 4
    ids = np.arange(size)
    ids = ids[np.argsort(outputs(stream, ids), kind="stable")]
    return ids[is_allowed(ids)][:count]
