"""Chance in mining: the stream is SplitMix64, and what is drawn with it has the shares it should have."""

import math
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
from naive_miner import chance

from bioemb.mining import Context, NegativeRule, select_negatives
from bioemb.mining.draws import distinct_draws, outputs, streams, uniforms


def chi_square(counts, expected):
    counts, expected = np.asarray(counts, dtype=float), np.asarray(expected, dtype=float)
    return ((counts - expected) ** 2 / expected).sum()


def test_uniform_sampling_takes_each_rank_of_the_range_equally_often():
    queries, k = 20_000, 24
    scores, ids = np.tile(np.linspace(0.9, 0.1, k), (queries, 1)), np.tile(np.arange(k)[::-1], (queries, 1))
    rule = NegativeRule(4, 24, count=3, seed=3)
    ranks = select_negatives(scores, ids, [[]] * queries, None, rule).ranks
    counts = np.bincount(ranks.ravel(), minlength=k)
    assert counts[:4].sum() == 0
    assert chi_square(counts[4:], np.full(20, 3 * queries / 20)) < 45  # 19 degrees of freedom: one in 1000 is 43.8


def test_simans_draws_by_its_weights_without_replacement():
    queries, cosines, positive = 20_000, np.array([0.7, 0.6, 0.55, 0.3]), 0.6
    scores, ids = np.tile(cosines, (queries, 1)), np.tile(np.arange(4), (queries, 1))
    rule = NegativeRule(0, 4, count=2, sampling="simans", simans_a=20.0, simans_b=-0.05)
    selection = select_negatives(scores, ids, [[]] * queries, np.full(queries, positive), rule)
    weights = np.exp(-20.0 * (cosines - positive + 0.05) ** 2)
    expected = Counter()
    for first, second in permutations(range(4), 2):  # the first by weight, the second by the weights that are left
        share = weights[first] / weights.sum() * weights[second] / (weights.sum() - weights[first])
        expected[tuple(sorted((first, second)))] += queries * share
    counts = Counter(map(tuple, selection.ranks.tolist()))
    assert chi_square([counts[pair] for pair in expected], list(expected.values())) < 20.5  # 5 degrees of freedom


def test_random_filling_takes_each_free_passage_equally_often():
    queries = 6_000
    scores, ids = np.tile(np.float32([[0.9, 0.8]]), (queries, 1)), np.tile([[0, 1]], (queries, 1))
    for size in (12, 100):  # by a permutation of all, and by single draws
        rule = NegativeRule(0, 2, count=5)
        selection = select_negatives(scores, ids, [[2]] * queries, None, rule, Context(corpus_size=size))
        counts = np.bincount(selection.ids[:, 2:].ravel(), minlength=size)
        assert counts[:3].sum() == 0
        freedom = size - 4
        expected = np.full(size - 3, 3 * queries / (size - 3))
        assert chi_square(counts[3:], expected) < freedom + 4 * math.sqrt(2 * freedom)


def test_streams_are_splitmix64():
    """The published first outputs for the state 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert outputs(np.array([1234567], dtype=np.uint64), np.arange(4)).tolist() == published
    keys = np.array([0, 5, -3])
    drawn = uniforms(streams(42, keys)[:, None], np.tile([0, 9], (3, 1)))
    assert drawn.tolist() == [[chance(42, key, item) for item in (0, 9)] for key in keys.tolist()]


def test_draws_grow_to_all_ids_of_a_small_corpus():
    *several, last = distinct_draws(streams(1, np.array([8])), 1000, 30, looks=1000)
    assert [len(ids) for ids in several] == sorted({len(ids) for ids in several}) and len(several) == 2
    assert sorted(last) == list(range(1000))
    for before, after in pairwise(several):
        assert after[: len(before)].tolist() == before.tolist()
    for ids in several:
        assert len(set(ids.tolist())) == len(ids) and max(ids) < 1000
