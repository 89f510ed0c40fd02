"""Each way of pooling against a loop over texts and their real tokens, with padding on either side."""

import pytest
import torch

from bioemb.pooling import POOLING, pool_padded

NAIVE = {
    "mean": lambda tokens: sum(tokens) / len(tokens),
    "cls": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
    "max": lambda tokens: torch.stack(tokens).max(dim=0).values,
}


def case(seed, side):
    """(token vectors with large numbers under the padding, mask, real token vectors of each text)."""
    generator = torch.Generator().manual_seed(seed)
    n, t, d = (int(torch.randint(1, 9, (), generator=generator)) for _ in range(3))
    lengths = torch.randint(1, t + 1, (n,), generator=generator).tolist()
    hidden = torch.randn(n, t, d, generator=generator) - 3 * (seed % 2)  # all below 0 in some
    mask = torch.zeros(n, t, dtype=torch.int64)
    for row, length in enumerate(lengths):
        real = slice(0, length) if side == "right" else slice(t - length, t)
        mask[row, real] = 1
    hidden = torch.where(mask.bool().unsqueeze(-1), hidden, torch.tensor(1e4))
    return hidden, mask, [list(hidden[row][mask[row].bool()]) for row in range(n)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", POOLING)
def test_pooling_is_a_loop_over_the_real_tokens(name, side):
    for seed in range(100):
        hidden, mask, texts = case(seed, side)
        expected = torch.stack([NAIVE[name](tokens) for tokens in texts])
        torch.testing.assert_close(pool_padded(name, hidden, mask), expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(pool_padded(name, hidden, mask.bool()), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", POOLING)
def test_every_way_of_pooling_is_tested_and_padding_gets_no_gradient(name):
    assert set(NAIVE) == set(POOLING)
    hidden, mask, _ = case(3, "right")
    hidden.requires_grad_()
    pool_padded(name, hidden, mask).sum().backward()
    assert hidden.grad[mask == 0].abs().sum() == 0
    assert (hidden.grad.abs().sum(dim=(1, 2)) > 0).all()


def test_a_mean_of_many_half_precision_tokens_is_summed_in_single_precision():
    hidden = torch.randn(2, 300, 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    pooled = pool_padded("mean", hidden, torch.ones(2, 300, dtype=torch.int64))
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled.double(), hidden.double().mean(1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_maximum_of_half_precision_tokens_ignores_padding(dtype):
    hidden = torch.tensor([[[-5.0], [-7.0], [1000.0]]], dtype=dtype)
    assert pool_padded("max", hidden, torch.tensor([[1, 1, 0]])).item() == -5.0
