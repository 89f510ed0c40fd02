"""Two gloo processes: the gather's values, and its gradient against one process that has everything."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from bioemb.distributed import gather, sum_over_processes, world
from bioemb.losses import InfoNCE, Targets

SHARES = ((5, 2), (3, 2))  # queries of each process and passages per query: ragged
WIDTH = 6


def whole_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight [d, d], inputs of all queries [8, d] and of all passages [16, d]."""
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(rows, WIDTH, dtype=torch.float64, generator=generator) for rows in (WIDTH, 8, 16))


def embed(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(inputs @ weight, dim=-1)


def identities() -> tuple[torch.Tensor, torch.Tensor]:
    """Of 8 queries and 16 passages; queries 1 (first process) and 6 (second) share theirs."""
    query = torch.arange(8)
    query[6] = 1
    return query, torch.stack([query, 100 + torch.arange(8)], 1).flatten()


def expected_gradient() -> torch.Tensor:
    """The gradient of one process with the whole batch."""
    weight, queries, passages = whole_batch()
    weight.requires_grad_()
    query_identity, passage_identity = identities()
    targets = Targets(torch.arange(8) * 2, query_identity, passage_identity, group_size=2)
    InfoNCE(temperature=0.1)(embed(queries, weight), embed(passages, weight), targets).backward()
    return weight.grad


def in_process(rank: int, store: str, results) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mine = slice(0, 5) if rank == 0 else slice(5, 8)
    mine_passages = slice(mine.start * 2, mine.stop * 2)
    weight, queries, passages = whole_batch()
    weight.requires_grad_()
    query_identity, passage_identity = identities()
    gathered, start = gather(embed(passages[mine_passages], weight))
    all_identities, _ = gather(passage_identity[mine_passages])
    count = mine.stop - mine.start
    targets = Targets(torch.arange(count) * 2 + start, query_identity[mine], all_identities, group_size=2)
    loss = InfoNCE(temperature=0.1)(embed(queries[mine], weight), gathered, targets) * (2 * count / 8)
    loss.backward()
    mean_gradient = sum_over_processes(weight.grad) / 2  # what DDP does
    results[rank] = (mean_gradient, start, world(), all_identities)
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    with multiprocessing.Manager() as manager:
        shared = manager.dict()
        store = tmp_path_factory.mktemp("store") / "rendezvous"
        multiprocessing.spawn(in_process, (str(store), shared), nprocs=2)
        return dict(shared)


def test_the_mean_of_two_processes_gradients_is_that_of_one_process(results):
    for gradient, *_ in results.values():
        torch.testing.assert_close(gradient, expected_gradient(), rtol=0, atol=1e-12)


def test_ragged_shares_are_gathered_in_rank_order(results):
    assert [results[rank][1] for rank in (0, 1)] == [0, 10]
    assert [results[rank][2] for rank in (0, 1)] == [(0, 2), (1, 2)]
    assert all(torch.equal(results[rank][3], identities()[1]) for rank in (0, 1))


def test_one_process_gathers_nothing():
    rows = torch.randn(3, 2)
    gathered, start = gather(rows)
    assert gathered is rows and start == 0 and sum_over_processes(rows) is rows
