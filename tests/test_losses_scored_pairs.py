"""CoSENT and AnglE: every ordered couple counts, ties do not; against loops, and by hand."""

import cmath
import math

import naive_losses as naive
import pytest
import torch
from naive_losses import gradients, lopsided_batch

from bioemb.errors import ConfigError
from bioemb.losses import AnglE, CoSENT, Targets
from bioemb.losses.angle import complex_angle


def scored_pairs(seed: int, queries: int = 9, width: int = 6):
    """Query i pairs with passage 4 + 3 i; gold scores have ties."""
    query, passages, targets = lopsided_batch(seed, queries=queries, width=width)
    gold = torch.randint(0, 5, (queries, 1), generator=torch.Generator().manual_seed(seed))
    return query, passages, Targets(targets.column, teacher_scores=gold)


@pytest.mark.parametrize("loss", ["cosent", "angle"])
def test_value_and_gradients_are_those_of_all_ordered_couples(loss):
    for seed in range(5):
        query, passages, targets = scored_pairs(seed)
        positives = passages[targets.column]
        scores = (query * positives).sum(1) if loss == "cosent" else complex_angle(query, positives)
        expected = naive.ordered_couples(scores, targets.teacher_scores[:, 0], 20.0)
        ours = (CoSENT() if loss == "cosent" else AnglE())(query, passages, targets)
        assert torch.allclose(ours, expected, rtol=1e-12)
        for mine, theirs in zip(gradients(ours, query, passages), gradients(expected, query, passages), strict=True):
            assert torch.allclose(mine, theirs, rtol=0, atol=1e-9)


def test_two_pairs_by_hand():
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    passages = torch.tensor([[0.6, 0.8], [0.8, -0.6]])
    targets = Targets(torch.tensor([0, 1]), teacher_scores=torch.tensor([[0.9], [0.1]]))
    assert CoSENT(scale=5.0)(query, passages, targets).item() == pytest.approx(math.log(1 + math.exp(1.0)), rel=1e-6)


def test_pairs_of_one_gold_score_ask_for_nothing():
    query, passages, targets = scored_pairs(0)
    same = targets._replace(teacher_scores=torch.full((9, 1), 0.5))
    for loss in (CoSENT(), AnglE()):
        value = loss(query, passages, same)
        assert value == 0
        assert not gradients(value, query)[0].any()


def test_the_angle_is_that_of_the_complex_quotient():
    for seed in range(5):
        query, passages, _ = scored_pairs(seed)
        for z, w in zip(query.detach(), passages.detach(), strict=False):
            numbers = [[complex(vector[i], vector[i + 3]) for i in range(3)] for vector in (z, w)]
            lengths = [math.sqrt(sum(abs(number) ** 2 for number in vector)) for vector in numbers]
            norm = sum(abs(number) ** 2 for number in numbers[1]) * lengths[0] / lengths[1]
            total = sum(a * b.conjugate() for a, b in zip(*numbers, strict=True)) / norm
            assert complex_angle(z[None], w[None]).item() == pytest.approx(abs(total.real + total.imag))


def test_angles_by_hand():
    def pair(angle):
        z, w = cmath.rect(1, angle), cmath.rect(3, 0)
        return complex_angle(torch.tensor([[z.real, z.imag]]), torch.tensor([[w.real, w.imag]])).item()

    assert pair(0) == pytest.approx(1)
    assert pair(math.pi / 4) == pytest.approx(math.sqrt(2), rel=1e-6)
    assert pair(3 * math.pi / 4) == pytest.approx(0, abs=1e-6)


def test_an_odd_width_reads_as_padded_with_zero():
    z, w = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 0.5, 1.0]])
    padded = complex_angle(torch.tensor([[1.0, 2.0, 3.0, 0.0]]), torch.tensor([[2.0, 0.5, 1.0, 0.0]]))
    assert torch.equal(complex_angle(z, w), padded)


@pytest.mark.parametrize("loss", [CoSENT(), AnglE()])
def test_missing_gold_scores_say_where_they_come_from(loss):
    query, passages, targets = scored_pairs(0)
    with pytest.raises(ConfigError, match=f"{type(loss).__name__} learns from scores.*pos_scores"):
        loss(query, passages, Targets(targets.column))
