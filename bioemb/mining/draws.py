"""Random numbers without a generator's state: each is a hash of a seed, a row's key and an item's id.

So the order of rows, the number of processes, shards and restarts change nothing, and whole arrays are drawn at once.
The hash is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): a row's stream
starts at a hash of (seed, key), and item i of the stream is its i-th output.
"""

from collections.abc import Iterator

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


def distinct_draws(stream: np.ndarray, size: int, count: int, looks: int) -> Iterator[np.ndarray]:
    """Longer and longer lists of distinct ids below `size`, in uniformly random order.

    stream: uint64 [1]. The first is long enough for `count` where half may be refused; the last has all ids of a small
    corpus, about `looks` or more of a large one.
    """
    drawn = 2 * count + 16
    while drawn < size:
        ids = (outputs(stream, np.arange(drawn)) % np.uint64(size)).astype(np.int64)
        _, first = np.unique(ids, return_index=True)
        yield ids[np.sort(first)]
        if drawn >= looks:
            return
        drawn *= 4
    everything = np.arange(size)
    yield everything[np.argsort(outputs(stream, everything), kind="stable")]
