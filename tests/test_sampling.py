"""Batches and groups: every row once, the same from any process and any restart, FlagEmbedding's rule of copies."""

import random
from collections import Counter
from math import ceil

import numpy as np
import pytest

from bioemb.data.sampling import Part, choose_group, epoch_batches, share, temperature_weights


def pools_case(seed):
    """(pools of row numbers, of very different sizes and not in order, batch size)."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, int(rng.integers(1, 5)))
    rows = rng.permutation(int(sizes.sum()) + 7)[: sizes.sum()]
    return np.split(rows, np.cumsum(sizes)[:-1]), int(rng.integers(1, 12))


def row_batches(pools, size, seed, epoch, drop_last):
    """The rows of each batch where every pool is one set, taken once an epoch."""
    batches = epoch_batches([[Part(rows)] for rows in pools], size, seed, epoch, drop_last)
    assert all((batch[:, 0] == epoch).all() for batch in batches)
    return [batch[:, 1] for batch in batches]


# Batches


def test_every_row_comes_exactly_once_in_an_epoch():
    for seed in range(100):
        pools, size = pools_case(seed)
        batches = row_batches(pools, size, seed, epoch=seed % 3, drop_last=False)
        assert sorted(np.concatenate(batches).tolist()) == sorted(np.concatenate(pools).tolist())
        assert all(1 <= len(batch) <= size for batch in batches)
        assert len(batches) == sum(ceil(len(rows) / size) for rows in pools)


def test_batches_that_are_not_full_are_left_out_when_asked():
    for seed in range(100):
        pools, size = pools_case(seed)
        batches = row_batches(pools, size, seed, 0, drop_last=True)
        assert [len(batch) for batch in batches] == [size] * sum(len(rows) // size for rows in pools)
        everything = [row for batch in batches for row in batch.tolist()]
        assert len(set(everything)) == len(everything) and set(everything) <= set(np.concatenate(pools).tolist())


def test_a_batch_never_mixes_pools():
    for seed in range(100):
        pools, size = pools_case(seed)
        pool_of = {int(row): number for number, rows in enumerate(pools) for row in rows}
        for batch in row_batches(pools, size, seed, 1, drop_last=False):
            assert len({pool_of[int(row)] for row in batch}) == 1


def test_pools_take_turns_at_random():
    pools = [np.arange(0, 60), np.arange(100, 160)]
    from_first = [bool(batch[0] < 100) for batch in row_batches(pools, 4, 0, 0, False)]
    assert from_first != sorted(from_first) and from_first != sorted(from_first, reverse=True)


def test_an_epoch_is_a_function_of_seed_and_number_alone():
    def rows(pools, seed, epoch):
        return [batch.tolist() for batch in row_batches(pools, 3, seed, epoch, False)]

    for pools in ([np.arange(20)], [np.arange(20), np.arange(50, 61)]):
        assert rows(pools, 1, 0) == rows(pools, 1, 0)
        assert len({str(rows(pools, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
        whatever_the_turn = {str(sorted(rows(pools, 1, epoch))) for epoch in range(4)}
        assert len(whatever_the_turn) == 4  # other batches, not only the same ones in another order


# Weights


@pytest.mark.parametrize("weight", [0.3, 0.5, 1.0, 1.7, 3.0])
def test_a_weighted_set_gives_every_row_once_before_any_comes_again(weight):
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(60)[: 11 + seed]
        part = Part(rows, weight)
        epochs = [part.of_epoch(seed, epoch, 2) for epoch in range(9)]
        assert {len(keys) for keys in epochs} == {round(weight * len(rows))}  # every epoch as long
        every = np.concatenate(epochs)
        assert every[:, 0].tolist() == sorted(every[:, 0].tolist())
        for turn in range(int(every[-1, 0])):  # the last pass may be unfinished
            assert sorted(every[every[:, 0] == turn, 1].tolist()) == sorted(rows.tolist())
        assert len({tuple(key) for key in every.tolist()}) == len(every)


def test_a_part_of_a_set_is_another_one_in_the_next_epoch_and_for_another_seed():
    part = Part(np.arange(100), 0.25)
    drawn = [frozenset(part.of_epoch(seed, epoch, 0)[:, 1].tolist()) for seed in (0, 1) for epoch in (0, 1, 4, 5)]
    assert len(set(drawn)) == 8


def test_sets_of_a_pool_meet_in_their_batches_by_weight():
    pool = [Part(np.arange(40), 0.5), Part(np.arange(100, 110), 3.0), Part(np.empty(0, np.int64), 2.0)]
    batches = epoch_batches([pool], 8, 0, 1, False)
    rows = np.concatenate(batches)[:, 1]
    assert (rows < 100).sum() == 20 and Counter(rows[rows >= 100].tolist()) == dict.fromkeys(range(100, 110), 3)
    assert sum(len({row < 100 for row in batch[:, 1]}) == 2 for batch in batches) > 4


def test_temperature_moves_the_shares_towards_equal_ones():
    sizes = [1000, 100, 0, 10]
    assert temperature_weights(sizes, 1) == pytest.approx([1, 1, 0, 1])
    assert temperature_weights(sizes, 1e9) == pytest.approx([0.37, 3.7, 0, 37], rel=1e-6)
    taken = [size * weight for size, weight in zip(sizes, temperature_weights(sizes, 2), strict=True)]
    assert sum(taken) == pytest.approx(1110) and taken[0] / taken[3] == pytest.approx(10)


def test_shares_of_the_processes_in_order_are_the_batch():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        batch, processes = rng.permutation(int(rng.integers(0, 40))), int(rng.integers(1, 9))
        shares = [share(batch, rank, processes) for rank in range(processes)]
        assert np.concatenate(shares).tolist() == batch.tolist()
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


# Groups


def flag_embedding_counts(negatives, needed, rng):
    """How often each negative is taken by FlagEmbedding's rule, as its source reads."""
    copies = ceil(needed / negatives) if negatives < needed else 1
    return Counter(rng.sample(list(range(negatives)) * copies, needed))


def test_a_group_is_one_positive_and_negatives_by_the_peers_rule():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        positives, negatives, size = (int(n) for n in rng.integers(1, [6, 12, 20]))
        positive, chosen = choose_group(positives, negatives, size, (seed, 0, 17))
        assert 0 <= positive < positives and len(chosen) == size - 1
        counts = Counter(chosen.tolist())
        assert set(counts) <= set(range(negatives))
        assert max(counts.values(), default=0) <= ceil((size - 1) / negatives)


@pytest.mark.parametrize(("negatives", "needed"), [(3, 7), (5, 3), (4, 4), (2, 5)])
def test_counts_of_copies_are_as_frequent_as_the_peers(negatives, needed):
    rng, trials = random.Random(0), 4000
    peer = Counter(tuple(sorted(flag_embedding_counts(negatives, needed, rng).values())) for _ in range(trials))
    ours = Counter(
        tuple(sorted(Counter(choose_group(1, negatives, needed + 1, (0, 0, key))[1].tolist()).values()))
        for key in range(trials)
    )
    assert set(ours) == set(peer)
    for counts, n in peer.items():
        assert abs(ours[counts] - n) < 5 * (2 * trials * 0.25) ** 0.5  # five standard deviations


def test_positives_and_negatives_are_drawn_evenly():
    trials = 6000
    positives, negatives = Counter(), Counter()
    for key in range(trials):
        positive, chosen = choose_group(3, 6, 3, (7, 0, key))
        positives[positive] += 1
        negatives.update(chosen.tolist())
    for counts, expected in ((positives, trials / 3), (negatives, trials * 2 / 6)):
        assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_a_group_of_one_is_the_positive_alone_and_needs_no_negatives():
    assert choose_group(1, 0, 1, (0, 0, 0))[1].tolist() == []
    with pytest.raises(ValueError, match="no negatives"):
        choose_group(2, 0, 2, (0, 0, 0))


def test_a_group_is_a_function_of_its_key_alone():
    def group(*key):
        positive, negatives = choose_group(50, 50, 4, key)
        return positive, *negatives.tolist()

    assert group(1, 2, 3) == group(1, 2, 3)
    assert len({group(*key) for key in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 2, 2**63 - 1)]}) == 5
