"""Where the time goes: the share of matrix products, and of all else, in encoding, a step, the loss and search.

    python benchmarks/time_shares.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz
    python benchmarks/time_shares.py --quick

The whole is timed without a profiler, in CPU seconds, after the same work once to warm up. Then torch's profiler says
how long each operation itself takes in the same work once more; here they are by kind, and what they leave of the whole
is the rest: Python, tokens, what torch does between operations. The profiler slows down small operations; where the
kinds add up to more than the whole, the rest is nothing. Its clock runs on while other programs have the core: let
there be none. Search is NumPy's: its products are timed by themselves. One thread, so that nothing waits for others;
float32 where the processor has no bfloat16.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from measuring import Runs, chosen, has_bf16, in_best, make_parser, own_commands, parse, print_case, run_by_turns
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
    encoder.set_max_length(options.max_length, options.max_length)
    texts = mixed_lengths(read_texts(options.texts, options.count))
    return shares(lambda: encoder.encode(texts, kind="passage", bf16=is_bf16(options)))


def step(options: argparse.Namespace, sub_batch_size: int | None = None) -> dict:
    """The first step of a training by the command, again and again."""
    from bioemb.process_settings import settle

    settle()
    from bioemb.config import TrainConfig
    from bioemb.stages.train import run
    from bioemb.trainer import Trainer

    folder, plain, found = options.folder / options.one, Trainer.step, {}

    def noted(*arguments, **named):
        results = []
        found.update(shares(lambda: results.append(plain(*arguments, **named))))
        return results[0]

    Trainer.step = noted
    texts = read_texts(options.texts, options.queries)
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
            max_steps=1,
            bf16=is_bf16(options),
        )
    )
    return found


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
    return shares(lambda: info_nce(query, passages).backward())


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


def is_bf16(options: argparse.Namespace) -> bool:
    """Whether the case's name says so."""
    return "bf16" in options.one


def load(options: argparse.Namespace):
    from bioemb.process_settings import settle

    settle()
    from bioemb.encoder import Encoder

    return Encoder.from_pretrained(options.model)


def shares(work: Callable[[], object]) -> dict:
    """Seconds of the work, of each kind of operation in it, and of the rest; it is done three times."""
    from torch.profiler import ProfilerActivity, profile

    whole = seconds(work)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    kinds: Counter[str] = Counter()
    for event in profiler.key_averages():
        kinds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    del kinds[REST]
    return {"seconds": whole, **kinds, REST: max(0.0, whole - sum(kinds.values()))}


def kind_of(operation: str) -> str:
    """The first kind with a word that the operation's name has."""
    return next((kind for kind, words in KINDS.items() if any(word in operation.lower() for word in words)), REST)


def seconds(work: Callable[[], object]) -> float:
    """Of CPU, of the second of two times."""
    work()
    began = time.process_time()
    work()
    return time.process_time() - began


def make_table(runs: Runs, options: argparse.Namespace) -> Table:
    rows = []
    for case, of in runs.items():
        first = of[0]
        parts = [first.get(kind) for kind in (*KINDS, REST)]
        cells = [None if part is None else f"{100 * part / first['seconds']:.0f} %" for part in parts]
        rows.append([case, first["seconds"], *cells])
    caption = (
        f"{options.count} texts of 10 to 300 words, to {options.max_length} tokens; {options.queries} queries x "
        f"{GROUP} passages of {PASSAGE_TOKENS} tokens; InfoNCE of {options.pairs:,} x {2 * options.pairs:,}; "
        f"{options.searched:,} queries in {options.vectors:,} vectors; {describe(options.texts)}, one thread. CPU s "
        "are without the profiler; of these the rest is what the kinds, as the profiler has them, leave"
    )
    return Table(caption, ["case", "CPU s", *KINDS, REST], rows)


def main() -> None:
    flags = make_parser(__doc__, without=("repeats", "threads"))
    add_flags(flags)
    flags.add_argument("--count", type=int, default=300, help="texts to encode")
    flags.add_argument("--max_length", type=int, default=512, help="their tokens at most, as in encode.py")
    flags.add_argument("--queries", type=int, default=48, help="of a step")
    flags.add_argument("--pairs", type=int, default=4096, help="queries of the loss, with twice as many passages")
    flags.add_argument("--width", type=int, default=384)
    flags.add_argument("--searched", type=int, default=2000, help="queries of the search")
    flags.add_argument("--vectors", type=int, default=100_000, help="that are searched")
    options = parse(flags, count=60, max_length=256, queries=12, pairs=1024, vectors=20_000)
    in_float32 = {in_best(case, ()): work for case, work in CASES.items()}
    if options.one:
        print_case(CASES | in_float32, options)
        return
    names = chosen(list(CASES if has_bf16() else in_float32), options)
    with tempfile.TemporaryDirectory() as name:
        runs, left_out = run_by_turns(own_commands(names, Path(name)), 1, options.threads)
    write_report("time_shares", options, [make_table(runs, options)], [], {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
