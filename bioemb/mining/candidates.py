"""What negatives are chosen from, and what is known of each query: read and checked, before anything is chosen.

Arrays or plain lists in, arrays out; what contradicts itself, or lacks what the rule needs, is a ConfigError that names
the query.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bioemb.errors import ConfigError
from bioemb.mining.negative_rule import NegativeRule
from bioemb.mining.ragged import Lists, Ragged, lowest, ragged


class Context(NamedTuple):
    """What else may be known, all of it optional. Identities are those of `records.Pair`; below 0 means unknown."""

    row_keys: np.ndarray | None = None  # int [q]: hashes of the queries' content; without them, the row's number
    corpus_size: int | None = None  # needed to fill up at random
    query_identities: Lists | None = None  # [q], or q lists: the query's own identity and its positives'
    passage_identities: np.ndarray | None = None  # [m]: a passage that shares one with the query is no negative
    score_of: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # queries [n], passages [n] to scores [n]
    refuses: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # to bool [n]: what must not fill up


class Candidates(NamedTuple):
    """The ranked passages of q queries, with all that is known of them."""

    first: int  # the number of the first query, for messages
    scores: np.ndarray  # [q, k]
    ids: np.ndarray  # [q, k]
    keys: np.ndarray  # [q]
    positive: np.ndarray  # [q, 1], the lowest positive score
    excluded: dict[str, Ragged]
    identities: Ragged | None

    def are_missing(self) -> np.ndarray:
        """Where a row is short of passages: bool [q, k]; one that was not scored is none."""
        return (self.ids < 0) | np.isneginf(self.scores)

    def rows(self, part: slice) -> "Candidates":
        """Those of some queries, consecutive ones; nothing is copied."""
        excluded = {reason: lists.rows(part) for reason, lists in self.excluded.items()}
        identities = None if self.identities is None else self.identities.rows(part)
        arrays = (array[part] for array in (self.scores, self.ids, self.keys, self.positive))
        return Candidates(self.first + part.start, *arrays, excluded, identities)


def read_candidates(
    ranking: tuple[np.ndarray | Sequence[Sequence[float]], np.ndarray | Sequence[Sequence[int]]],
    excluded_ids: Lists | Mapping[str, Lists] | None,
    positive_scores: Lists | None,
    rule: NegativeRule,
    context: Context,
) -> Candidates:
    """The arguments of `select_negatives`, which says what they are, as arrays; ranking: its scores and ids."""
    scores, ids = _array(ranking[0], np.floating, "scores"), _array(ranking[1], np.integer, "ids")
    _check_shapes(scores, ids, rule, context)
    queries, k = len(ids), min(ids.shape[1], rule.range_stop)
    keys = np.arange(queries) if context.row_keys is None else np.asarray(context.row_keys)
    keys = ragged(keys, queries, np.int64, "row_keys").values
    positive = _lowest_positive(positive_scores, queries, rule)[:, None]
    named = excluded_ids if isinstance(excluded_ids, Mapping) else {"positive or same text": excluded_ids}
    excluded = {
        reason: ragged(lists, queries, np.int64, f"excluded_ids ({reason})")
        for reason, lists in named.items()
        if lists is not None
    }
    return Candidates(0, scores[:, :k], ids[:, :k], keys, positive, excluded, _query_identities(context, queries))


def check_ranking(rows: Candidates, context: Context) -> None:
    """Refuse rows whose scores rise, that name a passage twice, or one that the corpus does not have."""
    scores, ordered = rows.scores, np.sort(rows.ids, axis=1)
    size = corpus_size(context)
    complaints = {
        "has scores that rise or are nan": np.isnan(scores[:, :1]).any(axis=1)
        | ~(scores[:, 1:] <= scores[:, :-1]).all(axis=1),
        "has a score of infinity": np.isposinf(scores[:, :1]).any(axis=1),
        "names a passage twice": ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1),
        f"names a passage beyond the corpus of {size}": size is not None and (ordered >= size).any(axis=1),
    }
    for complaint, is_wrong in complaints.items():
        if np.any(is_wrong):
            row = rows.first + int(np.argmax(is_wrong))
            raise ConfigError(f"query {row} (counted from 0) {complaint}; a ranking falls in score and names each once")


def corpus_size(context: Context) -> int | None:
    """How many passages there are, where that is known. Raises ConfigError."""
    if context.corpus_size is not None and context.corpus_size < 0:
        raise ConfigError(f"corpus_size is {context.corpus_size}; expected the number of passages")
    if context.passage_identities is None:
        return context.corpus_size
    rows = len(context.passage_identities)
    if context.corpus_size not in (None, rows):
        raise ConfigError(f"corpus_size is {context.corpus_size}, but passage_identities has {rows} rows")
    return rows


def _lowest_positive(positive_scores: Lists | None, queries: int, rule: NegativeRule) -> np.ndarray:
    """The lowest positive score of each query, float64 [q]; nan where there is none and the rule needs none."""
    if positive_scores is None:
        result = np.full(queries, np.nan)
    else:
        result = lowest(ragged(positive_scores, queries, np.float64, "positive_scores"))
    if rule.needs_positive_scores and not np.isfinite(result).all():
        row = int(np.argmin(np.isfinite(result)))
        raise ConfigError(
            f"query {row} (counted from 0) has {'no' if np.isnan(result[row]) else 'an infinite'} positive score, and "
            "the rule bounds negatives by it: give a finite one, or use neither a margin nor 'simans'"
        )
    return result


def _query_identities(context: Context, queries: int) -> Ragged | None:
    if (context.query_identities is None) != (context.passage_identities is None):
        raise ConfigError("identities exclude by comparison: give both query_identities and passage_identities")
    if context.query_identities is None:
        return None
    return ragged(context.query_identities, queries, np.int64, "query_identities")


def _array(values: np.ndarray | Sequence, kind: type, name: str) -> np.ndarray:
    """An array [q, k] of the kind of numbers. Raises ConfigError for anything else."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        array = np.empty(1, dtype=object)
    if not array.size:  # an empty list does not say of what
        return np.empty((*array.shape, 0)[:2], np.float32 if kind is np.floating else np.int64)
    if kind is np.floating and np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.float32)
    if not np.issubdtype(array.dtype, kind):
        raise ConfigError(
            f"{name} are {'whole ' if kind is np.integer else ''}numbers [q, k], rows of one length, short ones ending "
            f"in {'-1' if kind is np.integer else '-inf'}; got {str(values)[:60]}"
        )
    return array


def _check_shapes(scores: np.ndarray, ids: np.ndarray, rule: NegativeRule, context: Context) -> None:
    """Refuse rankings that are no pair of [q, k], or too short for the range to mean what it says."""
    if ids.ndim != 2 or scores.shape != ids.shape:
        raise ConfigError(f"scores and ids are both [q, k]; got {list(scores.shape)} and {list(ids.shape)}")
    size = corpus_size(context)
    if size is not None and len(ids) and ids.shape[1] < min(rule.range_stop, size):
        raise ConfigError(
            f"{ids.shape[1]} candidates per query do not reach rank {rule.range_stop} of the range, "
            f"and the corpus has {size} passages: search for k = {min(rule.range_stop, size)}"
        )
