"""Choose each query's hard negatives from its ranked passages: arrays in, arrays out.

Encoding, searching, texts and files are others' business; nothing here needs a model, an index or a GPU.
Three queries, the four closest passages of each, and what must not be a negative:

    >>> scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, -0.1, -np.inf], [0.7, 0.6, 0.5, 0.4]])
    >>> ids = np.array([[7, 3, 5, 0], [2, 7, 4, -1], [1, 6, 8, 9]])
    >>> positive_ids = [[3], [2, 4], [1]]
    >>> positive_scores = [[0.8], [0.5, -0.1], [0.7]]
    >>> rule = NegativeRule(0, 4, count=2, sampling="top", relative_margin=0.05, on_short="fewer")
    >>> selection = select_negatives(scores, ids, positive_ids, positive_scores, rule)
    >>> selection.ids
    array([[ 5,  0],
           [-1, -1],
           [ 6,  8]])
    >>> selection.dropped
    {'padding': 1, 'positive or same text': 4, 'above relative margin': 2, 'not sampled': 1}
    >>> selection.short
    {'without any': 1}

Passage 7 scores above 95 % of the first query's positive: likely a positive that nobody marked. The second query's
lowest positive has -0.1, so that a negative must stay below -0.105; none does. The third had one to spare.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bioemb.errors import ConfigError
from bioemb.mining.candidates import Candidates, Context, check_ranking, corpus_size, read_candidates
from bioemb.mining.draws import distinct_draws, streams, uniforms
from bioemb.mining.negative_rule import NegativeRule
from bioemb.mining.ragged import Lists, is_listed

FILL_LOOKS = 512  # passages scored for a short row before it is left as it is; or a few more
BLOCK = 1 << 20  # candidates looked at at once: the memory beside inputs and results stays below 100 MB
SAMPLE, FILL = 0, 1  # purposes of the random streams


class Selection(NamedTuple):
    """The negatives of q queries in order of rank, and why the other candidates are not among them."""

    ids: np.ndarray  # int64 [q, count]; -1 where there are fewer
    scores: np.ndarray  # float32 [q, count]; -inf where there are fewer, nan where filled at random without `score_of`
    ranks: np.ndarray  # int64 [q, count], 0-based; -1 where there are fewer or filled at random
    dropped: dict[str, int]  # candidates by reason; with those chosen by rank they are all that was looked at
    short: dict[str, int]  # queries with too few candidates, by what became of them


def select_negatives(
    scores: np.ndarray | Sequence[Sequence[float]],
    ids: np.ndarray | Sequence[Sequence[int]],
    excluded_ids: Lists | Mapping[str, Lists] | None,
    positive_scores: Lists | None,
    rule: NegativeRule,
    context: Context = Context(),  # noqa: B008 - it cannot change
) -> Selection:
    """Draw each query's negatives from its closest passages that are not, and do not resemble, its positives.

    scores, ids: [q, k], scores falling; missing are ids of -1 and scores of -inf. Only the first `rule.range_stop`
    columns are looked at.
    excluded_ids: q lists of passages that are never negatives; or {reason: such lists}, to have them counted apart; or
    None. Plain lists do for all arrays.
    positive_scores: [q] or q lists. The lowest of a query's counts: training takes any of them as *the* positive, and
    a negative must stay below it then too. None where the rule does not look at them.
    The draw depends on (rule.seed, row key, passage id) alone: order, shards and restarts change nothing.
    Short rows are filled up with passages beyond the ranking, none that `context.refuses`: within the rule's bounds and
    with scores where `context.score_of` gives these; without it no bound applies.
    Raises ConfigError for arrays that contradict each other or lack what the rule needs.
    """
    candidates = read_candidates((scores, ids), excluded_ids, positive_scores, rule, context)
    queries, k = candidates.ids.shape
    step = max(BLOCK // max(k, rule.count), 1)
    starts = range(0, max(queries, 1), step)
    parts = [_select(candidates.rows(slice(at, min(at + step, queries))), rule, context) for at in starts]
    arrays = (np.concatenate([part[field] for part in parts]) for field in range(3))
    return Selection(*arrays, _total(part.dropped for part in parts), _total(part.short for part in parts))


def _select(rows: Candidates, rule: NegativeRule, context: Context) -> Selection:
    """The selection of one block of queries."""
    check_ranking(rows, context)
    eligible, dropped = np.ones(rows.ids.shape, dtype=bool), {}
    for reason, is_refused in _refusals(rows, rule, context):
        dropped[reason] = np.count_nonzero(eligible & is_refused)
        eligible &= ~is_refused
    chosen = _draw(rows, eligible, rule)
    is_short = chosen.sum(axis=1) < rule.count
    dropped["not sampled"] = np.count_nonzero(eligible & ~chosen)
    if rule.on_short == "drop":
        dropped["query short of negatives"] = np.count_nonzero(chosen[is_short])
        chosen[is_short] = False
    ids, scores, ranks = _compact(rows, chosen, rule.count)
    if rule.on_short == "random" and is_short.any():
        _fill(rows, ids, scores, rule, context)
    return Selection(ids, scores, ranks, dropped, _outcome(ids, is_short, rule))


def _refusals(rows: Candidates, rule: NegativeRule, context: Context) -> Iterator[tuple[str, np.ndarray]]:
    """(reason, bool [r, k]) of each ground for refusal; a candidate is counted under the first that applies."""
    scores, positive = rows.scores, rows.positive
    yield "padding", rows.are_missing()
    for reason, lists in rows.excluded.items():
        yield reason, is_listed(rows.ids, lists)
    if rows.identities is not None:
        identities = context.passage_identities[rows.ids]  # a missing id, -1, reads the last: it is refused already
        yield "same identity", is_listed(identities, rows.identities) & (identities >= 0)
    yield "before the range", np.broadcast_to(np.arange(scores.shape[1]) < rule.range_start, scores.shape)
    yield from _beyond_bounds(scores, positive, rule)


def _beyond_bounds(scores: np.ndarray, positive: np.ndarray, rule: NegativeRule) -> Iterator[tuple[str, np.ndarray]]:
    """(reason, bool [r, k]) of each bound of the rule on scores [r, k], given the positives' [r, 1]."""
    if rule.relative_margin is not None:  # p - |p| m, not p (1 - m), which would rise above a negative p
        bound = positive - np.abs(positive) * rule.relative_margin
        yield "above relative margin", scores > bound.astype(scores.dtype)
    if rule.absolute_margin is not None:
        yield "above absolute margin", scores > (positive - rule.absolute_margin).astype(scores.dtype)
    if rule.max_score is not None:
        yield "above max_score", scores > rule.max_score
    if rule.min_score is not None:
        yield "below min_score", scores < rule.min_score


def _draw(rows: Candidates, eligible: np.ndarray, rule: NegativeRule) -> np.ndarray:
    """Which eligible candidates [r, k] are taken: the `count` of highest priority in each row."""
    surplus = eligible.shape[1] - rule.count
    if surplus <= 0:
        return eligible.copy()
    priorities = np.where(eligible, PRIORITIES[rule.sampling](rows, rule), -np.inf)
    best = np.argpartition(priorities, surplus, axis=1)[:, surplus:]
    chosen = np.zeros_like(eligible)
    np.put_along_axis(chosen, best, True, axis=1)
    return chosen & eligible


def _by_rank(rows: Candidates, rule: NegativeRule) -> np.ndarray:
    return -np.arange(rows.ids.shape[1], dtype=np.float64)


def _by_chance(rows: Candidates, rule: NegativeRule) -> np.ndarray:
    return uniforms(streams(rule.seed, rows.keys, SAMPLE)[:, None], rows.ids)


def _by_weight(rows: Candidates, rule: NegativeRule) -> np.ndarray:
    """The logarithm of SimANS's weight plus Gumbel noise: the highest are a draw by weight without replacement."""
    gap = np.where(rows.are_missing(), 0, rows.scores) - rows.positive - rule.simans_b
    return -rule.simans_a * gap**2 - np.log(-np.log(_by_chance(rows, rule)))


PRIORITIES = {"top": _by_rank, "uniform": _by_chance, "simans": _by_weight}


def _compact(rows: Candidates, chosen: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The chosen candidates in order of rank: (ids, scores, ranks), each [r, count] and padded."""
    row, rank = np.nonzero(chosen)
    place = (np.cumsum(chosen, axis=1) - 1)[row, rank]
    ids = np.full((len(chosen), count), -1, dtype=np.int64)
    scores = np.full(ids.shape, -np.inf, dtype=np.float32)
    ranks = ids.copy()
    ids[row, place], scores[row, place], ranks[row, place] = rows.ids[row, rank], rows.scores[row, rank], rank
    return ids, scores, ranks


def _fill(rows: Candidates, ids: np.ndarray, scores: np.ndarray, rule: NegativeRule, context: Context) -> None:
    """Fill short rows in place with passages that are neither excluded nor ranked: those ranked were judged already.

    Each turn offers more passages to the rows that are short still; those of all rows are scored at once.
    """
    size = corpus_size(context)
    if size is None:
        raise ConfigError(
            f"some queries have fewer than {rule.count} negatives, and filling up at random needs to know the corpus: "
            "pass Context(corpus_size=...), or on_short='fewer' or 'drop' in the rule"
        )
    looks = size if context.score_of is None else FILL_LOOKS
    beginnings, known = streams(rule.seed, rows.keys, FILL), np.count_nonzero(ids >= 0, axis=1)
    draws = {
        i: distinct_draws(beginnings[i : i + 1], size, rule.count - known[i], looks)
        for i in np.flatnonzero(known < rule.count).tolist()
    }
    while draws:
        offers = {i: offer for i, draw in draws.items() if (offer := next(draw, None)) is not None}
        free = [offer[_is_free(offer, i, rows, context.passage_identities)] for i, offer in offers.items()]
        row, passage = np.repeat(list(offers), [len(some) for some in free]), np.concatenate([*free, ids[:0, 0]])
        score, is_within = _scored(row, passage, rows, rule, context)
        row, passage, score = row[is_within], passage[is_within], score[is_within]
        for i in offers:
            begin, end = np.searchsorted(row, [i, i + 1])
            end = min(end, begin + rule.count - known[i])
            place = slice(known[i], known[i] + end - begin)
            ids[i, place], scores[i, place] = passage[begin:end], score[begin:end]
        draws = {i: draws[i] for i in offers if ids[i, -1] < 0}


def _is_free(ids: np.ndarray, row: int, rows: Candidates, passage_identities: np.ndarray | None) -> np.ndarray:
    """Which passages [n] are neither among the row's candidates nor excluded nor of its identity: bool [n]."""
    taken = np.concatenate([rows.ids[row], *(lists.row(row) for lists in rows.excluded.values())])
    is_free = ~np.isin(ids, taken)
    if rows.identities is not None:
        identities = passage_identities[ids]
        is_free &= ~np.isin(identities, rows.identities.row(row)) | (identities < 0)
    return is_free


def _scored(
    row: np.ndarray, passage: np.ndarray, rows: Candidates, rule: NegativeRule, context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of passages [n] for their rows [n], and whether they may fill these up: float32, bool [n].

    Without `score_of` scores are nan, and no bound applies.
    """
    query, is_within, scores = rows.first + row, np.ones(len(row), dtype=bool), np.full(len(row), np.nan, np.float32)
    if context.score_of is not None and len(row):
        scores = np.asarray(context.score_of(query, passage), np.float32)
        if scores.shape != row.shape or np.isnan(scores).any():
            raise ConfigError(f"score_of gives a number for each of {len(row)} passages; got {str(scores)[:60]}")
        for _, is_refused in _beyond_bounds(scores[:, None], rows.positive[row], rule):
            is_within &= ~is_refused[:, 0]
    if context.refuses is not None and is_within.any():
        is_within[is_within] = ~context.refuses(query[is_within], passage[is_within])
    return scores, is_within


def _outcome(ids: np.ndarray, is_short: np.ndarray, rule: NegativeRule) -> dict[str, int]:
    """How many of the queries that were short ended how; each is counted once."""
    if rule.on_short == "drop":
        return {"dropped": np.count_nonzero(is_short)}
    found = np.count_nonzero(ids[is_short] >= 0, axis=1)
    return {
        "filled at random": np.count_nonzero(found == rule.count),
        "given fewer": np.count_nonzero((found > 0) & (found < rule.count)),
        "without any": np.count_nonzero(found == 0),
    }


def _total(counts: Iterator[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return {reason: int(count) for reason, count in total.items() if count}
