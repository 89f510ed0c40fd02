"""Time and memory of tying records to identities, which `bioemb extract` does once for all, over the number of records.

    python benchmarks/merge.py
    python benchmarks/merge.py --sizes 100000 1000000 10000000

Parts are drawn at random as an extraction leaves them: keys, marks, links, and signatures of the records that have an
abstract. A hundredth of the records copies another one's title and abstract, as many are linked to another, and of the
abstracts a two hundredth is a near-copy. Every case runs in a process of its own; counted is what it needs beyond its
imports, mapped files too.
"""

import argparse
import tempfile
from pathlib import Path

from fitting import exponent
from measuring import (
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
from reporting import Table, write_report

OF_A_PART = 500_000  # records
WITH_ABSTRACT = 0.65
COPIES, LINKED, NEAR = 0.01, 0.01, 0.005  # shares of the records of a part, of its abstracts


def run_case(options: argparse.Namespace) -> dict:
    """Tie the records of this case; what it took, and how many records share an identity."""
    import numpy as np

    from bioemb.config import ExtractConfig
    from bioemb.stages.extract_identity import group_articles
    from bioemb.stages.extract_merge import read_index

    parts = parts_of(options.folder, int(options.one))
    reset_peak()
    before = peak_mb()
    with measured() as use:
        records = read_index(parts)
        everything = np.ones(len(records.key), bool)
        groups = group_articles(parts, records.key, records.source, everything, ExtractConfig.near_duplicate_threshold)
    return {**use, "mb": use["peak_mb"] - before, "sharing": groups.counts(records.key)["sharing"]}


def parts_of(folder: Path, records: int) -> list:
    from bioemb.stages.extract_part import part_of

    return [part_of(folder / str(records), number) for number in range(-(-records // OF_A_PART))]


def prepare(folder: Path, records: int) -> None:
    """The arrays of the parts; nothing else of them is read."""
    import numpy as np

    from bioemb.data.identity import BANDS, Marks
    from bioemb.stages.extract_part import INDEX

    (folder / str(records)).mkdir()
    for number, part in enumerate(parts_of(folder, records)):
        rng = np.random.default_rng([records, number])
        first = number * OF_A_PART
        count = min(OF_A_PART, records - first)

        index = np.zeros(count, INDEX)
        index["key"] = first + np.arange(count)
        marks = rng.integers(1, 2**63 - 1, (len(Marks._fields), count))
        marks[:, rng.random(count) < 1 - WITH_ABSTRACT] *= (np.array(Marks._fields) != "abstract")[:, None]
        copies, originals = drawn_pairs(rng, count, COPIES)
        marks[:2, copies] = marks[:2, originals]
        signed = int((marks[Marks._fields.index("abstract")] != 0).sum())
        bands = rng.integers(0, 2**64 - 1, (BANDS, signed), np.uint64)
        copies, originals = drawn_pairs(rng, signed, NEAR)
        bands[: BANDS * 3 // 4, copies] = bands[: BANDS * 3 // 4, originals]
        rows, linked = drawn_pairs(rng, count, LINKED)
        np.save(part.index, index)
        np.save(part.marks, marks)
        np.save(part.links, np.stack([rows, first + linked, np.ones_like(rows)], axis=1))
        bands.tofile(part.bands)


def drawn_pairs(rng, count: int, share: float):
    """Two arrays of so large a share of `count` rows, no row twice: which follow, and whom."""
    return rng.permutation(count)[: 2 * int(share * count)].reshape(2, -1)


def main() -> None:
    flags = make_parser(__doc__, repeats=1)
    flags.add_argument("--sizes", type=int, nargs="+", default=[300_000, 1_000_000, 3_000_000], help="records")
    options = parse(flags, sizes=[20_000, 60_000])
    if options.one:
        print_case({options.one: run_case}, options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, names = Path(name), chosen([str(size) for size in options.sizes], options)
        for case in names:
            prepare(folder, int(case))
        runs, left_out = run_by_turns(own_commands(names, folder), options.repeats, options.threads)
    summary = summarise(runs)
    rows = []
    for case, of in summary.items():
        million = int(case) / 1e6
        times = [of["cpu"], of["wall"], of["cpu"].median / million]
        memory = [of["mb"].median, of["mb"].median * 2**20 / int(case)]
        rows.append([f"{int(case):,}", of["sharing"].median, *times, *memory])
    of_time = ["CPU s (least, most)", "wall s", "CPU s a million"]
    columns = ["records", "share an identity", *of_time, "MB", "bytes a record"]
    caption = f"Ties of generated records, {WITH_ABSTRACT:.0%} of them with an abstract"
    if len(summary) > 1:
        seconds = [of["cpu"].median for of in summary.values()]
        caption += f"; CPU time grows with the power {exponent([int(case) for case in summary], seconds):.2f}"
    measurements = {"runs": runs, "left out": left_out}
    write_report("merge", options, [Table(caption, columns, rows)], [], measurements)


if __name__ == "__main__":
    main()
