"""Cost against work: time and memory of extraction, filter, encoding, search, loss and step over sizes, with exponents.

    python benchmarks/curves.py
    python benchmarks/curves.py --quick
    python benchmarks/curves.py --cases search --sizes search=1000000,10000000 --dtype float16 --repeats 1 --scratch DIR

All is generated: records by the demonstration's generator, texts by its templates, random vectors of length 1. The
encoder is its small fresh one, so that rates are not MiniLM's: what counts here is how they change. Each size runs in a
process of its own; memory is the peak beyond what stood before the work, imports and inputs included (not measured of
several processes, whose peaks cannot be made to start anew). A cost that grows in proportion has exponent 1; what is
needed once whatever the size makes it less at small sizes, so the exponent between the two largest sizes stands beside
that of all. Ten million vectors take 7.7 GB of disk in float16.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from fitting import Curve, draw, exponent, last_exponent
from measuring import (
    REPOSITORY,
    Summary,
    chosen,
    make_parser,
    measured,
    own_commands,
    parse,
    peak_mb,
    print_case,
    reset_peak,
    run_by_turns,
    summarise,
)
from reporting import Table, report_path, write_report
from texts import generate_texts

PICTURE = REPOSITORY / "docs" / "curves.svg"
OF = " of "  # between a curve and its size
QUERIES, NEIGHBOURS = 1000, 210  # of a search
BLOCK = 65_536  # vectors generated at once
STEPS, SUB_BATCH = 3, 16


class Work(NamedTuple):
    """What is measured over which sizes."""

    run: Callable[[argparse.Namespace, int], dict]
    unit: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    seconds: str = "cpu"  # or "wall", or another field


def extract(options: argparse.Namespace, records: int, processes: int = 1) -> dict:
    """The command on so many generated records."""
    from bioemb.config import ExtractConfig
    from bioemb.stages.extract import run

    def work(corpus: str, output: Path) -> None:
        source = options.folder / "records" / corpus / "pubmed"
        run(ExtractConfig(input_path=(str(source),), output_file=str(output), num_proc=processes))

    with tempfile.TemporaryDirectory(dir=options.folder) as fresh:  # a finished output would not be made again
        work("warm", Path(fresh) / "warm.jsonl")
        return cost_of(lambda: work(str(records), Path(fresh) / "pairs.jsonl"))


def extract_in(options: argparse.Namespace, processes: int) -> dict:
    use = extract(options, max(sizes_of("extract", options)), processes)
    return {"cpu": use["cpu"], "wall": use["wall"]}  # no peak: that of the workers may be of the warm-up


def filter_again(options: argparse.Namespace, pairs: int) -> dict:
    """Reading, deciding and writing pairs whose cosines are known, as with another threshold."""
    from bioemb.config import FilterConfig
    from bioemb.stages.filter import run

    with tempfile.TemporaryDirectory(dir=options.folder) as fresh, open(options.folder / "rows.jsonl") as rows:
        path, output = Path(fresh) / "pairs.jsonl", Path(fresh) / "kept.jsonl"
        of_rows = (json.loads(row) for row in islice(rows, pairs))
        some = ({"query": row["query"], "document": row["pos"][0], "kind": "title_abstract"} for row in of_rows)
        path.write_text("".join(json.dumps(pair) + "\n" for pair in some))
        files = dict(model_path=str(options.folder / "model"), folder_path=str(path), out_file_path=str(output))
        first = FilterConfig(**files, sim_threshold=-1.0, max_length=8)  # few tokens: it is not what is measured
        run(first)
        return cost_of(lambda: run(replace(first, sim_threshold=-0.9, overwrite=True)))


def encode(options: argparse.Namespace, count: int) -> dict:
    from bioemb.encoder import Encoder

    encoder = Encoder.from_pretrained(options.folder / "model")
    texts = json.loads((options.folder / "texts.json").read_text())
    encoder.encode(texts[:16], kind="passage")
    return cost_of(lambda: encoder.encode(texts[:count], kind="passage"))


def search(options: argparse.Namespace, count: int) -> dict:
    """Exact search on disk, then the selection of negatives from what it found."""
    import numpy as np

    from bioemb.mining import NegativeRule, NumpySearcher, select_negatives

    vectors = np.load(options.folder / f"{count}.npy", mmap_mode="r")
    queries = np.load(options.folder / "queries.npy")
    searcher, found = NumpySearcher(options.width), []

    def work() -> None:
        searcher.add(vectors)
        found.extend(searcher.search(queries, min(NEIGHBOURS, count)))

    use = cost_of(work)
    scores, ids = found
    rule = NegativeRule(relative_margin=0.05)
    selecting = cost_of(lambda: select_negatives(scores, ids, [[row[0]] for row in ids], scores[:, 0], rule))
    return {**use, "select_s": selecting["cpu"]}


def loss(options: argparse.Namespace, queries: int) -> dict:
    """InfoNCE and its gradients, as many passages as queries."""
    import torch
    import torch.nn.functional as F

    from bioemb.losses import InfoNCE

    torch.set_num_threads(options.threads)

    def vectors(count: int) -> torch.Tensor:
        return F.normalize(torch.randn(count, options.width), dim=1).requires_grad_()

    InfoNCE()(vectors(64), vectors(64)).backward()
    query, passages = vectors(queries), vectors(queries)
    return cost_of(lambda: InfoNCE()(query, passages).backward())


def step(options: argparse.Namespace, queries: int, sub_batch: int | None = None) -> dict:
    """A step of the trainer, after a small run that brings what is loaded once."""
    from step import ours

    given = {"folder": options.folder, "one": f"{options.one}, warm", "queries": 2, "steps": 2}
    given |= {"dropout": 0.0, "own_dropout": False}
    ours(argparse.Namespace(**given), False)
    reset_peak()
    before = peak_mb()
    use = ours(argparse.Namespace(**given | {"one": options.one, "queries": queries, "steps": STEPS}), False, sub_batch)
    return {"cpu": use["cpu"], "wall": use["wall"], "mb": use["peak_mb"] - before}


WORKS = {
    "extract": Work(extract, "records", (1000, 2000, 4000, 8000, 16_000), (300, 600)),
    "filter again": Work(filter_again, "pairs", (1000, 2000, 4000, 8000), (200, 400)),
    "encode": Work(encode, "texts", (500, 1000, 2000, 4000, 8000), (100, 200, 400)),
    "search": Work(search, "vectors", (10_000, 30_000, 100_000, 300_000), (2000, 4000, 8000)),
    "loss": Work(loss, "queries and passages", (1024, 2048, 4096, 8192, 16_384), (512, 1024, 2048)),
    "step": Work(step, "queries of a step", (16, 32, 64, 128, 256), (8, 16, 32)),
    "step in sub-batches": Work(
        lambda options, queries: step(options, queries, SUB_BATCH), "queries of a step", (32, 64, 128, 256), (32, 64)
    ),
    "extract in processes": Work(extract_in, "processes", (1, 2), (1, 2), "wall"),
}


def cost_of(work: Callable[[], object]) -> dict:
    """CPU and wall seconds of it, and the peak MB beyond what was there."""
    reset_peak()
    before = peak_mb()
    with measured() as use:
        work()
    return {"cpu": use["cpu"], "wall": use["wall"], "mb": use["peak_mb"] - before}


def sizes_of(name: str, options: argparse.Namespace) -> list[int]:
    """What `--sizes` says of a curve, else its own."""
    given = dict(word.split("=", 1) for word in options.sizes)
    if name in given:
        return sorted(int(number) for number in given[name].split(","))
    return list(WORKS[name].quick if options.quick else WORKS[name].sizes)


def check_sizes(words: list[str]) -> None:
    """Stop at what is no WORK=N,N."""
    for word in words:
        name, _, numbers = word.partition("=")
        if name not in WORKS or not all(number.isdecimal() and int(number) for number in numbers.split(",")):
            sys.exit(f"--sizes {word}: expected WORK=N,N of {', '.join(WORKS)}")


def run_case(options: argparse.Namespace) -> dict:
    name, _, size = options.one.rpartition(OF)
    return WORKS[name].run(options, int(size))


def prepare(folder: Path, names: list[str], options: argparse.Namespace) -> None:
    """What the chosen curves read."""
    from bioemb.demo.corpus import MIN_RECORDS, write_corpus
    from bioemb.demo.model import write_starting_encoder

    if {"extract", "extract in processes"} & set(names):
        write_corpus(folder / "records" / "warm", MIN_RECORDS)
        for size in sizes_of("extract", options):
            write_corpus(folder / "records" / str(size), size)
    if "search" in names:
        write_vectors(folder / "queries.npy", QUERIES, options, seed=1)
        for size in sizes_of("search", options):
            write_vectors(folder / f"{size}.npy", size, options, seed=0)
    if {"filter again", "encode", "step", "step in sub-batches"} & set(names):
        counts = [*sizes_of("filter again", options), *sizes_of("encode", options)]
        counts += [STEPS * size for size in sizes_of("step", options)]
        counts += [STEPS * size for size in sizes_of("step in sub-batches", options)]
        texts = generate_texts(max(counts))
        write_starting_encoder(folder / "model", [text.abstract for text in texts[:500]], warm_up_steps=0)
        (folder / "texts.json").write_text(json.dumps([text.abstract for text in texts]))
        with open(folder / "rows.jsonl", "w", encoding="utf-8") as out:
            for text, other in zip(texts, [*texts[1:], texts[0]], strict=True):
                out.write(json.dumps({"query": text.title, "pos": [text.abstract], "neg": [other.abstract]}) + "\n")


def write_vectors(path: Path, count: int, options: argparse.Namespace, seed: int) -> None:
    """Random vectors of length 1 on disk, written block by block; the disk is looked at first."""
    import numpy as np

    dtype = np.dtype(options.dtype)
    needed, free = count * options.width * dtype.itemsize, shutil.disk_usage(path.parent).free
    if needed > 0.8 * free:
        sys.exit(f"{count:,} vectors take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; say --scratch DIR")
    rng = np.random.default_rng(seed)
    out = np.lib.format.open_memmap(path, "w+", dtype, (count, options.width))
    for start in range(0, count, BLOCK):
        drawn = rng.standard_normal((min(BLOCK, count - start), options.width), dtype=np.float32)
        out[start : start + BLOCK] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    out.flush()


def make_curves(summary: Summary, names: list[str], options: argparse.Namespace) -> list[Curve]:
    curves = []
    for name in names:
        work = WORKS[name]
        sizes = [size for size in sizes_of(name, options) if f"{name}{OF}{size}" in summary]
        of = [summary[f"{name}{OF}{size}"] for size in sizes]
        if of:
            costs = [
                [max(use[field].median, 1e-3) for use in of] if field in of[0] else None
                for field in (work.seconds, "mb")
            ]
            curves.append(Curve(name, work.unit, sizes, *costs))
    return curves


def make_table(curves: list[Curve], options: argparse.Namespace) -> Table:
    rows = []
    for curve in curves:
        cells = [curve.name, f"{curve.sizes[0]:,} to {curve.sizes[-1]:,} {curve.unit}"]
        for values in (curve.seconds, curve.megabytes):
            if values is None:
                cells += [None] * 3
                continue
            both = [found(curve.sizes, values) for found in (exponent, last_exponent)]
            cells += [values[-1], *(None if power is None else f"{power:.2f}" for power in both)]
        rows.append(cells)
    columns = ["work", "over", "s at the largest", "exponent", "of the last two", "MB", "exponent", "of the last two"]
    caption = (
        f"CPU seconds (of processes: wall seconds) and MB beyond what stood before; vectors of {options.width}, "
        f"{options.dtype}, {QUERIES:,} queries searched, {options.threads} threads"
    )
    return Table(caption, columns, rows)


def selection_table(summary: Summary, options: argparse.Namespace) -> list[Table]:
    """Selection after the search: it does not see how many vectors there are."""
    rows = [
        [
            f"{size:,}",
            summary[case]["cpu"],
            summary[case]["wall"],
            summary[case]["mb"].median,
            summary[case]["select_s"],
        ]
        for size in sizes_of("search", options)
        if (case := f"search{OF}{size}") in summary
    ]
    columns = ["vectors", "search, CPU s", "wall s", "MB", "selection, CPU s"]
    return [Table(f"Top {NEIGHBOURS} of {QUERIES:,} queries, then their negatives", columns, rows)] if rows else []


def main() -> None:
    flags = make_parser(__doc__)
    flags.add_argument("--sizes", nargs="+", default=[], metavar="WORK=N,N", help="other sizes of some curves")
    flags.add_argument("--width", type=int, default=384, help="numbers of a vector")
    flags.add_argument("--dtype", default="float32", choices=("float32", "float16"), help="of the vectors on disk")
    flags.add_argument("--scratch", type=Path, help="where what is generated is put meanwhile")
    options = parse(flags, repeats=1)
    check_sizes(options.sizes)
    if options.one:
        print_case({options.one: run_case}, options)
        return
    names = chosen(list(WORKS), options)
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        prepare(Path(name), names, options)
        jobs = [f"{name}{OF}{size}" for name in names for size in sizes_of(name, options)]
        runs, left_out = run_by_turns(own_commands(jobs, Path(name)), options.repeats, options.threads)
    summary = summarise(runs)
    curves = make_curves(summary, names, options)
    is_whole = not (options.quick or options.cases or options.json)
    if curves:
        draw(curves, PICTURE if is_whole else report_path("curves", options).with_suffix(".svg"))
    tables = [make_table(curves, options), *selection_table(summary, options)]
    write_report("curves", options, tables, [], {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
