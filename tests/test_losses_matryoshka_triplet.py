"""Matryoshka wraps any loss; the triplet example means what its formula says."""

import pytest
import torch
import torch.nn.functional as F
from naive_losses import alike, dot, gradients, lopsided_batch

from bioemb.errors import ConfigError
from bioemb.losses import CoSENT, InfoNCE, MatryoshkaLoss, Targets, TripletMargin


def test_matryoshka_is_the_mean_over_cut_and_renormalised_vectors():
    query, passages, targets = lopsided_batch(0)
    ours = MatryoshkaLoss(InfoNCE(0.1), [6, 2, 3])(query, passages, targets)
    total = 0.0
    for dim in (6, 2, 3):
        scores = torch.stack([F.cosine_similarity(row[:dim], passages[:, :dim], dim=1) for row in query])
        out = (targets.query_identity[:, None] == targets.passage_identity) & (targets.query_identity[:, None] >= 0)
        out[torch.arange(7), targets.column] = False
        total = total + F.cross_entropy(scores.masked_fill(out, -torch.inf) / 0.1, targets.column)
    assert torch.allclose(ours, total / 3)
    for mine, theirs in zip(gradients(ours, query, passages), gradients(total / 3, query, passages), strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-9)


def test_matryoshka_wraps_a_function_and_a_width_beyond_the_vectors_is_the_full_one():
    query, passages, targets = lopsided_batch(1)
    targets = targets._replace(teacher_scores=targets.teacher_scores[:, :1], group_size=1)
    ours = MatryoshkaLoss(lambda *arguments: CoSENT(3.0)(*arguments), [6, 1000])(query, passages, targets)
    assert torch.allclose(ours, CoSENT(3.0)(query, passages, targets))


def test_matryoshka_hands_the_inner_losss_parameters_on():
    loss = MatryoshkaLoss(InfoNCE(0.1, learn_temperature=True), [4])
    assert [name for name, _ in loss.named_parameters()] == ["loss.scale.logarithm"]


@pytest.mark.parametrize("dims", [[], [64, 0]])
def test_matryoshka_without_a_width_is_refused(dims):
    with pytest.raises(ConfigError, match="expected one or more widths"):
        MatryoshkaLoss(InfoNCE(), dims)


def test_triplet_asks_for_the_margin_over_the_hardest_negative():
    for seed in range(5):
        query, passages, targets = lopsided_batch(seed)
        total = 0.0
        for row, column in enumerate(targets.column.tolist()):
            rivals = [
                dot(query[row], passage)
                for other, passage in enumerate(passages)
                if other != column and not alike(targets.query_identity[row], targets.passage_identity[other])
            ]
            total += max(0.0, 0.2 - dot(query[row], passages[column]) + max(rivals))  # fmt: skip
        assert TripletMargin(0.2)(query, passages, targets).item() == pytest.approx(total.item() / 7)


def test_triplet_by_hand_with_and_without_the_false_negative():
    query = torch.tensor([[1.0, 0.0]])
    passages = torch.tensor([[0.8, 0.6], [1.0, 0.0], [0.7, 0.0]])
    assert TripletMargin(0.2)(query, passages).item() == pytest.approx(0.2 - 0.8 + 1.0)
    same = Targets(torch.tensor([0]), torch.tensor([4]), torch.tensor([4, 4, 5]))
    assert TripletMargin(0.2)(query, passages, same).item() == pytest.approx(0.2 - 0.8 + 0.7)
