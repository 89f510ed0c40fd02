"""Consistency of pairs: rules against values by hand and plain loops."""

import math
from itertools import product

import numpy as np
import pytest

from bioemb.errors import ConfigError, ModelError
from bioemb.mining import is_consistent
from bioemb.mining.consistency import (
    BestShare,
    ConsistencyRule,
    cosine_keeping,
    pair_cosines,
    shuffled_partners,
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


def test_the_best_share_of_a_stream_is_exact_and_the_first_of_equal_scores_belong_to_it():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores = np.round(rng.uniform(-1, 1, rng.integers(1, 60)), 1).astype(np.float32)  # many are equal
        share = float(rng.choice([0, 0.07, 0.3, 0.5, 0.9, 1]))
        best = BestShare(rng.permutation(scores), share)
        count = math.ceil(round(share * len(scores), 9))
        naive = set(sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:count])
        parts = np.split(scores, np.sort(rng.integers(0, len(scores), 3)))
        admitted = np.concatenate([best.admit(part) for part in parts])
        assert set(np.flatnonzero(admitted).tolist()) == naive, f"seed {seed}"


def test_a_pair_is_dropped_for_the_first_reason_that_applies():
    scores, ranks = np.float32([0.9, np.nan, 0.2, 0.6, 0.6, 0.9]), np.array([1, -1, 9, 1, 9, 3])
    rule = ConsistencyRule(0.5, BestShare(scores[~np.isnan(scores)], 0.5), 2)
    reasons = [None, "an empty side", "cosine below 0.5", None, "not of the best 0.5", "rank above 2"]
    assert rule.reasons_to_drop(scores, ranks).tolist() == reasons  # 3 of 5: both of 0.9, and the first of 0.6
    assert ConsistencyRule().reasons_to_drop(scores).tolist() == [None, "an empty side", None, None, None, None]


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
