"""Ranks in a pool, and the choice of the pool, against plain loops."""

from itertools import product

import numpy as np
import pytest

from bioemb.errors import ConfigError, ModelError
from bioemb.mining import ranking
from bioemb.mining.ranking import SmallestKeys, pool_keys, true_ranks

# Unit vectors whose products are exact in binary: ties are ties.
LATTICE = np.array([*np.eye(4), *-np.eye(4), *product([0.5, -0.5], repeat=4)], dtype=np.float32)


def naive_rank(query, passage, labels, pool, pool_labels) -> int:
    others = [other for other, known in zip(pool, pool_labels, strict=True) if not (labels == known).any()]
    return 1 + sum(float(query @ other) > float(query @ passage) for other in others)


def test_the_rank_counts_the_others_of_the_pool_that_score_higher():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        queries, passages, pool = (LATTICE[rng.integers(0, len(LATTICE), size)] for size in (5, 5, rng.integers(0, 30)))
        labels, pool_labels = rng.integers(0, 9, (5, 2)), rng.integers(0, 9, (len(pool), 2))
        naive = [naive_rank(*of, pool, pool_labels) for of in zip(queries, passages, labels, strict=True)]
        cuts = np.sort(rng.integers(0, len(pool) + 1, 2))
        blocks = zip(np.split(pool, cuts), np.split(pool_labels, cuts), strict=True)
        ranks = true_ranks(queries, np.einsum("qd,qd->q", queries, passages), labels, blocks)
        assert ranks.tolist() == naive, f"seed {seed}"


def test_what_is_better_by_rounding_only_does_not_lower_a_rank():
    rng = np.random.default_rng(3)
    queries, passages, others = (rng.standard_normal((rows, 40)).astype(np.float32) for rows in (700, 700, 300))
    queries, passages, others = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, passages, others))
    own = np.einsum("qd,qd->q", queries.astype(np.float64), passages.astype(np.float64))
    pool = np.concatenate([passages, others, passages[::-1]])  # copies, under labels of their own
    labels, pool_labels = np.full((700, 1), -1), np.zeros((len(pool), 1), np.int64)
    whole = queries.astype(np.float64) @ pool.T.astype(np.float64)
    ranks = true_ranks(queries, own.astype(np.float32), labels, [(pool, pool_labels)])
    assert ranks.tolist() == (1 + (whole > own[:, None] + 1e-6).sum(axis=1)).tolist()


def test_ranks_of_what_does_not_match_are_refused():
    labels, nothing = np.zeros((5, 1), np.int64), []
    with pytest.raises(ConfigError, match="5 queries have 4 scores"):
        true_ranks(LATTICE[:5], np.ones(4), labels, nothing)
    with pytest.raises(ModelError, match="width 3"):
        true_ranks(LATTICE[:5], np.ones(5), labels, [(np.eye(3, dtype=np.float32), labels[:3])])


def test_the_smallest_keys_are_those_of_a_sort_however_they_come(monkeypatch):
    monkeypatch.setattr(ranking, "MERGED_AT_ONCE", 10)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        keys = rng.integers(0, 60, rng.integers(0, 90)).astype(np.uint64)
        count = int(rng.integers(1, 40))
        smallest = SmallestKeys(count)
        for part in np.split(keys, np.sort(rng.integers(0, len(keys) + 1, 4))):
            smallest.add(part)
        assert smallest.result().tolist() == sorted(set(keys.tolist()))[:count], f"seed {seed}"


def test_pool_keys_are_one_to_one_and_another_seed_orders_texts_anew():
    texts = np.random.default_rng(0).permutation(2**40 + np.arange(5000))
    keys = pool_keys(texts, seed=3)
    assert len(np.unique(keys)) == 5000
    assert pool_keys(texts[::-1], seed=3).tolist() == keys[::-1].tolist()
    first, second = (set(texts[np.argsort(pool_keys(texts, seed))[:1000]].tolist()) for seed in (3, 4))
    assert 130 < len(first & second) < 270  # by chance 200 of 1,000; the standard deviation is 11
