"""The rule of negative selection refuses what cannot work, in words."""

import numpy as np
import pytest

from bioemb.errors import ConfigError
from bioemb.mining import NegativeRule


def test_a_range_is_read_as_first_and_stop():
    assert NegativeRule.parse_range("2-200") == (2, 200)
    assert NegativeRule.parse_range("0 - 1") == (0, 1)


def test_only_bounds_by_the_positive_need_its_score():
    assert not NegativeRule(max_score=0.9, min_score=0.1, sampling="top").needs_positive_scores
    for setting in ({"relative_margin": 0.0}, {"absolute_margin": 0.1}, {"sampling": "simans"}):
        assert NegativeRule(**setting).needs_positive_scores


@pytest.mark.parametrize("text", ["10", "a-b", "-5", "2-", "2-5-9", "1.5-3", ""])
def test_a_range_that_is_not_two_ranks_is_refused(text):
    with pytest.raises(ConfigError, match="is not `first-stop`, as in 2-200"):
        NegativeRule.parse_range(text)


@pytest.mark.parametrize("text", ["5-2", "7-7"])
def test_a_range_that_holds_no_rank_is_refused(text):
    with pytest.raises(ConfigError, match="holds no rank"):
        NegativeRule.parse_range(text)


@pytest.mark.parametrize(
    "setting, words",
    [
        ({"range_start": 5, "range_stop": 5}, "ranks 5-5 are empty"),
        ({"count": 0}, "at least 1 negative"),
        ({"sampling": "random"}, "one of uniform, top, simans"),
        ({"on_short": "copy"}, "one of fewer, drop, random"),
        ({"relative_margin": 95}, "0.05 keeps what scores at most 95 %"),
        ({"absolute_margin": -0.1}, "difference of cosines"),
        ({"min_score": 0.8, "max_score": 0.7}, "scores from 0.8 to 0.7 are empty"),
        ({"simans_a": -1.0}, "negative sharpness"),
        ({"simans_a": float("nan")}, "simans_a is nan; expected a finite number"),
        ({"simans_a": "x"}, "simans_a is 'x'; expected a finite number"),
        ({"simans_b": float("nan")}, "simans_b is nan; expected a finite number"),
        ({"simans_b": float("inf")}, "simans_b is inf; expected a finite number"),
        ({"simans_b": None}, "simans_b is None; expected a finite number"),
        ({"count": 1.5}, "count is 1.5; expected a whole number"),
        ({"count": True}, "count is True; expected a whole number"),
        ({"range_start": 0.5}, "range_start is 0.5; expected a whole number"),
        ({"range_stop": None}, "range_stop is None; expected a whole number"),
        ({"seed": "1"}, "seed is '1'; expected a whole number"),
        ({"relative_margin": "0.05"}, "relative_margin is '0.05'; expected a number, or None"),
        ({"absolute_margin": True}, "absolute_margin is True; expected a number, or None"),
        ({"max_score": [0.9]}, r"max_score is \[0.9\]; expected a number, or None"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        NegativeRule(**setting)


def test_numpys_numbers_are_numbers():
    rule = NegativeRule(np.int32(1), np.int64(5), count=np.uint8(2), seed=np.uint64(3), max_score=np.float32(0.5))
    assert rule == NegativeRule(1, 5, count=2, seed=3, max_score=0.5)
