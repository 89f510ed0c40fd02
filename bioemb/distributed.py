"""Across processes: the differentiable gather, and the sums. Losses know nothing of processes."""

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) where there is one process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(local: Tensor) -> tuple[Tensor, int]:
    """Every process's rows [n_r, ...] in rank order, and where this process's rows begin among them.

    Differentiable: a row's gradient is the sum of what all processes' losses say of it, so that local queries
    against gathered passages under DDP's averaging give the gradient of one process with the whole batch.
    Shares may differ in length, not in width.
    """
    rank, processes = world()
    if processes == 1:
        return local, 0
    sizes = [torch.zeros(1, dtype=torch.int64, device=local.device) for _ in range(processes)]
    dist.all_gather(sizes, torch.tensor([len(local)], dtype=torch.int64, device=local.device))
    rows = [int(size) for size in sizes]
    return _Gather.apply(local, rows, rank), sum(rows[:rank])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local: Tensor, rows: list[int], rank: int) -> Tensor:
        ctx.rows, ctx.rank = rows, rank
        padded = local.new_zeros(max(rows), *local.shape[1:])
        padded[: len(local)] = local
        shares = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(shares, padded)
        return torch.cat([share[:count] for share, count in zip(shares, rows, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)  # sum over the processes; gloo has no reduce-scatter
        start = sum(ctx.rows[: ctx.rank])
        return gradient[start : start + ctx.rows[ctx.rank]], None, None


def sum_over_processes(values: Tensor) -> Tensor:
    """The element-wise sum over all processes, without gradient."""
    if world()[1] > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values
