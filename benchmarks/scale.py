"""On paper: what 40 million PubMed records cost to extract, filter, mine and train on, by the rates measured so far.

    python benchmarks/scale.py                       # prints the tables
    python benchmarks/scale.py --write               # and puts them into docs/scale.md
    python benchmarks/scale.py --cores 64 --gpus 8 --records 1e6 --negatives 2

Measured rates are read from the tables of docs/benchmarks.md; what is assumed or published is in the tables, with its
reason. Every figure stands beside its formula. Nothing is measured here, and nothing was run on a GPU.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import NamedTuple

from measuring import REPOSITORY, number
from products import forward_gflop
from rates import BENCHMARKS, Given, assumed, measured
from reporting import Table, markdown

PAGE = REPOSITORY / "docs" / "scale.md"
BLOCK = re.compile(r"(<!-- scale: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MODELS = {  # layers, width, inner width, million weights
    "MiniLM": SimpleNamespace(num_hidden_layers=6, hidden_size=384, intermediate_size=1536, weights=22.7),
    "BERT-base": SimpleNamespace(num_hidden_layers=12, hidden_size=768, intermediate_size=3072, weights=109.5),
}
FLOAT, TEACH = 4, 3  # bytes of a number on disk; a training step's products, of a forward pass's
SHARD, NEIGHBOURS = 1 << 20, 220  # vectors in an index at once; kept of each query's
HOUR = 3600


class Cost(NamedTuple):
    """A stage: seconds on one machine and on several (None: not spread), bytes of memory and disk, the formulas.

    memory: of a process, on the machine; gpu: on its GPU.
    """

    stage: str
    seconds: Sequence[float | None]
    time_formula: str
    memory: float
    memory_formula: str
    gpu: float
    gpu_formula: str
    disk: float
    disk_formula: str


class Load(NamedTuple):
    """What one model has to do with the records, and how fast a machine is."""

    of: Mapping[str, float]  # the numbers of `rates.py`
    model: SimpleNamespace
    options: argparse.Namespace

    @property
    def pairs(self) -> float:
        return self.of["records"] * self.of["pairs"]

    @property
    def kept(self) -> float:
        return self.pairs * self.of["kept"]

    @property
    def searched(self) -> float:
        return min(self.options.queries or self.kept, self.kept)

    @property
    def pair_gflop(self) -> float:
        return self.forward(1)

    @property
    def text_bytes(self) -> float:
        return self.of["query_bytes"] + self.of["passage_bytes"]

    @property
    def example_bytes(self) -> float:
        return self.text_bytes + self.options.negatives * self.of["passage_bytes"]

    @property
    def process(self) -> float:
        """Bytes of a process with its imports, a model and a block of texts."""
        return self.of["process"] * 2**20

    def forward(self, passages: int) -> float:
        """GFLOP of one pass of a query with so many passages."""
        return forward_gflop(self.model, [int(self.of["query"]), *[int(self.of["passage"])] * passages])

    def gpu(self, rate: str, share: str) -> float:
        """GFLOP a second of one machine."""
        return self.options.gpus * self.of[rate] * 1e3 * self.of[share]

    def on_each(self, seconds: float) -> list[float]:
        """On one machine, and on several."""
        return [seconds, seconds / self.options.machines]


def costs(load: Load) -> list[Cost]:
    """The stages in order."""
    return [extracting(load), filtering(load), encoding(load), searching(load), writing(load), training(load)]


def extracting(load: Load) -> Cost:
    of, records = load.of, load.of["records"]
    seconds = records / of["extract"] / load.options.cores + of["signatures"] * records / 1e6
    disk = records * (of["packed"] + of["part_bytes"]) + load.pairs * load.text_bytes
    return Cost(
        "extract",
        [seconds, None],
        "records / rate / cores + records x merge",
        records * of["merge_bytes"],
        "records x bytes a record in merging",
        0,
        "–",
        disk,
        "records x (gzip + parts) + pairs x text",
    )


def seconds_of_a_pair(load: Load) -> float:
    """Its passes on the GPUs, or its tokens on the cores, whichever is slower."""
    return max(load.pair_gflop / load.gpu("peak", "encode_share"), load.of["tokenise"] / 1e3 / load.options.cores)


def filtering(load: Load) -> Cost:
    return Cost(
        "filter",
        [some + load.pairs * load.of["decide"] / 1e6 for some in load.on_each(load.pairs * seconds_of_a_pair(load))],
        "pairs x (max(GFLOP of a pair / (GPUs x rate x share), tokens / cores) + microseconds of a decision)",
        load.process,
        "a process that encodes",
        load.model.weights * 1e6 * 2,
        "weights x 2 bytes, beside a batch's activations",
        load.kept * load.text_bytes + load.pairs * FLOAT,
        "kept x text + pairs x 4 bytes",
    )


def encoding(load: Load) -> Cost:
    return Cost(
        "mine: encode",
        load.on_each(load.kept * seconds_of_a_pair(load)),
        "kept x max(...) of filter",
        load.process + load.kept * load.of["table_bytes"],
        "a process + kept x bytes a passage of the tables",
        load.model.weights * 1e6 * 2,
        "as filter",
        2 * load.kept * load.model.hidden_size * FLOAT,
        "2 x kept x width x 4 bytes",
    )


def searching(load: Load) -> Cost:
    work = 2 * load.searched * load.kept * load.model.hidden_size / 1e9
    return Cost(
        "mine: search",
        load.on_each(work / load.gpu("peak32", "search_share")),
        "2 x queries x kept x width / (GPUs x float32 rate x share)",
        load.process + load.kept * load.of["passage_memory"],
        "a process + kept x bytes a passage",
        SHARD * load.model.hidden_size * FLOAT,
        f"{SHARD:,} x width x 4 bytes",
        load.searched * NEIGHBOURS * 8,
        f"queries x {NEIGHBOURS} x 8 bytes",
    )


def writing(load: Load) -> Cost:
    size = load.searched * load.example_bytes
    choosing, joining = load.searched * load.of["select"] / 1e3 / load.options.gpus, size / load.of["disk"] / 1e6
    return Cost(
        "mine: choose, write",
        [some + joining for some in load.on_each(choosing)],
        "queries x ms of a choice / GPUs + bytes / rate of writing",
        load.process + load.kept * load.of["passage_memory"],
        "as search",
        0,
        "–",
        size,
        f"queries x (text + {load.options.negatives} x abstract)",
    )


def training(load: Load) -> Cost:
    group = load.options.group
    work = TEACH * load.searched * load.forward(group)
    return Cost(
        "train, one epoch",
        load.on_each(work / load.gpu("peak", "step_share")),
        f"{TEACH} x queries x GFLOP of a query and {group} passages / (GPUs x rate x share)",
        load.process,
        "a process that encodes",
        load.model.weights * 1e6 * load.of["state_bytes"],
        "weights x 16 bytes, beside a sub-batch's activations",
        load.searched * load.example_bytes,
        "the examples once more, as a table",
    )


def cpu_hours(loads: Mapping[str, Load], cores: int) -> Table:
    """The same work on CPU cores alone, at the measured rates."""
    first = next(iter(loads.values()))
    seconds = {"extract": first.of["records"] / first.of["extract"]}
    for name, load in loads.items():
        of = load.of
        search = load.searched * load.kept / (of["search"] * 1e6) * load.model.hidden_size / 384
        seconds |= {
            f"{name}, filter": load.pairs * load.pair_gflop / of["encode"],
            f"{name}, mine: encode": load.kept * load.pair_gflop / of["encode"],
            f"{name}, mine: search": search,
            f"{name}, train, one epoch": TEACH * load.searched * load.forward(load.options.group) / of["step"],
        }
    rows = [[work, number(of / HOUR), number(of / HOUR / cores / 24)] for work, of in seconds.items()]
    return Table("CPU cores alone", ["work", "CPU hours", f"days on {cores} cores"], rows)


def given_table(have: Sequence[Given], caption: str) -> Table:
    return Table(caption, ["what", "value", "from"], [[given.name, given.value, given.source] for given in have])


def costs_table(name: str, found: Sequence[Cost], options: argparse.Namespace) -> Table:
    caption = f"{name}; machines of {options.gpus} GPU{'s' * (options.gpus > 1)} and {options.cores} cores"
    columns = ["stage", "one machine", f"{options.machines} machines", "memory", "of the GPU", "disk"]
    rows = [
        [cost.stage, *map(duration, cost.seconds), *map(size, (cost.memory, cost.gpu, cost.disk))] for cost in found
    ]
    one = sum(cost.seconds[0] or 0 for cost in found)
    several = sum(cost.seconds[1] or cost.seconds[0] or 0 for cost in found)
    most, most_gpu = max(cost.memory for cost in found), max(cost.gpu for cost in found)
    disk = sum(cost.disk for cost in found)
    rows.append(["all", duration(one), duration(several), *map(size, (most, most_gpu, disk))])
    return Table(caption, columns, rows)


def formulas_table(found: Sequence[Cost]) -> Table:
    rows = [[cost.stage, cost.time_formula, cost.memory_formula, cost.gpu_formula, cost.disk_formula] for cost in found]
    return Table("The formulas", ["stage", "time", "memory", "of the GPU", "disk"], rows)


def duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 1.5 * HOUR else f"{number(seconds / HOUR)} h"


def size(count: float) -> str | None:
    if not count:
        return None
    return f"{number(count / 1e9)} GB" if count >= 1e9 else f"{number(count / 1e6)} MB"


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--records", type=float, default=40e6)
    flags.add_argument("--share", type=float, default=0.65, help="of records that give a pair, 0 to 1")
    flags.add_argument("--kept", type=float, default=0.8, help="of pairs that the filter keeps, 0 to 1")
    flags.add_argument("--queries", type=float, help="pairs that are mined for (default: all that are kept)")
    flags.add_argument("--negatives", type=int, default=7, help="mined for each query")
    flags.add_argument("--group", type=int, default=2, help="passages of a query in training")
    flags.add_argument("--cores", type=int, default=16, help="of a machine")
    flags.add_argument("--gpus", type=int, default=1, help="of a machine")
    flags.add_argument("--machines", type=int, default=8, help="of the second column")
    flags.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(REPOSITORY)}")
    options = flags.parse_args()
    rates, counts = measured(BENCHMARKS.read_text(encoding="utf-8")), assumed(options)
    of = {key: given.value for key, given in {**counts, **rates}.items()}
    loads = {name: Load(of, model, options) for name, model in MODELS.items()}
    tables = {
        "measured": [given_table(list(rates.values()), "Measured (docs/benchmarks.md)")],
        "assumed": [given_table(list(counts.values()), "Assumed or published")],
        "costs": [costs_table(name, costs(load), options) for name, load in loads.items()],
        "formulas": [formulas_table(costs(next(iter(loads.values()))))],
        "cores": [cpu_hours(loads, options.cores)],
    }
    texts = {name: "\n\n".join(map(markdown, some)) for name, some in tables.items()}
    print("\n\n".join(texts.values()))
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        filled = BLOCK.sub(lambda block: f"{block[1]}\n{texts[block[2]]}\n\n{block[3]}", page)
        PAGE.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
