"""Distillation: FlagEmbedding's two losses and MarginMSE, by their formulas as loops."""

import naive_losses as naive
import pytest
import torch
from naive_losses import gradients, lopsided_batch

from bioemb.errors import ConfigError
from bioemb.losses import InfoNCE, KLDistillation, M3Distillation, MarginMSE, Targets, row_blocks

LOSSES = [KLDistillation(), M3Distillation(), MarginMSE()]
SEEDS = range(4)


def assert_same(ours, expected, *tensors):
    assert torch.allclose(ours, expected, rtol=0, atol=1e-9)
    for mine, theirs in zip(gradients(ours, *tensors), gradients(expected, *tensors), strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("in_batch", [True, False])
def test_kl_is_the_teachers_cross_entropy_plus_info_nce(in_batch):
    for seed in SEEDS:
        query, passages, targets = lopsided_batch(seed)
        ours = KLDistillation(0.1, in_batch=in_batch)(query, passages, targets)
        contrast = InfoNCE(0.1, in_batch=in_batch)(query, passages, targets)
        assert_same(ours, naive.kl_term(query, passages, targets, 0.1) + contrast, query, passages)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("rows", [2, 128])
def test_m3_takes_each_passage_as_the_positive_in_turn(in_batch, rows, monkeypatch):
    monkeypatch.setattr(row_blocks, "rows_per_block", lambda row_bytes, device: rows)
    for seed in SEEDS:
        query, passages, targets = lopsided_batch(seed)
        ours = M3Distillation(0.1, in_batch=in_batch)(query, passages, targets)
        assert_same(ours, naive.m3(query, passages, targets, 0.1, in_batch), query, passages)


def test_m3_of_one_group_is_the_same_with_in_batch_on_and_off():
    query, passages, targets = lopsided_batch(0, queries=1, size=4, before=0)
    targets = Targets(targets.column, teacher_scores=targets.teacher_scores, group_size=4)
    group = passages[:4]
    inside, outside = (M3Distillation(0.1, in_batch=on)(query, group, targets) for on in (True, False))
    assert_same(inside, outside, query, passages)


def test_a_sure_teacher_makes_m3_the_plain_loss():
    query, passages, targets = lopsided_batch(1)
    sure = torch.tensor([400.0, 0, 0], dtype=torch.float64).expand(7, 3)
    plain = Targets(targets.column)
    ours = M3Distillation(0.1)(query, passages, plain._replace(teacher_scores=sure))
    assert_same(ours, InfoNCE(0.1)(query, passages, plain), query, passages)


@pytest.mark.parametrize("loss", [KLDistillation, M3Distillation])
def test_learnt_temperature_has_the_slope_of_the_value(loss):
    query, passages, targets = lopsided_batch(2)
    learnt = loss(0.2, learn_temperature=True).double()
    (parameter,) = learnt.parameters()
    (slope,) = gradients(learnt(query, passages, targets), parameter)
    step = 1e-6
    colder, warmer = (loss(1 / (parameter + by).exp().item())(query, passages, targets) for by in (step, -step))
    assert slope.item() == pytest.approx((colder - warmer).item() / (2 * step), abs=1e-6)


def test_margin_mse_by_hand():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    passages = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.0], [0.3, 0.8], [0.1, 0.7], [0.6, 0.0]])
    teacher = torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 1.0]])
    # leads of the student, twice: .8, 1.4; .2, 1.6; of the teacher: 2, 1; 0, 4
    expected = ((0.8 - 2) ** 2 + (1.4 - 1) ** 2 + (0.2 - 0) ** 2 + (1.6 - 4) ** 2) / 4
    targets = Targets(torch.tensor([0, 3]), teacher_scores=teacher)
    assert MarginMSE(scale=2.0)(query, passages, targets).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_missing_teacher_scores_say_where_they_come_from(loss):
    query, passages, targets = lopsided_batch(0)
    with pytest.raises(ConfigError, match="pos_scores.*neg_scores.*--knowledge_distillation"):
        loss(query, passages, targets._replace(teacher_scores=None))


@pytest.mark.parametrize("loss", LOSSES)
def test_teacher_scores_that_do_not_fit_the_group_are_refused(loss):
    query, passages, targets = lopsided_batch(0)
    with pytest.raises(ConfigError, match="2 teacher_scores per query for groups of 3"):
        loss(query, passages, targets._replace(teacher_scores=targets.teacher_scores[:, :2]))
    with pytest.raises(ConfigError, match="--train_group_size"):
        loss(query, passages, targets._replace(teacher_scores=targets.teacher_scores[:, :1], group_size=1))


@pytest.mark.parametrize("loss", [KLDistillation, M3Distillation])
def test_the_teachers_temperature_divides_its_scores(loss):
    query, passages, targets = lopsided_batch(4)
    divided = targets._replace(teacher_scores=targets.teacher_scores / 2.5)
    ours = loss(0.1, teacher_temperature=2.5)(query, passages, targets)
    assert_same(ours, loss(0.1)(query, passages, divided), query, passages)
    assert not torch.isclose(ours, loss(0.1)(query, passages, targets))


@pytest.mark.parametrize("loss", [KLDistillation, M3Distillation])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_teachers_temperature_that_cannot_work_is_refused(loss, temperature):
    with pytest.raises(ConfigError, match="teacher_temperature is .*; expected more than 0"):
        loss(teacher_temperature=temperature)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_group_that_ends_beyond_the_passages_is_refused(loss):
    targets = Targets(torch.tensor([0, 2]), teacher_scores=torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="column of query 1 is 2, and its group ends at 4"):
        loss(torch.zeros(2, 3), torch.zeros(4, 3), targets)
