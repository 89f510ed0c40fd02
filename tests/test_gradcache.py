"""Two passes over sub-batches give the gradient of one pass over all of them, dropout included."""

import pytest
import torch
from torch import nn

from bioemb.gradcache import RandomState, cached_backward


def make_model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 7), nn.Dropout(0.4), nn.Tanh(), nn.Linear(7, 4)).double()


def contrast(vectors: torch.Tensor) -> torch.Tensor:
    """A loss that ties every vector to every other one."""
    return torch.logsumexp(vectors @ vectors.T, dim=1).mean()


@pytest.mark.parametrize("keep", [0, 1, 2, 9])
@pytest.mark.parametrize("sizes", [(4, 4, 4), (7, 1, 4), (12,)])
def test_sub_batches_give_the_plain_gradient_with_the_same_dropout(sizes, keep):
    inputs = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).split(sizes)
    plain, cached = make_model(), make_model()
    start = RandomState()
    plain_loss = contrast(torch.cat([plain(some) for some in inputs]))
    plain_loss.backward()
    after = torch.rand(3)
    start.restore()
    cached_loss = cached_backward(cached, inputs, contrast, keep=keep)
    torch.testing.assert_close(cached_loss, plain_loss.detach(), rtol=0, atol=1e-12)
    for one, other in zip(plain.parameters(), cached.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.rand(3), after)  # what follows draws as if there had been one pass


@pytest.mark.parametrize(("keep", "graphs"), [(0, 3), (1, 3), (2, 3), (7, 3)])
def test_only_the_last_sub_batch_with_a_graph_is_synchronised(keep, graphs):
    inside, runs = [], []

    class Unsynced:
        def __enter__(self):
            inside.append(True)

        def __exit__(self, *_):
            inside.pop()

    def embed(some):
        if torch.is_grad_enabled():
            runs.append(bool(inside))
        return some * weight

    weight = torch.ones(1, requires_grad=True)
    weight.register_hook(lambda gradient: runs.append("unsynced" if inside else "synced"))
    cached_backward(embed, [torch.ones(2, 1)] * 3, contrast, torch.autograd.backward, Unsynced, keep)
    assert [run for run in runs if isinstance(run, bool)] == [True] * (graphs - 1) + [False]
    assert [run for run in runs if isinstance(run, str)] == ["unsynced"] * (graphs - 1) + ["synced"]


def test_a_scaled_backward_scales_the_whole_gradient():
    def scaled_backward(tensor, gradient=None):  # as with float16: the scale of the loss is in the gradient, too
        torch.autograd.backward(8 * tensor if gradient is None else tensor, gradient)

    inputs = torch.randn(6, 5, dtype=torch.float64).split(4)
    plain, scaled = make_model().eval(), make_model().eval()
    cached_backward(plain, inputs, contrast)
    cached_backward(scaled, inputs, contrast, scaled_backward)
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(8 * one.grad, other.grad)


@pytest.mark.parametrize("keep", [0, 1])
def test_a_loss_that_draws_goes_on_drawing_as_in_one_pass(keep):
    inputs = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).split(4)

    def noisy(vectors: torch.Tensor) -> torch.Tensor:
        return contrast(vectors + torch.randn_like(vectors))

    losses = []
    for step in (lambda model: noisy(torch.cat([model(some) for some in inputs])).item(),
                 lambda model: cached_backward(model, inputs, noisy, keep=keep).item()):  # fmt: skip
        model = make_model().eval()  # without dropout nothing but the loss draws
        torch.manual_seed(5)
        losses.append([step(model) for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-12) and len(set(losses[1])) == 3
