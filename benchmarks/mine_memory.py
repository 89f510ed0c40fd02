"""Peak memory of what `bioemb mine` does beside encoding (tables, exact search, selection, writing) over the corpus.

    python benchmarks/mine_memory.py
    python benchmarks/mine_memory.py --sizes 10000 100000 --queries 1000 8000

Vectors are drawn at random, written to disk in blocks as an encoding leaves them, and every case runs in a process of
its own. Counted is what that process needs beyond its imports: the whole of its resident memory, mapped files too.
Nobody wants to write the texts of a million passages to see what vectors cost: they are a number each.
"""

import argparse
import json
import tempfile
from pathlib import Path

from measuring import (
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
from reporting import Aim, Table, write_report

BY = " x "  # a case is "queries x passages"
STAGES = ("tables", "open", "search", "select")  # the first is done before encoding


def run_case(options: argparse.Namespace) -> dict:
    """Write the tables, search, select and write; megabytes beyond the imports, of each and of all after encoding."""
    from bioemb.config import MineConfig
    from bioemb.process_settings import give_back_memory
    from bioemb.stages.mine import make_rule
    from bioemb.stages.mining_output import write_examples
    from bioemb.stages.mining_search import find_neighbours
    from bioemb.stages.mining_selection import Chooser
    from bioemb.stages.mining_tables import open_tables, write_tables

    queries, passages = map(int, options.one.split(BY))
    folder = options.folder / options.one
    files = dict(input_file=str(folder / "rows.jsonl"), output_file="none")
    config = MineConfig(model_name_or_path="none", **files, relative_margin=None)  # of random vectors, none is close
    rule, vectors = make_rule(config), open_vectors(options.folder, queries, passages)
    reset_peak()
    before = peak_mb()
    with tempfile.TemporaryDirectory(dir=folder) as name:  # what another run left there would be done already
        fresh = Path(name)
        with measured() as writing:
            write_tables(fresh / "tables", [folder / "rows.jsonl"], [folder / "pool.jsonl"])
        give_back_memory()  # as is done after encoding
        with measured() as opening:
            tables = open_tables(fresh / "tables")
        with measured() as searching:
            neighbours = find_neighbours(vectors, fresh / "neighbours", rule.range_stop, config)
        with measured() as selecting:
            chooser = Chooser(tables, vectors, neighbours, rule, None, config.max_positive_similarity)
            write_examples([folder / "rows.jsonl"], chooser, fresh / "parts", fresh / "mined.jsonl", False)
    of = dict(zip(STAGES, (writing, opening, searching, selecting), strict=True))
    return {
        **{f"{stage} MB": use["peak_mb"] - before for stage, use in of.items()},
        **{f"{stage} s": use["cpu"] for stage, use in of.items()},
        "MB": max(use["peak_mb"] for use in (opening, searching, selecting)) - before,
        "imports MB": before,
    }


def open_vectors(folder: Path, queries: int, passages: int):
    from bioemb.blocks import BlockFolder
    from bioemb.stages.mining_search import BLOCK_ROWS, Vectors

    return Vectors(
        BlockFolder(folder / f"passages-{passages}", passages, BLOCK_ROWS),
        BlockFolder(folder / f"queries-{queries}", queries, BLOCK_ROWS),
        passages,
    )


def prepare(folder: Path, case: str, width: int) -> None:
    """The vectors, unless another case has them, and the rows and the pool of a case."""
    import numpy as np

    queries, passages = map(int, case.split(BY))
    for seed, blocks in enumerate(open_vectors(folder, queries, passages)[:2]):
        rng = np.random.default_rng(seed)
        for index in blocks.missing():
            span = blocks.span(index)
            drawn = rng.standard_normal((span.stop - span.start, width), dtype=np.float32)
            blocks.write(index, drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
    (folder / case).mkdir()
    pool, rows = folder / case / "pool.jsonl", folder / case / "rows.jsonl"
    with open(pool, "w", encoding="utf-8") as out:
        out.writelines(
            json.dumps({"text": f"passage {number}", "identity": number}) + "\n" for number in range(passages)
        )
    with open(rows, "w", encoding="utf-8") as out:
        for number in range(queries):
            positive = f"passage {number * 7919 % passages}"
            out.write(json.dumps({"query": f"query {number}", "pos": [positive], "identity": number}) + "\n")


def make_table(summary: Summary, options: argparse.Namespace) -> Table:
    rows = []
    for case, of in summary.items():
        queries, passages = map(int, case.split(BY))
        stages = [of[f"{stage} MB"].median for stage in STAGES]
        on_disk = passages * options.width * 4 / 2**20
        rows.append(
            [
                f"{passages:,}",
                f"{queries:,}",
                on_disk,
                *stages,
                of["MB"].median,
                of["search s"].median,
                of["select s"].median,
            ]
        )
    columns = [
        "passages",
        "queries",
        "vectors on disk, MB",
        *(f"{stage}, MB" for stage in STAGES),
        "peak after encoding, MB",
        "search, CPU s",
        "select, CPU s",
    ]
    return Table(
        f"Mining beside encoding, width {options.width}, ranks 10 to 210: memory beyond imports", columns, rows
    )


def make_aims(summary: Summary, options: argparse.Namespace) -> list[Aim]:
    def growth(cases: list[str], place: int) -> float | None:
        """Bytes for each further query (0) or passage (1); None of one case alone, or where one is missing."""
        if len(set(cases)) < 2 or any(case not in summary for case in cases):
            return None
        first, last = ((int(case.split(BY)[place]), summary[case]["MB"].median) for case in cases)
        return (last[1] - first[1]) * 2**20 / (last[0] - first[0])

    sizes, queries = sorted(options.sizes), sorted(options.queries)
    by_passages = [f"{queries[0]}{BY}{size}" for size in (sizes[0], sizes[-1])]
    by_queries = [f"{count}{BY}{sizes[0]}" for count in (queries[0], queries[-1])]
    return [
        Aim("memory: bytes of a further passage", growth(by_passages, 1), at_most=100),
        Aim("memory: bytes of a further query", growth(by_queries, 0), at_most=1024),
    ]


def main() -> None:
    flags = make_parser(__doc__, repeats=1)
    flags.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="passages")
    flags.add_argument("--queries", type=int, nargs=2, default=[5000, 80_000], help="the second with the smallest only")
    flags.add_argument("--width", type=int, default=384, help="numbers of a vector")
    options = parse(flags, sizes=[10_000, 40_000], queries=[4500, 9000])
    if options.one:
        print_case({options.one: run_case}, options)
        return
    cases = [f"{options.queries[0]}{BY}{size}" for size in options.sizes]
    cases = list(dict.fromkeys([*cases, f"{options.queries[1]}{BY}{min(options.sizes)}"]))
    with tempfile.TemporaryDirectory() as name:
        folder, names = Path(name), chosen(cases, options)
        for case in names:
            prepare(folder, case, options.width)
        runs, left_out = run_by_turns(own_commands(names, folder), options.repeats, options.threads)
    summary = summarise(runs)
    aims = make_aims(summary, options)
    write_report("mine_memory", options, [make_table(summary, options)], aims, {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
