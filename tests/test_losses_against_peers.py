"""Our losses beside sentence-transformers', on the same vectors: values and gradients."""

import pytest
import torch
from naive_losses import gradients, lopsided_batch
from torch import nn

from bioemb.losses import AnglE, CoSENT, InfoNCE, KLDistillation, MarginMSE, MatryoshkaLoss, Targets


@pytest.fixture(scope="module")
def peers():
    pytest.importorskip("sentence_transformers", reason="install bioemb[test] to compare with sentence-transformers")
    from sentence_transformers.sentence_transformer import losses

    return losses


class ReadyVectors(nn.Module):
    """A model whose features are their vectors already."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def get_embedding_dimension(self) -> int:
        return self.width

    def forward(self, features: dict) -> dict:
        return {"sentence_embedding": features["sentence_embedding"]}


def groups(seed: int, size: int):
    """(query, passages, targets, the peers' columns): groups one after another here, one tensor per place there."""
    query, passages, targets = lopsided_batch(seed, queries=6, size=size, before=0)
    passages = passages[: 6 * size]
    columns = [query, *passages.view(6, size, -1).unbind(1)]
    targets = Targets(targets.column, teacher_scores=targets.teacher_scores, group_size=size)
    return query, passages, targets, columns


def along_sphere(gradient, vectors):
    """What is left of a gradient for vectors of fixed length; the peers normalise once more, and keep only this."""
    return gradient - (gradient * vectors).sum(1, keepdim=True) * vectors


def assert_same(ours, theirs, *tensors):
    assert torch.allclose(ours, theirs, rtol=1e-9)
    for vectors, mine, other in zip(tensors, gradients(ours, *tensors), gradients(theirs, *tensors), strict=True):
        assert torch.allclose(along_sphere(mine, vectors), along_sphere(other, vectors), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_info_nce_is_multiple_negatives_ranking(peers, size):
    query, passages, targets, columns = groups(0, size)
    theirs = peers.MultipleNegativesRankingLoss(None, scale=50.0).compute_loss_from_embeddings(columns, None)
    assert_same(InfoNCE(0.02)(query, passages, targets), theirs, query, passages)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    ("ours", "directions", "mode"),
    [
        ("both", ("query_to_doc", "doc_to_query"), "per_direction"),
        ("gte", ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"), "joint"),
    ],
)
def test_directions_are_the_peers(peers, size, ours, directions, mode):
    query, passages, targets, columns = groups(1, size)
    peer = peers.MultipleNegativesRankingLoss(None, scale=20.0, directions=directions, partition_mode=mode)
    theirs = peer.compute_loss_from_embeddings(columns, None)
    assert_same(InfoNCE(0.05, directions=ours)(query, passages, targets), theirs, query, passages)


def test_matryoshka_is_the_peers_sum_divided_by_the_widths(peers):
    query, passages, targets, columns = groups(2, size=2)
    inner = peers.MultipleNegativesRankingLoss(ReadyVectors(6), scale=20.0)
    peer = peers.MatryoshkaLoss(inner.model, inner, [6, 4, 2])
    theirs = peer([{"sentence_embedding": column} for column in columns], None) / 3
    assert_same(MatryoshkaLoss(InfoNCE(0.05), [6, 4, 2])(query, passages, targets), theirs, query, passages)


@pytest.mark.parametrize("size", [2, 4])
def test_margin_mse_is_the_peers(peers, size):
    query, passages, targets, columns = groups(3, size)
    theirs = peers.MarginMSELoss(None).compute_loss_from_embeddings(columns, targets.teacher_scores)
    assert_same(MarginMSE()(query, passages, targets), theirs, query, passages)


def test_distillation_has_the_peers_gradient(peers):
    query, passages, targets, columns = groups(4, size=4)
    peer = peers.DistillKLDivLoss(None, student_temperature=0.1, teacher_temperature=1.0)
    theirs = peer.compute_loss_from_embeddings(columns, targets.teacher_scores) / 0.1**2  # undo its T squared
    ours = KLDistillation(0.1)(query, passages, targets) - InfoNCE(0.1)(query, passages, targets)
    teacher = targets.teacher_scores.softmax(1)
    entropy = -(teacher * teacher.log()).sum(1).mean()
    assert_same(ours - entropy, theirs, query, passages)


@pytest.mark.parametrize(("ours", "name"), [(CoSENT(), "CoSENTLoss"), (AnglE(), "AnglELoss")])
def test_scored_pairs_are_the_peers(peers, ours, name):
    query, passages, targets, columns = groups(5, size=1)
    gold = torch.tensor([0.1, 0.9, 0.4, 0.4, 0.9, 0.0], dtype=torch.float64)
    theirs = getattr(peers, name)(None).compute_loss_from_embeddings(columns, gold)
    assert_same(ours(query, passages, targets._replace(teacher_scores=gold[:, None])), theirs, query, passages)
