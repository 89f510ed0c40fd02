"""The mean over queries of any function of a query's scores, exact, without the [b, n] matrix of scores.

A block of queries is scored against all n passages, so a row is whole: the block's losses, their gradient in the
scores, and its share of both vectors' gradients come from it at once and the next block takes its memory. That is
three matrix products, as in the plain loss, with nothing computed twice, in O(n d + block n) memory. The gradients
are made in the forward pass and scaled in the backward pass; a second derivative does not exist.

A `ScoreRule` says what a row's loss is. `mean_over_queries` takes it as plain differentiable torch code;
`mean_by_rule` as a rule that writes the gradient itself, which saves some copies of the block.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores held at a time. On a CPU they are to stay in the caches; a GPU wants its products large.
BLOCK_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
FEWEST_ROWS = 256  # a block of fewer rows spends its time adding into the passages' gradient

ScoreLoss = Callable[[Tensor, slice], Tensor]  # (scores [k, n], which k of the b queries) -> losses [k]
ScoreRule = Callable[[Tensor, slice], Tensor]  # the same, and leaves each row's gradient [k, n] in place of the scores
Excluded = Callable[[slice], tuple[Tensor, Tensor]]  # which k of the b queries -> (row in 0..k-1, column), each [any]


def mean_over_queries(loss: ScoreLoss, query: Tensor, passages: Tensor, excluded: Excluded | None = None) -> Tensor:
    """The mean of `loss(query @ passages.T)` over the queries, and its gradients, block by block.

    query: [b, d]; passages: [n, d]; excluded: scores that become -inf and get no gradient. Only the scores are
    differentiated inside `loss`: a learnt parameter belongs outside, as in `query * scale`.
    """

    def rule(scores: Tensor, rows: slice) -> Tensor:
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            losses = loss(leaf, rows)
        scores.copy_(torch.autograd.grad(losses, leaf, torch.ones_like(losses))[0])
        return losses.detach()

    return mean_by_rule(rule, query, passages, excluded)


def mean_by_rule(rule: ScoreRule, query: Tensor, passages: Tensor, excluded: Excluded | None = None) -> Tensor:
    """As `mean_over_queries`, by a rule that turns a block of scores into its gradient in place.

    query: [b, d], or [b, r, d] where r vectors stand for one example: its scores are then [k, r * n].
    """
    query, passages = widened(query, passages)
    if not torch.is_grad_enabled():
        query, passages = query.detach(), passages.detach()  # or the gradients would be made for nobody
    return _MeanByRule.apply(query, passages, rule, excluded)


def widened(*tensors: Tensor) -> list[Tensor]:
    """The tensors in their common dtype, float32 at least.

    A cosine in bfloat16 is off by up to .002, which a temperature of .02 makes a tenth of a logit. Half precision
    fits into float32 and TF32 unrounded, so a GPU may multiply it at TF32's rate and lose nothing.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def group_scores(query: Tensor, passages: Tensor, columns: Tensor) -> Tensor:
    """Each query's scores with its own columns. query: [b, d]; passages: [n, d]; columns: [b, g] -> [b, g]."""
    query, passages = widened(query, passages)
    with torch.autocast(query.device.type, enabled=False):
        return torch.bmm(passages[columns], query[:, :, None])[:, :, 0]


class _MeanByRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, passages: Tensor, rule: ScoreRule, excluded: Excluded | None) -> Tensor:
        with torch.autocast(query.device.type, enabled=False):
            losses, query_gradient, passage_gradient = _run(query, passages, rule, excluded, ctx.needs_input_grad)
        ctx.queries = max(1, len(query))  # a process without queries has a loss of 0
        ctx.save_for_backward(query_gradient, passage_gradient)
        return losses.sum() / ctx.queries

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):
        share = upstream / ctx.queries
        gradients = [None if gradient is None else gradient * share for gradient in ctx.saved_tensors]
        return *gradients, None, None


def _run(query: Tensor, passages: Tensor, rule: ScoreRule, excluded: Excluded | None, needed: tuple[bool, ...]):
    """Losses [b], and the gradients of their sum in the query and in the passages, or None where not needed."""
    queries, width, count = len(query), query.shape[-1], query.shape[1:-1].numel() * len(passages)
    size = rows_per_block(count * query.element_size(), query.device.type)
    losses = query.new_empty(queries)
    query_gradient = query.new_empty(query.shape) if needed[0] else None
    passage_gradient = passages.new_zeros(passages.shape) if needed[1] else None
    buffer = query.new_empty(min(size, queries), count)
    for start in range(0, queries, size):
        rows = slice(start, min(start + size, queries))
        scores = buffer[: rows.stop - start]  # [k, r * n]
        vectors, flat = query[rows].reshape(-1, width), scores.view(-1, len(passages))  # [k * r, d], [k * r, n]
        torch.mm(vectors, passages.T, out=flat)
        outside = None if excluded is None else excluded(rows)
        if outside is not None:
            scores[outside] = -torch.inf
        losses[rows] = rule(scores, rows)
        if outside is not None:
            scores[outside] = 0.0
        if query_gradient is not None:
            torch.mm(flat, passages, out=query_gradient[rows].view(-1, width))
        if passage_gradient is not None:
            passage_gradient.addmm_(flat.T, vectors)
    return losses, query_gradient, passage_gradient


def rows_per_block(row_bytes: int, device: str) -> int:
    """How many queries are scored at a time."""
    return max(FEWEST_ROWS, BLOCK_BYTES.get(device, BLOCK_BYTES["cuda"]) // max(1, row_bytes))
