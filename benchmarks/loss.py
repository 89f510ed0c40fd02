"""Time and memory of one contrastive loss and its backward, ours beside the plain one and sentence-transformers'.

    python benchmarks/loss.py --sizes 4096x8192 16384x16384 --width 384
    python benchmarks/loss.py --cases ours dense --sizes 65536x65536

A size is queries x passages. Every case runs in a process of its own, so that one's memory is not another's. Memory is
the peak beyond what stood before the first call: imports, inputs and nothing else. Cases whose package is not
installed are left out with a word, and those that hold all scores where these would be gigabytes.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from measuring import (
    Runs,
    Summary,
    chosen,
    make_parser,
    own_commands,
    parse,
    peak_mb,
    print_case,
    ratio,
    reset_peak,
    run_by_turns,
    summarise,
)
from products import PRODUCTS, matrix_products, pace, share_of_products
from reporting import Aim, Table, write_report
from torch import Tensor

from bioemb.losses import InfoNCE, Targets

TEMPERATURE = 0.02
LARGEST_MATRIX = 2**29  # scores that are held at once by the cases that hold them all, some eight times over
SIZES = ("4096x8192", "16384x16384", "65536x65536")
HOLD_ALL = ("dense", "peer")
USUAL = ("ours", "dense", "peer", "cached_peer")  # where no --cases are named
Step = Callable[[Tensor, Tensor], Tensor]


def ours(query: Tensor, passages: Tensor) -> Tensor:
    return InfoNCE(TEMPERATURE)(query, passages)


def masked(query: Tensor, passages: Tensor) -> Tensor:
    """Ours with one query in fifty sharing its identity with another."""
    size = len(passages) // len(query)
    identity = torch.arange(len(query), device=query.device)
    identity[::50] = identity[len(query) // 2]
    targets = Targets(
        torch.arange(len(query), device=query.device) * size,
        identity,
        identity.repeat_interleave(size),
        group_size=size,
    )
    return InfoNCE(TEMPERATURE)(query, passages, targets)


def both(query: Tensor, passages: Tensor) -> Tensor:
    return InfoNCE(TEMPERATURE, directions="both")(query, passages)


def gte(query: Tensor, passages: Tensor) -> Tensor:
    return InfoNCE(TEMPERATURE, directions="gte")(query, passages)


def dense(query: Tensor, passages: Tensor) -> Tensor:
    column = torch.arange(len(query), device=query.device) * (len(passages) // len(query))
    return F.cross_entropy(query @ passages.T / TEMPERATURE, column)


def peer() -> Step:
    """MultipleNegativesRankingLoss; its passages are one tensor per place in the group."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    loss = MultipleNegativesRankingLoss(None, scale=1 / TEMPERATURE)
    return lambda query, passages: loss.compute_loss_from_embeddings([query, *_places(query, passages)], None)


def cached_peer() -> Step:
    """The loss stage of CachedMultipleNegativesRankingLoss, 1,024 rows at a time; it runs its backward itself."""
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    loss = CachedMultipleNegativesRankingLoss(
        torch.nn.Sequential(torch.nn.Identity()), scale=1 / TEMPERATURE, mini_batch_size=1024
    )
    return lambda query, passages: loss.calculate_loss(
        [[query], *([place] for place in _places(query, passages))], with_backward=True
    )


def _places(query: Tensor, passages: Tensor) -> tuple[Tensor, ...]:
    return passages.view(len(query), -1, passages.shape[1]).unbind(1)


CASES: dict[str, Callable[[], Step]] = {
    "ours": lambda: ours,
    "masked": lambda: masked,
    "both": lambda: both,
    "gte": lambda: gte,
    "dense": lambda: dense,
    "peer": peer,
    "cached_peer": cached_peer,
}


def measure(case: str, size: str, options: argparse.Namespace) -> dict:
    """Median wall and CPU seconds and peak MB of loss and backward, in this process."""
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision(options.matmul_precision)
    step, vectors = CASES[case](), make_vectors(size, options)
    before, seconds, cpu_seconds = start_peak(options.device), [], []
    for _ in range(options.calls + 1):
        for tensor in vectors:
            tensor.grad = None
        started, cpu_started = time.perf_counter(), time.process_time()
        loss = step(*vectors)
        if loss.requires_grad and case != "cached_peer":
            loss.backward()
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
        value = loss.item()
        del loss
    queries, passages = sides(size)
    wall, cpu = statistics.median(seconds[1:]), statistics.median(cpu_seconds[1:])
    rate = gflop(size, options.width) / wall
    return {"cpu": cpu, "wall": wall, "peak_mb": peak(options.device) - before, "gflop_s": rate, "loss": value}


def gflop(size: str, width: int) -> float:
    """Of the three products: scores, and the gradients of queries and passages."""
    return 6 * math.prod(sides(size)) * width / 1e9


def make_vectors(size: str, options: argparse.Namespace) -> list[Tensor]:
    """Random queries and passages of length 1."""
    make = torch.Generator().manual_seed(0)
    return [
        F.normalize(torch.randn(count, options.width, generator=make), dim=1)
        .to(options.device, getattr(torch, options.dtype))
        .requires_grad_()
        for count in sides(size)
    ]


def sides(size: str) -> tuple[int, int]:
    queries, passages = (int(number) for number in size.split("x"))
    return queries, passages


def start_peak(device: str) -> float:
    """Forget earlier peaks; MB in use now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    reset_peak()
    return peak_mb()


def peak(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else peak_mb()


def make_table(summary: Summary, options: argparse.Namespace) -> Table:
    rows = [
        [
            name,
            of["cpu"],
            of["wall"],
            of["peak_mb"],
            of["gflop_s"].median,
            share_of_products(summary, name, gflop(name.split()[-1], options.width)),
            f"{of['loss'].median:.6f}",
        ]
        for name, of in summary.items()
        if name != PRODUCTS
    ]
    caption = f"width {options.width}, {options.dtype} on {options.device}, {options.threads} threads{pace(summary)}"
    columns = [
        "case, queries x passages",
        "CPU s (least, most)",
        "wall s",
        "peak MB beyond the inputs",
        "GFLOP/s",
        "of the product rate",
        "loss",
    ]
    return Table(caption, columns, rows)


def make_aims(runs: Runs) -> list[Aim]:
    summary, size = summarise(runs), "16384x16384"
    memory = ratio(summary, f"ours {size}", f"peer {size}", "peak_mb")
    large = summary.get("ours 65536x65536")
    return [
        Aim(f"loss {size}: of MultipleNegativesRankingLoss's peak memory", memory, at_most=0.1),
        Aim(f"loss {size}: of its CPU time", ratio(summary, f"ours {size}", f"peer {size}"), at_most=1),
        Aim(
            f"loss {size}: of its cached form's CPU time",
            ratio(summary, f"ours {size}", f"cached_peer {size}"),
            at_most=1,
        ),
        Aim("loss 65536x65536: MB beyond the inputs", large["peak_mb"].median if large else None, at_most=1000),
    ]


def main() -> None:
    flags = make_parser(__doc__, repeats=1)
    flags.add_argument("--sizes", nargs="+", default=list(SIZES), help="queries x passages, the second a multiple")
    flags.add_argument("--width", type=int, default=384, help="numbers per vector")
    flags.add_argument("--calls", type=int, default=3, help="timed calls after one that is not; the median counts")
    flags.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    flags.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    flags.add_argument("--matmul_precision", default="highest", choices=["highest", "high", "medium"])
    options = parse(flags, sizes=["1024x2048"])
    wanted = chosen(list(CASES), options) if options.cases else USUAL
    names = {
        f"{case} {size}": (case, size)
        for size in options.sizes
        for case in wanted
        if case not in HOLD_ALL or math.prod(sides(size)) <= LARGEST_MATRIX
    }
    cases = {
        name: lambda options, case=case, size=size: measure(case, size, options) for name, (case, size) in names.items()
    }
    if (options.device, options.dtype) == ("cpu", "float32"):
        cases = {PRODUCTS: matrix_products, **cases}
    if options.one:
        print_case(cases, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        runs, left_out = run_by_turns(own_commands(list(cases), Path(folder)), options.repeats, options.threads)
    write_report(
        "loss", options, [make_table(summarise(runs), options)], make_aims(runs), {"runs": runs, "left out": left_out}
    )


if __name__ == "__main__":
    main()
