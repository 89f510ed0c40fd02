"""Consistency of pairs: rules and statistics against values by hand and plain loops."""

import json
import math
from itertools import product

import numpy as np
import pytest

from bioemb.errors import ConfigError, ModelError
from bioemb.mining import is_consistent
from bioemb.mining.consistency import (
    area_under_curve,
    cosine_keeping,
    pair_cosines,
    score_statistics,
    shuffled_partners,
    true_ranks,
)

# Unit vectors whose products are exact in binary: ties are ties.
LATTICE = np.array([*np.eye(4), *-np.eye(4), *product([0.5, -0.5], repeat=4)], dtype=np.float32)


def unit_vectors(rows: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_pair_is_kept_at_its_bounds_and_dropped_beyond_either():
    scores, ranks = np.float32([0.7, 0.7, 0.69, 0.9, np.nan]), np.array([2, 3, 1, 1, 1])
    assert is_consistent(scores, ranks, min_cosine=0.7, max_rank=2).tolist() == [True, False, False, True, False]
    assert is_consistent(scores, None, min_cosine=0.7).tolist() == [True, True, False, True, False]
    assert is_consistent(scores, ranks, max_rank=1).tolist() == [False, False, True, True, False]


def test_without_rules_only_nan_is_dropped():
    assert is_consistent(np.array([-1.0, np.nan, 0.2])).tolist() == [True, False, True]


def test_a_rank_rule_without_ranks_is_refused():
    with pytest.raises(ConfigError, match="max_rank is 2, but no ranks were computed"):
        is_consistent(np.array([0.5]), max_rank=2)


def test_the_cosine_that_keeps_a_share_keeps_just_that():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores = rng.uniform(-1, 1, rng.integers(1, 60)).astype(np.float32)
        share = float(rng.choice([0, 0.07, 0.3, 0.5, 0.9, 1]))
        kept = is_consistent(scores, min_cosine=cosine_keeping(scores, share)).sum()
        assert kept == math.ceil(round(share * len(scores), 9)), f"seed {seed}"
    with pytest.raises(ConfigError, match="share to keep is 75"):
        cosine_keeping(scores, 75)


def test_pair_cosines_equal_a_plain_loop_and_ignore_the_other_pairs():
    queries, passages = unit_vectors(1300, 20, seed=1), unit_vectors(1300, 20, seed=2)
    scores = pair_cosines(queries, passages)
    naive = [
        sum(a * b for a, b in zip(q, p, strict=True)) for q, p in zip(queries.tolist(), passages.tolist(), strict=True)
    ]
    np.testing.assert_allclose(scores, naive, atol=1e-7)
    for rows in (slice(0, 1), slice(1020, 1030), slice(5, 1300)):
        np.testing.assert_array_equal(pair_cosines(queries[rows], passages[rows]), scores[rows])


def test_pairs_that_do_not_match_are_refused():
    with pytest.raises(ConfigError, match="5 queries and 4 passages"):
        pair_cosines(LATTICE[:5], LATTICE[:4])
    with pytest.raises(ModelError, match="vector 1 .* has length 2"):
        pair_cosines(LATTICE[:2], LATTICE[:2] * np.float32([[1], [2]]))


def test_the_true_rank_counts_the_pool_passages_that_score_higher():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        queries, passages, pool = (LATTICE[rng.integers(0, len(LATTICE), size)] for size in (5, 5, rng.integers(0, 30)))
        naive = [
            1 + sum(float(q @ other) > float(q @ p) for other in pool) for q, p in zip(queries, passages, strict=True)
        ]
        assert true_ranks(queries, passages, pool).tolist() == naive, f"seed {seed}"


def test_copies_of_the_true_passage_in_the_pool_do_not_lower_its_rank():
    queries, passages = unit_vectors(1500, 40, seed=3), unit_vectors(1500, 40, seed=4)
    pool = np.concatenate([passages, unit_vectors(4000, 40, seed=5), passages[::-1]])
    whole = queries.astype(np.float64) @ pool.T.astype(np.float64)
    own = np.einsum("qd,qd->q", queries.astype(np.float64), passages.astype(np.float64))
    assert true_ranks(queries, passages, pool).tolist() == (1 + (whole > own[:, None] + 1e-6).sum(axis=1)).tolist()


def test_shuffled_partners_are_a_permutation_without_pairs_of_one_article():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        articles = rng.integers(0, 2**62, rng.integers(2, 20))
        keys = rng.permutation(np.repeat(articles, rng.integers(1, 4, len(articles))))
        partners = shuffled_partners(keys, seed)
        assert sorted(partners.tolist()) == list(range(len(keys)))
        largest = np.unique(keys, return_counts=True)[1].max()
        if 2 * largest <= len(keys):
            assert (keys[partners] != keys).all(), f"seed {seed}"


def test_shuffled_partners_depend_on_keys_and_seed_and_not_on_order():
    keys = np.random.default_rng(1).permutation(10**6)[:50]

    def partner_of_key(keys, seed):
        return dict(zip(keys.tolist(), keys[shuffled_partners(keys, seed)].tolist(), strict=True))

    assert partner_of_key(keys, 3) == partner_of_key(keys[::-1].copy(), 3) != partner_of_key(keys, 4)


def test_the_area_under_the_curve_is_the_share_of_won_comparisons():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        pairs, others = (np.round(rng.normal(mean, 0.3, rng.integers(1, 30)), 1) for mean in (0.4, 0.1))
        won = [(pair > other) + 0.5 * (pair == other) for pair, other in product(pairs.tolist(), others.tolist())]
        assert area_under_curve(pairs, others) == pytest.approx(sum(won) / len(won)), f"seed {seed}"
    with pytest.raises(ConfigError, match="at least one of each"):
        area_under_curve(pairs, others[:0])


def test_statistics_are_those_computed_by_hand():
    scores = np.float32([-0.99, 0.52, 0.75, 0.76, 0.97, 1.0000001])
    statistics = score_statistics(scores, np.float32([0.1, 0.6]))
    assert statistics["count"] == 6
    assert statistics["mean"] == pytest.approx((-0.99 + 0.52 + 0.75 + 0.76 + 0.97 + 1) / 6, abs=1e-6)
    assert statistics["percentiles"]["50"] == pytest.approx(0.755, abs=1e-6)
    kept = dict.fromkeys(("0.55", "0.60", "0.65", "0.70", "0.75"), 4) | dict.fromkeys(
        ("0.80", "0.85", "0.90", "0.95"), 2
    )
    assert statistics["kept_share"] == {threshold: count / 6 for threshold, count in {"0.50": 5, **kept}.items()}
    histogram = statistics["histogram"]
    filled = {left: n for left, n in zip(histogram["edges"], histogram["counts"], strict=False) if n}
    assert filled == {-1.0: 1, 0.5: 1, 0.75: 2, 0.95: 2}
    assert (len(histogram["edges"]), len(histogram["counts"])) == (41, 40)
    assert statistics["shuffled"]["kept_share"]["0.55"] == 0.5
    assert statistics["auc"] == pytest.approx(9 / 12)
    assert json.loads(json.dumps(statistics)) == statistics


def test_statistics_of_nothing_are_a_count_and_of_nan_are_refused():
    assert score_statistics(np.empty(0)) == {"count": 0}
    with pytest.raises(ConfigError, match="score 1 .* is not finite"):
        score_statistics(np.array([0.1, np.nan]))
