"""Which evaluation texts a training text repeats: the same words, the whole of one in the other, or most of it.

Texts are compared by their words in lower case, signs left out. An evaluation text and a training text meet where

- `same`: their words are the same, however few; or, with the shorter of the two at least MIN_WORDS long,
- `contained`: every run of RUN words of the shorter one stands in the longer one, or
- `near`: at least a share of these runs does, and the shorter one is at least NEAR_WORDS long.

Shorter texts than MIN_WORDS occur everywhere (one word, "a review of its use in"), and questions of fewer than
NEAR_WORDS share most of their runs with others of the same mould. Runs are counted exactly, not estimated by MinHash:
only those of the evaluation are kept, 20 bytes each, and MinHash does not tell how much of a query is in an abstract.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bioemb.data.identity import words_of
from bioemb.records import stable_hash

RUN = 5  # words of a run: one changed word spoils five runs, 11 of the 16 of a text of 20 words are left
MIN_WORDS = 8  # a shorter text is met by the same words only
NEAR_WORDS = 20  # a shorter text must be contained whole
REASONS = ("same", "contained", "near")  # the surest first
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd; a run's hash is a polynomial in it, of the hashes of its words
POWERS = FACTOR ** np.arange(RUN, dtype=np.uint64)


class Match(NamedTuple):
    """A training text meets an evaluation text."""

    number: int  # of the evaluation text, in the order in which the texts were given
    reason: str  # same, contained or near
    share: float  # of the runs of the shorter text, those that stand in the longer one


class EvaluationIndex:
    """The evaluation's texts, to be asked which of them a training text repeats."""

    def __init__(self, texts: Iterable[str], share: float):
        """share: of the runs of the shorter text that must stand in the longer one for the two to be `near`."""
        self.share = share
        wholes, counts, lengths = [], [], []
        runs = [np.zeros(0, np.uint64)]
        for text in texts:
            words = words_of(text)
            wholes.append(_whole_hash(words))
            runs.append(runs_of(words) if len(words) >= MIN_WORDS else runs[0])
            counts.append(len(runs[-1]))
            lengths.append(len(words))
        self.counts, self.lengths = np.array(counts, np.int64), np.array(lengths, np.int64)  # [n], [n]
        numbers = np.arange(len(counts), dtype=np.uint32)
        self.wholes = _Postings(np.array(wholes, np.uint64), numbers)
        self.runs = _Postings(np.concatenate(runs), np.repeat(numbers, self.counts))

    def __len__(self) -> int:
        return len(self.counts)

    def find(self, text: str) -> list[Match]:
        """The evaluation texts that the text meets, by rising number; none for a text without words."""
        words = words_of(text)
        if not words:
            return []
        same = self.wholes.find(np.array([_whole_hash(words)], np.uint64)).tolist()
        matches = [Match(number, "same", 1.0) for number in same]
        if len(words) >= MIN_WORDS:
            matches += [match for match in self._overlapping(words) if match.number not in same]
        return sorted(matches)

    def _overlapping(self, words: list[str]) -> Iterator[Match]:
        runs = runs_of(words)
        numbers, shared = np.unique(self.runs.find(runs), return_counts=True)
        shares = shared / np.minimum(self.counts[numbers], len(runs))
        is_long = np.minimum(self.lengths[numbers], len(words)) >= NEAR_WORDS
        meets = (shares == 1) | ((shares >= self.share) & is_long)
        for number, share in zip(numbers[meets].tolist(), shares[meets].tolist(), strict=True):
            yield Match(number, "contained" if share == 1 else "near", share)


def runs_of(words: Sequence[str]) -> np.ndarray:
    """A hash of each different run of RUN words, uint64, rising; of at least RUN words."""
    hashes = np.array([_word_hash(word) for word in words], np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(hashes, RUN)  # [words - RUN + 1, RUN]
    return np.unique((windows * POWERS).sum(axis=1, dtype=np.uint64))


def _whole_hash(words: list[str]) -> int:
    return stable_hash(" ".join(words))


_word_hash = lru_cache(maxsize=1 << 18)(stable_hash)


class _Postings:
    """Keys that stand in texts: which texts have a key."""

    def __init__(self, keys: np.ndarray, owners: np.ndarray):
        order = np.argsort(keys, kind="stable")
        self.owners = owners[order]
        self.keys, starts = np.unique(keys[order], return_index=True)
        self.starts = np.append(starts, len(keys))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The owners of these keys, each once for every key that it has."""
        if not len(self.keys):
            return self.owners
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        places = places[self.keys[places] == keys]
        starts, counts = self.starts[places], self.starts[places + 1] - self.starts[places]
        ends = np.cumsum(counts)
        return self.owners[np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())]
