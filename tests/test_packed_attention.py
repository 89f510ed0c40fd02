"""Attention within each text of a row, against softmax(q k / scale) v written out, values and gradients."""

import pytest
import torch

from bioemb import packed_attention
from bioemb.packed_attention import InCache, Segments, attend

HEADS, WIDTH = 3, 4


def naive(query, key, value, lengths, scaling, causal):
    """[T, heads, width], text by text and head by head; inputs [heads, T, width]."""
    result, start = torch.zeros(sum(lengths), HEADS, WIDTH, dtype=query.dtype), 0
    for length in lengths:
        rows = slice(start, start + length)
        for head in range(HEADS):
            scores = query[head, rows] @ key[head, rows].T * scaling
            if causal:
                later = torch.arange(length)[None] > torch.arange(length)[:, None]
                scores = scores.masked_fill(later, -torch.inf)
            result[rows, head] = scores.softmax(-1) @ value[head, rows]
        start += length
    return result


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("score_bytes", [1, 8 * HEADS * 25 * 2, 1 << 20])  # one text at a time, two of five tokens, all
@pytest.mark.parametrize("by_kernel", [False, True])
def test_attention_in_cache_and_its_gradients_are_those_of_the_formula(monkeypatch, by_kernel, score_bytes, causal):
    monkeypatch.setattr(packed_attention, "SCORE_BYTES", score_bytes)
    monkeypatch.setattr(packed_attention, "kernel_is_faster", lambda query: by_kernel)
    torch.manual_seed(0)
    for lengths in ((5, 5, 5, 3, 1, 1, 4), (7,), (1,), (2, 6, 2)):
        inputs = [torch.randn(HEADS, sum(lengths), WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(3)]
        weights = torch.randn(sum(lengths), HEADS, WIDTH, dtype=torch.float64)
        found, expected = (function(*inputs, lengths, 0.7, causal) for function in (InCache.apply, naive))
        torch.testing.assert_close(found, expected)
        both = [torch.autograd.grad((result * weights).sum(), inputs) for result in (found, expected)]
        torch.testing.assert_close(both[0], both[1])


def test_half_precision_takes_the_products_in_cache_whether_or_not_there_are_gradients(monkeypatch):
    torch.manual_seed(1)
    lengths = (4, 4, 2)
    segments = Segments(torch.tensor([0, 4, 8, 10], dtype=torch.int32), lengths, 3)
    exact = [torch.randn(1, HEADS, 10, WIDTH, requires_grad=True) for _ in range(3)]
    half = [x.detach().bfloat16().requires_grad_() for x in exact]
    calls = []
    apply = InCache.apply
    monkeypatch.setattr(InCache, "apply", lambda *given: calls.append(1) or apply(*given))
    results = [attend(torch.nn.Identity(), *inputs, None, segments)[0] for inputs in (exact, half)]
    assert len(calls) == 1
    torch.testing.assert_close(results[1].float(), results[0], rtol=0.05, atol=0.05)
    for result in results:
        result.float().square().sum().backward()
    for one, other in zip(exact, half, strict=True):
        assert torch.nn.functional.cosine_similarity(one.grad.flatten(), other.grad.flatten().float(), dim=0) > 0.999


@pytest.mark.parametrize("causal", [False, True])
def test_in_bfloat16_torchs_kernel_is_as_near_to_the_formula_as_rounding_allows(monkeypatch, causal):
    monkeypatch.setattr(packed_attention, "kernel_is_faster", lambda query: True)
    torch.manual_seed(2)
    lengths = (40, 37, 33, 20, 9)
    inputs = [torch.randn(HEADS, sum(lengths), WIDTH).bfloat16() for _ in range(3)]
    expected = naive(*(x.double() for x in inputs), lengths, 0.5, causal)
    found = InCache.apply(*inputs, lengths, 0.5, causal)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize(
    ("dtype", "amx", "expected"), [("bfloat16", True, True), ("bfloat16", False, False), ("float16", True, False)]
)
def test_torchs_kernel_takes_the_forward_pass_in_bfloat16_where_there_is_amx(monkeypatch, dtype, amx, expected):
    monkeypatch.setattr(packed_attention, "has_amx", lambda: amx)
    assert packed_attention.kernel_is_faster(torch.zeros(1, dtype=getattr(torch, dtype))) is expected
