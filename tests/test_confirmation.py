"""Negatives that a second scorer confirms, against scoring all candidates beforehand."""

from dataclasses import replace

import numpy as np
import pytest

from bioemb.errors import ConfigError
from bioemb.mining import NegativeRule, select_negatives
from bioemb.mining.confirmation import is_vetoed, select_confirmed
from bioemb.mining.negatives import Context


def test_a_negative_is_vetoed_above_the_lowest_positive_less_the_margin():
    scores = np.float32([[1.0, 2.0, 2.5, np.nan], [-3.0, -1.0, 0.0, 9.0]])
    positives = [[4.0, 3.0], [0.5]]
    assert is_vetoed(scores, positives, 1.0).tolist() == [[False, False, True, False], [False, False, True, True]]
    assert is_vetoed(scores, positives, -1.0).tolist() == [[False] * 4, [False, False, False, True]]
    assert not is_vetoed(scores, positives, None).any()
    with pytest.raises(ConfigError, match="positive_scores has 1 rows"):
        is_vetoed(scores, positives[:1], 1.0)


def wider(rule: NegativeRule, spare: int) -> NegativeRule:
    return replace(rule, count=rule.count + spare)


def world(seed: int):
    """A ranking [q, k] of a corpus, ragged positives, and the second scorer's opinion of everything [q, m]."""
    rng = np.random.default_rng(seed)
    queries, corpus = int(rng.integers(1, 8)), int(rng.integers(20, 60))
    k = int(rng.integers(8, 20))
    ids = np.stack([rng.permutation(corpus)[:k] for _ in range(queries)])
    scores = -np.sort(-rng.uniform(-1, 1, (queries, k)).astype(np.float32))
    positives = [rng.choice(corpus, rng.integers(1, 4), replace=False) for _ in range(queries)]
    return rng, corpus, ids, scores, positives, rng.normal(size=(queries, corpus)).astype(np.float32)


@pytest.mark.parametrize("on_short", ["fewer", "drop", "random"])
@pytest.mark.parametrize("sampling", ["uniform", "top"])
def test_the_outcome_is_that_of_scoring_all_candidates_beforehand(sampling, on_short):
    for seed in range(100):
        rng, corpus, ids, scores, positives, opinion = world(seed)
        rule = NegativeRule(1, ids.shape[1], count=4, sampling=sampling, on_short=on_short, seed=seed)
        margin, asked = float(rng.uniform(-1, 1)), []

        def select(rows, vetoed, spare, ids=ids, scores=scores, positives=positives, rule=rule, corpus=corpus):
            excluded = {"own": [positives[row] for row in rows], "vetoed": vetoed}
            return select_negatives(scores[rows], ids[rows], excluded, None, wider(rule, spare), Context(rows, corpus))

        def score(rows, passages, opinion=opinion, asked=asked):
            asked += zip(rows.tolist(), passages.tolist(), strict=True)
            return opinion[rows, passages]

        confirmed = select_confirmed(select, score, positives, margin)
        lowest = np.array([opinion[row, own].min() for row, own in enumerate(positives)])
        naive = select(
            np.arange(len(ids)),
            [np.flatnonzero(some > bound - margin) for some, bound in zip(opinion, lowest, strict=True)],
            0,
        )
        assert np.array_equal(confirmed.selection.ids, naive.ids), f"seed {seed}"
        rows, places = np.nonzero(naive.ids >= 0)
        assert np.array_equal(confirmed.negative_scores[rows, places], opinion[rows, naive.ids[rows, places]])
        assert np.isnan(confirmed.negative_scores[naive.ids < 0]).all()
        drawn = {(row, number) for row, number in asked if opinion[row, number] > lowest[row] - margin}
        assert confirmed.vetoed == len(drawn - {(row, number) for row, own in enumerate(positives) for number in own})
        for row, own in enumerate(positives):
            assert np.array_equal(confirmed.positive_scores[row], opinion[row, own])


def test_only_what_is_drawn_is_scored():
    _, corpus, ids, scores, positives, opinion = world(7)
    rule, asked = NegativeRule(0, ids.shape[1], count=2, on_short="fewer"), set()

    def score(rows, passages):
        asked.update(zip(rows.tolist(), passages.tolist(), strict=True))
        return opinion[rows, passages]

    found = select_confirmed(
        lambda rows, vetoed, spare: select_negatives(
            scores[rows],
            ids[rows],
            {"own": [positives[row] for row in rows], "vetoed": vetoed},
            None,
            rule,
            Context(rows),
        ),
        score,
        positives,
        None,
    )
    drawn = {(row, number) for row, some in enumerate(found.selection.ids.tolist()) for number in some if number >= 0}
    assert asked == drawn | {(row, number) for row, own in enumerate(positives) for number in own.tolist()}


def test_fills_that_are_vetoed_again_and_again_are_scored_in_batches():
    """Once one after the other, each in a batch of its own: as many calls as passages."""
    scores, ids, calls = np.float32([[0.9], [0.8]]), np.array([[0], [0]]), []
    rule, good = NegativeRule(0, 1, count=2), [1234, 1777]

    def score(rows, passages):
        calls.append(len(passages))
        return np.where((rows == 0) | np.isin(passages, [5, *good]), 0.0, 9.0)

    def select(rows, vetoed, spare):
        excluded = {"own": [[5]] * len(rows), "vetoed": vetoed}
        return select_negatives(scores[rows], ids[rows], excluded, None, wider(rule, spare), Context(rows, 2000))

    found = select_confirmed(select, score, [[5], [5]], -1.0)
    assert sorted(found.selection.ids[1].tolist()) == good
    assert len(calls) < 20 and 1000 < found.vetoed <= 1998
