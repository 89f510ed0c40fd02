"""Counted cosines and ranks against NumPy on all of them, and against values by hand."""

import json
from itertools import product

import numpy as np
import pytest

from bioemb.errors import ConfigError
from bioemb.mining.score_statistics import BINS, NARROW, CosineCounts, RankCounts, area_under_curve

HALF_A_BIN = 1 / (BINS * NARROW) + 1e-5  # and the rounding to five digits


def counted(scores: np.ndarray, parts: int = 1) -> CosineCounts:
    counts = CosineCounts()
    for part in np.array_split(scores, parts):
        counts.add(part)
    return counts


def test_percentiles_are_those_of_all_scores_to_half_a_bin():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scores = rng.normal(rng.uniform(-0.5, 0.9), 0.2, rng.integers(1, 200)).clip(-1, 1).astype(np.float32)
        percentiles = counted(scores, 3).as_dict()["percentiles"]
        for percent, value in percentiles.items():
            assert value == pytest.approx(np.percentile(scores, float(percent)), abs=HALF_A_BIN), f"seed {seed}"


def test_statistics_are_those_computed_by_hand():
    statistics = counted(np.float32([-0.99, 0.52, 0.75, 0.76, 0.97, 1.0000001]), 2).as_dict()
    assert statistics["count"] == 6
    assert statistics["mean"] == pytest.approx((-0.99 + 0.52 + 0.75 + 0.76 + 0.97 + 1) / 6, abs=1e-6)
    assert statistics["percentiles"]["50"] == pytest.approx(0.755, abs=HALF_A_BIN)
    kept = dict.fromkeys(("0.55", "0.60", "0.65", "0.70", "0.75"), 4) | dict.fromkeys(
        ("0.80", "0.85", "0.90", "0.95"), 2
    )
    assert statistics["kept_share"] == {threshold: count / 6 for threshold, count in {"0.50": 5, **kept}.items()}
    histogram = statistics["histogram"]
    filled = {left: n for left, n in zip(histogram["edges"], histogram["counts"], strict=False) if n}
    assert filled == {-1.0: 1, 0.5: 1, 0.75: 2, 0.95: 2}
    assert (len(histogram["edges"]), len(histogram["counts"])) == (41, 40)
    assert json.loads(json.dumps(statistics)) == statistics


def test_statistics_of_nothing_are_a_count_and_of_nan_are_refused():
    assert CosineCounts().as_dict() == RankCounts().as_dict() == {"count": 0}
    with pytest.raises(ConfigError, match="score 1 .* is not finite"):
        CosineCounts().add(np.array([0.1, np.nan]))


def test_the_area_under_the_curve_is_the_share_of_won_comparisons():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        pairs, others = (np.round(rng.normal(mean, 0.3, rng.integers(1, 30)), 1).clip(-1, 1) for mean in (0.4, 0.1))
        won = [(pair > other) + 0.5 * (pair == other) for pair, other in product(pairs.tolist(), others.tolist())]
        area = area_under_curve(counted(pairs), counted(others))
        assert area == pytest.approx(sum(won) / len(won)), f"seed {seed}"
    with pytest.raises(ConfigError, match="at least one of each"):
        area_under_curve(counted(pairs), CosineCounts())


def test_counted_ranks_are_those_of_a_plain_loop():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        ranks = rng.geometric(rng.uniform(0.01, 0.9), rng.integers(1, 80))
        counts = RankCounts()
        for part in np.array_split(ranks, 3):
            counts.add(part)
        statistics = counts.as_dict()
        assert statistics["count"] == len(ranks)
        assert statistics["median"] == sorted(ranks.tolist())[(len(ranks) - 1) // 2], f"seed {seed}"
        assert statistics["mean_reciprocal"] == pytest.approx(np.mean(1 / ranks))
        for rank, share in statistics["kept_share"].items():
            assert share == pytest.approx(np.mean(ranks <= int(rank))), f"seed {seed}"
