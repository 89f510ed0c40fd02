"""Row blocks: any function of a query's scores, its dense gradients, and never a [b, n] tensor."""

import pytest
import torch
from naive_losses import gradients, lopsided_batch
from torch.utils._python_dispatch import TorchDispatchMode

from bioemb.losses import (
    AnglE,
    CoSENT,
    InfoNCE,
    KLDistillation,
    M3Distillation,
    MarginMSE,
    MatryoshkaLoss,
    Targets,
    TripletMargin,
    mean_over_queries,
    not_negative,
    row_blocks,
)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any tensor had, views included."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


class ProductCounter(TorchDispatchMode):
    """Counts matrix products."""

    products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.products += func.overloadpacket.__name__ in ("mm", "addmm", "addmm_", "bmm", "matmul")
        return func(*args, **(kwargs or {}))


def large_batch(queries: int, size: int, width: int = 8):
    make = torch.Generator().manual_seed(0)
    query = torch.randn(queries, width, generator=make, requires_grad=True)
    passages = torch.randn(queries * size, width, generator=make, requires_grad=True)
    identity = torch.randint(queries // 2, (queries,), generator=make)
    passage_identity = torch.full((queries * size,), -1).index_put((torch.arange(queries) * size,), identity)
    teacher = torch.randn(queries, size, generator=make)
    return query, passages, Targets(torch.arange(queries) * size, identity, passage_identity, teacher, size)


@pytest.mark.parametrize("loss", [
    InfoNCE(), InfoNCE(learn_temperature=True), InfoNCE(false_negative_margin=0.1), InfoNCE(directions="both"),
    InfoNCE(directions="gte"), M3Distillation(),
])  # fmt: skip
def test_no_tensor_is_ever_as_large_as_all_scores(loss, monkeypatch):
    monkeypatch.setitem(row_blocks.BLOCK_BYTES, "cpu", 2**19)
    monkeypatch.setattr(row_blocks, "FEWEST_ROWS", 8)
    query, passages, targets = large_batch(queries=512, size=2)
    with LargestTensor() as largest:
        loss(query, passages, targets).backward()
    assert 0 < largest.elements <= 512 * 1024 // 2


def test_the_dense_loss_is_caught_building_all_scores():
    query, passages, targets = large_batch(queries=32, size=2)
    with LargestTensor() as largest:
        torch.nn.functional.cross_entropy(query @ passages.T, targets.column).backward()
    assert largest.elements == 32 * 64


@pytest.mark.parametrize(
    ("query_wants", "passages_want", "products"),
    [(True, True, 3), (True, False, 2), (False, True, 2), (False, False, 1)],
)
def test_a_block_is_three_products_and_fewer_where_nobody_wants_a_gradient(query_wants, passages_want, products):
    query, passages, targets = large_batch(queries=8, size=2)
    query.requires_grad_(query_wants), passages.requires_grad_(passages_want)
    with ProductCounter() as counter:
        loss = InfoNCE()(query, passages, targets)
        if loss.requires_grad:
            loss.backward()
    assert counter.products == products


def test_without_grad_mode_a_block_is_one_product():
    query, passages, targets = large_batch(queries=8, size=2)
    with torch.no_grad(), ProductCounter() as counter:
        InfoNCE()(query, passages, targets)
    assert counter.products == 1


def test_a_loss_of_scores_computes_in_their_precision_under_autocast():
    query, passages, _ = large_batch(queries=3, size=1)
    mixing = torch.full((3, 1), 1 / 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = mean_over_queries(lambda scores, rows: (scores @ mixing)[:, 0], query, passages)
    assert torch.allclose(ours, (query.double() @ passages.double().T).mean().float(), rtol=1e-6)


def test_block_rows_follow_the_bytes_of_a_row_but_are_never_few():
    assert row_blocks.rows_per_block(row_bytes=1024, device="cpu") == row_blocks.BLOCK_BYTES["cpu"] // 1024
    assert row_blocks.rows_per_block(row_bytes=2**40, device="cpu") == row_blocks.FEWEST_ROWS


@pytest.mark.parametrize("passages", [5, 0])
@pytest.mark.parametrize("loss", [
    InfoNCE(), InfoNCE(learn_temperature=True), InfoNCE(directions="both"), InfoNCE(directions="gte"),
    InfoNCE(in_batch=False), InfoNCE(false_negative_margin=0.1), KLDistillation(), M3Distillation(),
    M3Distillation(in_batch=False), MarginMSE(), CoSENT(), AnglE(), TripletMargin(),
    MatryoshkaLoss(InfoNCE(directions="both"), [2, 4]),
])  # fmt: skip
def test_a_process_without_queries_has_a_loss_and_gradients_of_zero(loss, passages):
    width, none = 4, torch.empty(0, dtype=torch.long)
    query, others = torch.empty(0, width, requires_grad=True), torch.randn(passages, width, requires_grad=True)
    targets = Targets(none, none, torch.zeros(passages, dtype=torch.long), torch.empty(0, 3), group_size=3)
    value = loss(query, others, targets)
    wanted = [query, others, *loss.parameters()]
    found = torch.autograd.grad(value, wanted, allow_unused=True)
    assert value == 0 and value.requires_grad
    assert not any(gradient.any() for gradient in found if gradient is not None)


@pytest.mark.parametrize("rows", [1, 3, 128])
def test_any_loss_of_scores_has_its_dense_value_and_gradients(rows, monkeypatch):
    monkeypatch.setattr(row_blocks, "rows_per_block", lambda row_bytes, device: rows)
    for seed in range(3):
        query, passages, targets = lopsided_batch(seed)

        def lead(scores, rows, column=targets.column):
            positive = scores.gather(1, column[rows, None])
            return (scores - positive + 0.3).clamp(min=0).square().sum(1)

        masked = torch.tensor([[0, 2], [4, 1], [4, 5]])  # (query, passage)

        def excluded(rows, masked=masked):
            here = masked[(masked[:, 0] >= rows.start) & (masked[:, 0] < rows.stop)]
            return here[:, 0] - rows.start, here[:, 1]

        ours = mean_over_queries(lead, query, passages, excluded)
        dense = (query @ passages.T).index_put(tuple(masked.T), torch.tensor(-torch.inf, dtype=torch.float64))
        expected = lead(dense, slice(None)).mean()
        assert torch.allclose(ours, expected, rtol=0, atol=1e-12)
        for mine, theirs in zip(gradients(ours, query, passages), gradients(expected, query, passages), strict=True):
            assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)


def test_an_excluded_score_gets_no_gradient_even_from_a_loss_that_gives_one():
    query, passages, targets = lopsided_batch(0)

    def excluded(rows):
        return not_negative(targets)[rows].nonzero(as_tuple=True)

    loss = mean_over_queries(
        lambda scores, rows: scores.clamp(min=-9).sum(1) + scores.sum(1), query, passages, excluded
    )
    mask = ~not_negative(targets)
    expected = 2 * mask.double() @ passages.detach() / len(query)
    assert torch.allclose(gradients(loss, query)[0], expected)
