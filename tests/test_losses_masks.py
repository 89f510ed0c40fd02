"""Targets and masks: what is no negative of a query, by hand and by comparing everything with everything."""

import pytest
import torch

from bioemb.errors import ConfigError
from bioemb.losses import InfoNCE, Targets, not_negative
from bioemb.losses.masks import SameIdentity
from bioemb.losses.targets import complete_targets, group_columns


def test_not_negative_marks_the_positive_and_what_shares_its_identity():
    targets = Targets(torch.tensor([1, 3]), torch.tensor([7, -1]), torch.tensor([7, 7, -1, 5, 7]))
    assert not_negative(targets).tolist() == [
        [True, True, False, False, True],
        [False, False, False, True, False],  # unknown identities match nothing, not even each other
    ]


def test_not_negative_marks_the_positive_alone_without_identities():
    assert not_negative(Targets(torch.tensor([2, 0])), 3).tolist() == [[False, False, True], [True, False, False]]
    with pytest.raises(ConfigError, match=r"not_negative\(targets, len\(passages\)\)"):
        not_negative(Targets(torch.tensor([2, 0])))


def test_sorted_search_finds_the_pairs_that_a_full_comparison_finds():
    for seed in range(20):
        make = torch.Generator().manual_seed(seed)
        rows, columns = torch.randint(1, 30, (2,), generator=make).tolist()
        row_identity = torch.randint(-2, 6, (rows,), generator=make)
        column_identity = torch.randint(-2, 6, (columns,), generator=make)
        same = SameIdentity(row_identity, column_identity)
        for start in range(0, rows, 4):
            row, column = same.pairs(slice(start, start + 4))
            mine = row_identity[start : start + 4, None]
            expected = ((mine == column_identity) & (mine >= 0)).nonzero().tolist()
            assert sorted(zip(row.tolist(), column.tolist(), strict=True)) == [tuple(pair) for pair in expected]


def test_without_targets_groups_follow_each_other():
    targets = complete_targets(torch.zeros(3, 2), torch.zeros(12, 2), None)
    assert targets.column.tolist() == [0, 4, 8]
    assert targets.group_size == 4
    assert group_columns(targets, 3).tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]


@pytest.mark.parametrize(("queries", "passages"), [(3, 7), (3, 2), (3, 0), (0, 4)])
def test_groups_that_cannot_be_told_apart_are_refused(queries, passages):
    with pytest.raises(ConfigError, match=f"{passages} passages for {queries} queries"):
        InfoNCE()(torch.zeros(queries, 2), torch.zeros(passages, 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"column": torch.tensor([0])}, "targets.column has 1 rows; expected 2"),
        ({"query_identity": torch.arange(2)}, "query_identity alone; expected both"),
        ({"query_identity": torch.arange(2), "passage_identity": torch.arange(3)}, "passage_identity has 3 rows"),
        ({"teacher_scores": torch.zeros(5, 2)}, "teacher_scores has 5 rows; expected 2"),
        ({"passage_guide": torch.zeros(4, 2)}, "passage_guide alone"),
        ({"column": torch.tensor([0, 4])}, "column of query 1 is 4, and its group ends at 4; .* the 4 passages"),
        ({"column": torch.tensor([-1, 2])}, "column of query 0 is -1"),
        ({"group_size": 3}, "column of query 1 is 2, and its group ends at 4"),
        ({"group_size": 3, "group_sizes": torch.tensor([4, 3])}, "column of query 1 is 2, and its group ends at 4"),
        ({"column": torch.tensor([0.0, 2.0])}, "column is torch.float32"),
    ],
)
def test_targets_that_do_not_fit_the_vectors_are_refused(wrong, message):
    targets = Targets(torch.tensor([0, 2]))._replace(**wrong)
    with pytest.raises(ConfigError, match=message):
        InfoNCE()(torch.zeros(2, 3), torch.zeros(4, 3), targets)


def test_vectors_of_two_widths_are_refused():
    with pytest.raises(ConfigError, match=r"query \[2, 3\] and passages \[4, 5\]"):
        InfoNCE()(torch.zeros(2, 3), torch.zeros(4, 5))
