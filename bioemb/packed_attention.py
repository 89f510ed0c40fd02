"""Attention over a packed row, each text to itself.

On CUDA in half precision the whole row is one call of torch's variable-length kernel. On a CPU in half precision each
part of the row (`attention_parts.py`) goes through plain products, its scores staying in a core's cache (`InCache`); in
float32, and with dropout, each run of equally long texts through torch's own attention for CPUs, as fast there. With
AMX that is the faster one in bfloat16, too, forwards, and computes each part.
"""

from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bioemb.attention_parts import Part, divide

HALF = (torch.float16, torch.bfloat16)
SCORE_BYTES = 1 << 20  # attention scores that stay in a core's cache


class Segments(NamedTuple):
    """Where the texts of a packed row begin and end."""

    offsets: Tensor  # int32 [n + 1], on the model's device
    lengths: tuple[int, ...]  # n numbers, for Python
    texts: int  # how many of the n were asked for; what follows only fills the row


@torch.compiler.disable
def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Segments | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **rest: object,
) -> tuple[Tensor, None]:
    """Attention [1, T, heads, width] of query [1, heads, T, width], each token to its own text's; padded ones as ever.

    The signature is transformers': `segments` travels through the model as a keyword.
    """
    if segments is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest
        )
    causal = bool(getattr(module, "is_causal", False))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.is_cuda and query.dtype in HALF and not dropout:
        return _attend_by_kernel(query, key, value, segments, scaling, causal), None
    repeated = query.shape[1] // key.shape[1]
    if repeated > 1:  # grouped-query attention
        key, value = (x.repeat_interleave(repeated, dim=1) for x in (key, value))
    query, key, value = query[0], key[0], value[0]  # [heads, T, width]
    if query.dtype in HALF and not dropout:
        return InCache.apply(query, key, value, segments.lengths, scaling, causal)[None], None
    parts = []
    for start, texts, length in _runs(segments.lengths):
        q, k, v = (
            x[:, start : start + texts * length].unflatten(1, (texts, length)).transpose(0, 1)
            for x in (query, key, value)
        )  # each [texts, heads, length, width]
        part = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, is_causal=causal)
        parts.append(part.transpose(1, 2).flatten(0, 1))  # [texts * length, heads, width]
    return torch.cat(parts)[None], None


class InCache(torch.autograd.Function):
    """Softmax attention, a megabyte of scores at a time; the backward pass makes them again rather than keep them.

    query, key, value: [heads, T, width]; the result: [T, heads, width]. In bfloat16 on a CPU without AMX, the forward
    pass of equally long texts is 0.8 to 1.3 times as fast as by torch's kernel, the backward pass 1.5 (texts of 512
    tokens) to 7 times (of 32). Scores are rounded to bfloat16: results are within 1.3 % of float64's largest, torch's
    within 0.3 % (`benchmarks/attention.py`). With AMX the forward pass is by torch's kernel. Of thousands of tokens it
    is one head's scores.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scaling: float, causal: bool
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.how = lengths, scaling, causal
        result = _empty_rows(query)
        with torch.autocast(query.device.type, enabled=False):  # it would take the softmax to float32
            attended = _by_kernel if kernel_is_faster(query) else _by_products
            for part in _parts(lengths, query):
                q, k, v = (part.take(x) for x in (query, key, value))
                part.put(attended(q, k, v, part, scaling, causal), result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        lengths, scaling, causal = ctx.how
        results = [_empty_rows(query) for _ in range(3)]
        with torch.autocast(query.device.type, enabled=False):
            for part in _parts(lengths, query):
                q, k, v, g = (part.take(x) for x in (query, key, value, gradient.transpose(0, 1)))
                q = q * scaling
                weights = _weights(q, k, part, causal)
                scores = torch._softmax_backward_data(torch.bmm(g, v.mT), weights, -1, weights.dtype)
                found = (torch.bmm(scores, k) * scaling, torch.bmm(scores.mT, q), torch.bmm(weights.mT, g))
                for result, values in zip(results, found, strict=True):
                    part.put(values, result)
        return *(result.transpose(0, 1) for result in results), None, None, None


def _runs(lengths: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """(first token, texts, tokens of each) of each run of equally long texts."""
    start = 0
    for length, run in groupby(lengths):
        texts = len(list(run))
        yield start, texts, length
        start += texts * length


def _parts(lengths: tuple[int, ...], query: Tensor) -> tuple[Part, ...]:
    return divide(lengths, query.shape[0], SCORE_BYTES // query.element_size())


def kernel_is_faster(query: Tensor) -> bool:
    """Whether torch's attention for CPUs is worth it, forwards: its products are AMX's where there is AMX."""
    return query.dtype == torch.bfloat16 and query.device.type == "cpu" and has_amx()


@cache
def has_amx() -> bool:
    return bool(hasattr(torch.cpu, "get_capabilities") and torch.cpu.get_capabilities().get("amx_bf16"))


def _by_kernel(query: Tensor, key: Tensor, value: Tensor, part: Part, scaling: float, causal: bool) -> Tensor:
    """Attention [heads * texts, length, width] of a part; causal, keys without a token come after all that have one."""
    query, key, value = (x.unflatten(0, (-1, part.texts)) for x in (query, key, value))
    mask = None if causal else part.added(query.dtype)
    result = F.scaled_dot_product_attention(query, key, value, mask, scale=scaling, is_causal=causal)
    return result.flatten(0, 1)


def _by_products(query: Tensor, key: Tensor, value: Tensor, part: Part, scaling: float, causal: bool) -> Tensor:
    return torch.bmm(_weights(query * scaling, key, part, causal), value)


def _weights(query: Tensor, key: Tensor, part: Part, causal: bool) -> Tensor:
    """Softmax of scaled queries against keys [n, length, width]."""
    scores = torch.bmm(query, key.mT)
    part.mask(scores)
    if causal:
        scores += scores.new_full(scores.shape[1:], -torch.inf).triu_(1)
    return scores.softmax(-1)


def _empty_rows(like: Tensor) -> Tensor:
    heads, tokens, width = like.shape
    return like.new_empty(tokens, heads, width)


def _attend_by_kernel(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float, causal: bool
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = max(segments.lengths)
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))  # [T, heads, width]
    return varlen_attn(
        q,
        k,
        v,
        segments.offsets,
        segments.offsets,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=q.shape[1] != k.shape[1],
    )[None]
