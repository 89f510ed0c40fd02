"""Which passages must never be a query's negatives: its positives, passages of the same text, of the same identity.

Pure arrays, no texts: a text is known by the hash of what it shares with equal ones (`records.same_text_key`).
"""

from collections.abc import Sequence

import numpy as np

from bioemb.mining.ragged import Lists, Ragged, ragged


class Groups:
    """Which values stand under a key: a table from integer keys to arrays of integers, in sorted arrays."""

    def __init__(self, keys: np.ndarray, values: np.ndarray):
        """keys, values: int64 [n]; a key may stand several times."""
        order = np.argsort(keys, kind="stable")
        self.keys, self.values = keys[order], values[order]

    def of(self, keys: Sequence[int] | np.ndarray) -> np.ndarray:
        """The values under any of the keys, sorted, each once."""
        keys = np.asarray(keys, dtype=np.int64)
        starts = np.searchsorted(self.keys, keys, "left")
        stops = np.searchsorted(self.keys, keys, "right")
        found = [self.values[start:stop] for start, stop in zip(starts, stops, strict=True)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


class Exclusions:
    """The passages excluded for a query, by reason.

    passage_texts [m]: text hash of each passage; identities: (passage numbers [e], identities [e]), a passage may
    have several; query_texts [q], positives: q lists of passage numbers. Queries of equal text share their positives.
    """

    def __init__(
        self,
        passage_texts: np.ndarray,
        identities: tuple[np.ndarray, np.ndarray],
        query_texts: np.ndarray,
        positives: Lists | Ragged,
    ):
        self.passage_texts, self.query_texts = passage_texts, query_texts
        self.passages_of_text = Groups(passage_texts, np.arange(len(passage_texts)))
        self.passages_of_identity = Groups(identities[1], identities[0])
        own = ragged(positives, len(query_texts), np.int64, "positives")
        self.positives_of_query = Groups(np.repeat(query_texts, np.diff(own.starts)), own.values)

    def positives(self, query: int) -> np.ndarray:
        """The positives of the query and of all that read the same, sorted."""
        return self.positives_of_query.of([self.query_texts[query]])

    def same_text(self, query: int) -> np.ndarray:
        """The positives of the query, what reads as one of them does, and what reads as the query itself."""
        return self.passages_of_text.of(np.append(self.passage_texts[self.positives(query)], self.query_texts[query]))

    def same_identity(self, identities: Sequence[int]) -> np.ndarray:
        """The passages that share one of these identities."""
        return self.passages_of_identity.of(identities)
