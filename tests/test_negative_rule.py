"""The rule of negative selection refuses what cannot work, in words."""

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
    ],
)
def test_a_rule_that_cannot_work_is_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        NegativeRule(**setting)
