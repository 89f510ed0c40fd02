"""Time and memory of one contrastive loss and its backward, ours beside the plain one and sentence-transformers'.

    python benchmarks/loss.py --sizes 4096x8192 16384x16384 --width 384
    python benchmarks/loss.py --cases ours dense --sizes 65536x65536 --json loss.json

A size is queries x passages. Every case runs in a process of its own, so that one's memory is not another's. Memory is
the peak beyond what stood before the first call: imports, inputs and nothing else. Cases whose package is not
installed are left out with a word.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bioemb.losses import InfoNCE, Targets  # noqa: E402

TEMPERATURE = 0.02
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
    """Median seconds, CPU seconds and peak megabytes of loss and backward, in this process."""
    queries, passages = (int(number) for number in size.split("x"))
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision(options.matmul_precision)
    step = CASES[case]()
    make = torch.Generator().manual_seed(0)
    vectors = [
        F.normalize(torch.randn(count, options.width, generator=make), dim=1)
        .to(options.device, getattr(torch, options.dtype))
        .requires_grad_()
        for count in (queries, passages)
    ]
    before, seconds, cpu_seconds = reset_peak(options.device), [], []
    for _ in range(options.repeat + 1):
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
    return {
        "case": case,
        "size": size,
        "seconds": statistics.median(seconds[1:]),
        "cpu_seconds": statistics.median(cpu_seconds[1:]),
        "peak_mb": (peak(options.device) - before) / 2**20,
        "loss": value,
    }


def reset_peak(device: str) -> int:
    """Forget earlier peaks; bytes in use now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes the present
    return peak(device)


def peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def in_fresh_process(case: str, size: str, arguments: list[str]) -> dict | None:
    """The measurement of one case, or None with a word on stderr when its package is missing."""
    command = [sys.executable, __file__, *arguments, "--one", case, size]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
        print(f"{case} {size}: left out ({reason})", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--sizes", nargs="+", default=["4096x8192"], help="queries x passages, the second a multiple")
    flags.add_argument("--cases", nargs="+", default=["ours", "dense", "peer"], choices=CASES)
    flags.add_argument("--width", type=int, default=384, help="numbers per vector")
    flags.add_argument("--repeat", type=int, default=3, help="timed calls after one that is not; the median counts")
    flags.add_argument("--threads", type=int, default=1)
    flags.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    flags.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    flags.add_argument("--matmul_precision", default="highest", choices=["highest", "high", "medium"])
    flags.add_argument("--json", type=Path, help="write the rows there too")
    flags.add_argument("--one", nargs=2, metavar=("CASE", "SIZE"), help=argparse.SUPPRESS)
    return flags


def main() -> None:
    options = parser().parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options)))
        return
    rows = []
    print(f"{'case':<12} {'size':>14} {'seconds':>9} {'CPU s':>9} {'peak MB':>9} {'GFLOP/s':>9}  loss")
    for size in options.sizes:
        for case in options.cases:
            row = in_fresh_process(case, size, sys.argv[1:])
            if row is None:
                continue
            rows.append(row)
            queries, passages = (int(number) for number in size.split("x"))
            rate = 6 * queries * passages * options.width / row["seconds"] / 1e9  # of the three products
            print(
                f"{case:<12} {size:>14} {row['seconds']:>9.3f} {row['cpu_seconds']:>9.3f} {row['peak_mb']:>9.0f} "
                f"{rate:>9.0f}  {row['loss']:.6f}"
            )
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name not in ("json", "one")}
        options.json.write_text(json.dumps({"settings": settings, "torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
