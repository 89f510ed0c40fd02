"""Search alone: exact and approximate, bioemb's searchers and faiss itself, on generated vectors of several numbers.

    python benchmarks/search.py
    python benchmarks/search.py --sizes 10000000 --cases "bioemb numpy" "faiss Flat"

The vectors are clustered, as texts' are: each is one of a thousand directions with noise of the same length, and so are
the queries; they lie in a file that every case reads. Filling (with training, where there is any) and searching are
measured apart. Recall is the share of the exact neighbours that are found. The peak holds what was read of that file;
"of its own" is what the process has without it after filling, or after the search where that is more. Approximate
indexes can be asked for at any size, but HNSW is left out above `--hnsw_most` vectors: filling it takes minutes.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from measuring import (
    Summary,
    chosen,
    make_parser,
    measured,
    own_commands,
    own_mb,
    parse,
    print_case,
    run_by_turns,
    summarise,
)
from products import PRODUCTS, matrix_products, pace, share_of_products
from reporting import Aim, Table, write_report

CLUSTERS = 1000
BLOCK = 65_536  # vectors generated at once
EXACT = "faiss Flat"
OF = " of "  # between a case and its number of vectors


def numpy_searcher(options: argparse.Namespace, size: int):
    from bioemb.mining import NumpySearcher

    return NumpySearcher(options.width)


def faiss_searcher(options: argparse.Namespace, factory: str, parameters: str = ""):
    from bioemb.mining import FaissSearcher

    return FaissSearcher(options.width, factory, parameters=parameters)


def bare_faiss(options: argparse.Namespace, size: int):
    import faiss

    return faiss.IndexFlatIP(options.width)


def cells(size: int) -> int:
    """Four times the square root, to a power of two."""
    return 1 << round(4 * size**0.5).bit_length() - 1


CASES: dict[str, Callable[[argparse.Namespace, int], object]] = {
    EXACT: bare_faiss,
    "bioemb numpy": numpy_searcher,
    "bioemb faiss Flat": lambda options, size: faiss_searcher(options, "Flat"),
    "bioemb faiss IVF, 32 probes": lambda options, size: faiss_searcher(options, f"IVF{cells(size)},Flat", "nprobe=32"),
    "bioemb faiss IVF, 128 probes": lambda options, size: faiss_searcher(
        options, f"IVF{cells(size)},Flat", "nprobe=128"
    ),
    "bioemb faiss HNSW32": lambda options, size: faiss_searcher(options, "HNSW32", "efSearch=256"),
}


def run_case(options: argparse.Namespace) -> dict:
    """Fill and search; the ids found stay in the folder."""
    import numpy as np

    case, _, size = options.one.partition(OF)
    vectors = np.load(options.folder / f"{size}.npy", mmap_mode="r")
    queries = np.load(options.folder / "queries.npy")
    searcher = CASES[case](options, int(size))
    with measured() as filling:
        searcher.add(np.ascontiguousarray(vectors) if case == EXACT else vectors)
    own = own_mb()
    with measured() as searching:
        _, ids = searcher.search(queries, options.neighbours)
    np.save(options.folder / f"{options.one}.npy", ids)
    return {
        "fill": filling["cpu"],
        "cpu": searching["cpu"],
        "wall": searching["wall"],
        "peak_mb": max(filling["peak_mb"], searching["peak_mb"]),
        "own_mb": max(own, own_mb()),
    }


def generate(folder: Path, options: argparse.Namespace) -> None:
    """Files of vectors of length 1, and the queries."""
    import numpy as np

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, options.width), dtype=np.float32)

    def draw(count: int) -> np.ndarray:
        noise = rng.standard_normal((count, options.width), dtype=np.float32)
        vectors = centres[rng.integers(CLUSTERS, size=count)] + noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    np.save(folder / "queries.npy", draw(options.queries))
    for size in options.sizes:
        out = np.lib.format.open_memmap(folder / f"{size}.npy", "w+", np.float32, (size, options.width))
        for start in range(0, size, BLOCK):
            out[start : start + BLOCK] = draw(min(BLOCK, size - start))
        out.flush()


def recall(folder: Path, case: str, size: int) -> float | None:
    """Of the exact case's ids, those that this case found."""
    import numpy as np

    exact = folder / f"{EXACT}{OF}{size}.npy"
    if not exact.exists():
        return None
    wanted, found = np.load(exact), np.load(folder / f"{case}{OF}{size}.npy")
    return sum(len(np.intersect1d(one, other)) for one, other in zip(wanted, found, strict=True)) / wanted.size


def make_table(summary: Summary, size: int, found: dict, options: argparse.Namespace) -> Table:
    gflop = 2 * options.queries * size * options.width / 1e9
    exact = summary.get(f"{EXACT}{OF}{size}")
    rows = []
    for case in CASES:
        of = summary.get(f"{case}{OF}{size}")
        if not of:
            continue
        is_exact = "IVF" not in case and "HNSW" not in case
        rows.append(
            [
                case,
                of["fill"],
                of["cpu"],
                of["wall"],
                *(of[time].median / exact[time].median if exact else None for time in ("cpu", "wall")),
                of["peak_mb"].median,
                of["own_mb"].median,
                share_of_products(summary, f"{case}{OF}{size}", gflop) if is_exact else None,
                f"{found[case, size]:.4f}" if found.get((case, size)) is not None else None,
            ]
        )
    columns = [
        "case",
        "fill, CPU s",
        "search, CPU s (least, most)",
        "wall s",
        f"times {EXACT}",
        "of its wall time",
        "peak MB",
        "MB of its own",
        "of the product rate",
        "recall",
    ]
    caption = (
        f"{options.queries:,} queries in {size:,} vectors of {options.width}, top {options.neighbours}, "
        f"{size * options.width * 4 / 2**20:,.0f} MB of vectors, {options.threads} threads{pace(summary)}"
    )
    return Table(caption, columns, rows)


def make_aims(summary: Summary, sizes: list[int]) -> list[Aim]:
    """Exact search is to run at faiss's pace."""
    aims = []
    for size in sizes:
        ours, exact = (summary.get(f"{case}{OF}{size}") for case in ("bioemb numpy", EXACT))
        for time, words in (("cpu", "CPU"), ("wall", "wall")):
            reached = ours[time].median / exact[time].median if ours and exact else None
            aims.append(Aim(f"exact search in {size:,} vectors: of bare faiss's {words} time", reached, at_most=1.1))
    return aims


def main() -> None:
    flags = make_parser(__doc__)
    flags.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="vectors")
    flags.add_argument("--queries", type=int, default=2000)
    flags.add_argument("--neighbours", type=int, default=200)
    flags.add_argument("--width", type=int, default=384)
    flags.add_argument("--hnsw_most", type=int, default=100_000, help="vectors of the largest HNSW")
    options = parse(flags, sizes=[10_000], queries=500, repeats=1)
    names = chosen([PRODUCTS, *CASES], options)
    jobs = [name for name in names if name not in CASES] + [
        f"{case}{OF}{size}"
        for size in options.sizes
        for case in names
        if case in CASES and ("HNSW" not in case or size <= options.hnsw_most)
    ]
    if options.one:
        print_case({options.one: matrix_products if options.one == PRODUCTS else run_case}, options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, options)
        runs, left_out = run_by_turns(own_commands(jobs, folder), options.repeats, options.threads)
        found = {
            (case, size): recall(folder, case, size)
            for case in CASES
            for size in options.sizes
            if f"{case}{OF}{size}" in runs
        }
    summary = summarise(runs)
    write_report(
        "search",
        options,
        [make_table(summary, size, found, options) for size in options.sizes],
        make_aims(summary, options.sizes),
        {"runs": runs, "left out": left_out},
    )


if __name__ == "__main__":
    main()
