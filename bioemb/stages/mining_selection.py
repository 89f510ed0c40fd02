"""What each row of a mining run is given: of its neighbours, by the rule, confirmed where there is a cross-encoder."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from bioemb.blocks import BlockFolder
from bioemb.mining import NegativeRule, Selection, select_negatives
from bioemb.mining.confirmation import Confirmed
from bioemb.mining.consistency import pair_cosines
from bioemb.mining.near_duplicates import COMPARED_PAIRS, is_near_duplicate, select_without_copies
from bioemb.mining.negatives import Context
from bioemb.mining.search import merge_keys
from bioemb.records import stable_hash
from bioemb.stages.mining_search import Vectors
from bioemb.stages.mining_tables import Tables
from bioemb.stages.reranking import VETOED, Reranking

NEAR_DUPLICATE = "near-duplicate of a positive"  # the reason that candidates are counted under


class Choice(NamedTuple):
    """The negatives of a block of b rows."""

    selection: Selection  # [b, count]
    positives: list[list[int]]  # the numbers of each row's positives
    positive_scores: list[np.ndarray]  # their cosines
    confirmed: Confirmed | None  # where there is a cross-encoder

    def teacher_scores(self, row: int) -> tuple[list[float], list[float]]:
        """The cross-encoder's scores of a row's positives and of its negatives."""
        negatives = self.confirmed.negative_scores[row][self.selection.ids[row] >= 0]
        return self.confirmed.positive_scores[row].tolist(), negatives.tolist()


class Chooser(NamedTuple):
    """All that the choice is made from."""

    tables: Tables
    vectors: Vectors
    neighbours: list[BlockFolder]
    rule: NegativeRule
    reranking: Reranking | None
    max_positive_similarity: float | None = None  # a passage as close to a positive is a copy of it

    @property
    def blocks(self) -> int:
        """How many blocks of rows there are."""
        return self.vectors.queries.count

    @property
    def reach(self) -> int:
        """The number of ranks that are looked at: the corpus may end before the range does."""
        return min(self.rule.range_stop, self.tables.searched)

    def choose(self, index: int) -> Choice:
        """The negatives of one block of rows."""
        span = self.vectors.queries.span(index)
        rows = self.tables.rows[span.start : span.stop]
        queries = self.vectors.queries.read(index)
        positive_scores = _positive_scores(queries, self.vectors.passages, rows["positives"])
        select = self._selector(index, rows, queries, positive_scores)
        if self.reranking is None:
            return Choice(select(np.arange(len(rows["query"])), None, 0), rows["positives"], positive_scores, None)
        confirmed = self.reranking.confirm(index, span.start, rows, select, self.tables.passages)
        return Choice(confirmed.selection, rows["positives"], positive_scores, confirmed)

    def _selector(
        self, index: int, block: dict, queries: np.ndarray, positive_scores: list
    ) -> Callable[..., Selection]:
        """From some of the block's rows and lists of passages vetoed for them (None: no veto), and a number of
        negatives beyond the rule's, to their selection."""
        span, tables = self.vectors.queries.span(index), self.tables
        scores, ids = merge_keys([found.read(index) for found in self.neighbours], self.reach)
        positives = block["positives"]
        exclusions = {
            "positive or same text": [tables.exclusions.same_text(row) for row in range(span.start, span.stop)],
            "same article or linked": [
                tables.exclusions.same_identity(articles) for articles in _articles(tables, span, block["identity"])
            ],
        }
        row_keys = np.array(
            [stable_hash(json.dumps([query, own])) for query, own in zip(block["query"], positives, strict=True)]
        )

        bound = self.max_positive_similarity

        def select(rows: np.ndarray, vetoed: list | None, spare: int, copies: list | None = None) -> Selection:
            excluded = {reason: _some(lists, rows) for reason, lists in exclusions.items()}
            excluded |= {NEAR_DUPLICATE: copies, VETOED: vetoed}
            rule = replace(self.rule, count=self.rule.count + spare)
            own = _some(positive_scores, rows)
            context = Context(
                row_keys[rows],
                tables.searched,
                score_of=partial(self._cosines, queries[rows]),
                refuses=None if bound is None else partial(self._are_copies, _some(positives, rows)),
            )
            return select_negatives(scores[rows], ids[rows], excluded, own, rule, context)

        def select_others(rows: np.ndarray, vetoed: list | None, spare: int) -> Selection:
            take = self.vectors.passages.take
            return select_without_copies(partial(select, rows, vetoed, spare), _some(positives, rows), take, bound)

        return select if bound is None else select_others

    def _are_copies(self, positives: list[list[int]], rows: np.ndarray, passages: np.ndarray) -> np.ndarray:
        """Which passages [n] nearly copy a positive of their row [n]: bool [n]."""
        own, take = _some(positives, rows), self.vectors.passages.take
        return is_near_duplicate(passages[:, None], own, take, self.max_positive_similarity)[:, 0]

    def _cosines(self, queries: np.ndarray, rows: np.ndarray, passages: np.ndarray) -> np.ndarray:
        """Of some of the queries [q, d], by number [n], with a passage each [n]: float32 [n]."""
        result = np.empty(len(rows), np.float32)
        order = np.argsort(passages, kind="stable")  # a block of vectors is read once, or few times
        for begin in range(0, len(order), COMPARED_PAIRS):
            some = order[begin : begin + COMPARED_PAIRS]
            result[some] = pair_cosines(queries[rows[some]], self.vectors.passages.take(passages[some]))
        return result


def _some(lists: list, rows: np.ndarray) -> list:
    return [lists[row] for row in rows.tolist()]


def _articles(tables: Tables, span: slice, identities: list[int | None]) -> Iterator[list[int]]:
    """The identities of each row and of the positives of all rows of its query, as far as they are known."""
    of_query: dict[int, set[int]] = {}
    for row, identity in zip(range(span.start, span.stop), identities, strict=True):
        query = int(tables.exclusions.query_texts[row])
        if query not in of_query:
            known, is_known = tables.identities.of(tables.exclusions.positives(row))
            of_query[query] = set(known[is_known].tolist())
        yield sorted(of_query[query] | ({identity} - {None}))


def _positive_scores(queries: np.ndarray, passages: BlockFolder, positives: list[list[int]]) -> list[np.ndarray]:
    """Cosines of each query [b, d] with its positives, as ragged rows."""
    counts = [len(some) for some in positives]
    vectors = passages.take(np.concatenate([np.asarray(some) for some in positives]))
    scores = pair_cosines(np.repeat(queries, counts, axis=0), vectors)
    return np.split(scores, np.cumsum(counts)[:-1])
