"""Where the time goes: the share of matrix products, and of all else, in encoding, a step, the loss and search.

    python benchmarks/time_shares.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz
    python benchmarks/time_shares.py --quick

torch's profiler says how long each operation itself takes; here they are by kind. Search is NumPy's: its products are
timed again by themselves. One thread, so that nothing waits for others; the profiler slows down small operations.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from measuring import Runs, chosen, make_parser, own_commands, parse, print_case, run_by_turns
from reporting import Table, write_report
from texts import add_flags, describe, mixed_lengths, read_texts

KINDS = {  # words in the names of torch's operations, the first that fits
    "products": ("mm", "_linear", "::dot", "attention"),
    "softmax, logarithms": ("softmax", "logsumexp", "::exp", "::log"),
    "activation": ("gelu",),
    "norms": ("layer_norm", "clamp_min", "::norm", "vector_norm"),
    "optimiser": ("adam", "foreach", "lerp"),
    "copies, casts, filling": ("copy", "cat", "index", "pad", "fill", "zero", "clone", "embedding", "gather", "empty"),
    "sums, scaling": ("add", "mul", "sub", "div", "sum", "neg", "segment"),
}
REST = "the rest, and Python"
QUERY_TOKENS, PASSAGE_TOKENS, GROUP = 64, 256, 2


def encode(options: argparse.Namespace) -> dict:
    encoder = load(options)
    texts = mixed_lengths(read_texts(options.texts, options.count))
    encoder.encode(texts[:16], kind="passage", bf16=True)
    return profiled(lambda: encoder.encode(texts, kind="passage", bf16=True))


def step(options: argparse.Namespace, sub_batch_size: int | None = None) -> dict:
    """The second step of a training by the command."""
    from bioemb.process_settings import settle

    settle()
    from bioemb.config import TrainConfig
    from bioemb.stages.train import run
    from bioemb.trainer import Trainer

    folder, plain, found = options.folder / options.one, Trainer.step, []

    def noted(*arguments, **named):
        results = []
        found.append(profiled(lambda: results.append(plain(*arguments, **named))))
        return results[0]

    Trainer.step = noted
    texts = read_texts(options.texts, 2 * options.queries)
    folder.mkdir()
    others = [texts[(row + len(texts) // 2) % len(texts)].abstract for row in range(len(texts))]
    rows = [{"query": t.title, "pos": [t.abstract], "neg": [other]} for t, other in zip(texts, others, strict=True)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run(
        TrainConfig(
            output_dir=str(folder / "model"),
            model_name_or_path=options.model,
            train_data=(str(folder / "rows.jsonl"),),
            train_group_size=GROUP,
            query_max_len=QUERY_TOKENS,
            passage_max_len=PASSAGE_TOKENS,
            per_device_train_batch_size=options.queries,
            sub_batch_size=sub_batch_size,
            max_steps=2,
            bf16=True,
        )
    )
    return found[1]


def loss(options: argparse.Namespace) -> dict:
    import torch
    import torch.nn.functional as F

    from bioemb.losses import InfoNCE

    torch.manual_seed(0)
    query, passages = (
        F.normalize(torch.randn(count, options.width), dim=-1).requires_grad_()
        for count in (options.pairs, 2 * options.pairs)
    )
    info_nce = InfoNCE(0.02)
    info_nce(query, passages).backward()
    return profiled(lambda: info_nce(query, passages).backward())


def search(options: argparse.Namespace) -> dict:
    """The search as a whole, and its products alone, in the same blocks."""
    import numpy as np

    from bioemb.mining import NumpySearcher
    from bioemb.mining.search import QUERY_ROWS

    rng = np.random.default_rng(0)
    queries, passages = (
        (x := rng.standard_normal((count, options.width), np.float32)) / np.linalg.norm(x, axis=1, keepdims=True)
        for count in (options.searched, options.vectors)
    )
    searcher = NumpySearcher(threads=1)
    searcher.add(passages)
    whole = seconds(lambda: searcher.search(queries, 210))

    def products() -> None:
        for first in range(0, len(passages), searcher.block_columns):
            for begin in range(0, len(queries), QUERY_ROWS):
                queries[begin : begin + QUERY_ROWS] @ passages[first : first + searcher.block_columns].T

    alone = min(seconds(products), whole)
    return {"seconds": whole, "products": alone, REST: whole - alone}


CASES: dict[str, Callable[[argparse.Namespace], dict]] = {
    "encode, bf16": encode,
    "step, bf16, one pass": step,
    "step, bf16, sub-batches": lambda options: step(options, max(1, options.queries // 6)),
    "InfoNCE, float32": loss,
    "search, float32": search,
}


def load(options: argparse.Namespace):
    from bioemb.process_settings import settle

    settle()
    from bioemb.encoder import Encoder

    return Encoder.from_pretrained(options.model)


def profiled(work: Callable[[], object]) -> dict:
    """Seconds of the work, and of each kind of operation in it."""
    from torch.profiler import ProfilerActivity, profile

    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    kinds: Counter[str] = Counter()
    events = profiler.key_averages()
    for event in events:
        kinds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    wall = time.perf_counter() - began
    return {"seconds": sum(kinds.values()), "with profiler": wall, **kinds}


def kind_of(operation: str) -> str:
    """The first kind with a word that the operation's name has."""
    return next((kind for kind, words in KINDS.items() if any(word in operation.lower() for word in words)), REST)


def seconds(work: Callable[[], object]) -> float:
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def make_table(runs: Runs, options: argparse.Namespace) -> Table:
    rows = []
    for case, of in runs.items():
        first = of[0]
        shares = [first.get(kind) and f"{100 * first[kind] / first['seconds']:.0f} %" for kind in (*KINDS, REST)]
        rows.append([case, first["seconds"], *shares])
    caption = (
        f"{options.count} texts of 10 to 300 words; {options.queries} queries x {GROUP} passages of {PASSAGE_TOKENS} "
        f"tokens; InfoNCE of {options.pairs:,} x {2 * options.pairs:,}; {options.searched:,} queries in "
        f"{options.vectors:,} vectors; {describe(options.texts)}, one thread"
    )
    return Table(caption, ["case", "s", *KINDS, REST], rows)


def main() -> None:
    flags = make_parser(__doc__, repeats=1)
    add_flags(flags)
    flags.set_defaults(threads=1)
    flags.add_argument("--count", type=int, default=300, help="texts to encode")
    flags.add_argument("--queries", type=int, default=48, help="of a step")
    flags.add_argument("--pairs", type=int, default=4096, help="queries of the loss, with twice as many passages")
    flags.add_argument("--width", type=int, default=384)
    flags.add_argument("--searched", type=int, default=2000, help="queries of the search")
    flags.add_argument("--vectors", type=int, default=100_000, help="that are searched")
    options = parse(flags, count=60, queries=12, pairs=1024, vectors=20_000)
    if options.one:
        print_case(CASES, options)
        return
    with tempfile.TemporaryDirectory() as name:
        runs, left_out = run_by_turns(own_commands(chosen(list(CASES), options), Path(name)), 1, options.threads)
    write_report("time_shares", options, [make_table(runs, options)], [], {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
