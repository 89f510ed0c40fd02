"""Training examples: read, checked row by row (`examples.py`), and kept memory-mapped."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioemb.data.examples import Needs, as_example
from bioemb.data.hub_rows import is_hub_name, read_hub
from bioemb.errors import DataError
from bioemb.files import RECORD_SUFFIXES, Located, hash_file, list_files, read_records
from bioemb.log import logger, progress
from bioemb.tables import open_table, write_table

if TYPE_CHECKING:
    from datasets import Dataset

MOST_PROBLEMS_SHOWN = 5
SCHEMA = pa.schema(
    [
        ("query", pa.string()),
        ("pos", pa.list_(pa.string())),
        ("neg", pa.list_(pa.string())),
        ("pos_scores", pa.list_(pa.float32())),
        ("neg_scores", pa.list_(pa.float32())),
        ("identity", pa.int64()),
        ("neg_identities", pa.list_(pa.int64())),
        ("prompt", pa.string()),
        ("passage_prompt", pa.string()),
        ("kind", pa.string()),
        ("license", pa.string()),
        ("source", pa.int32()),  # number of the file it came from
    ]
)


class Source(NamedTuple):
    """A file, or a data set of the hub, and which entry of `--train_data` it came from."""

    path: Path
    entry: int
    is_hub: bool = False


def list_sources(train_data: Sequence[str]) -> list[Source]:
    """The files of all entries, then the hub's data sets; a file named twice belongs to the first. Raises DataError."""
    files: dict[Path, tuple[Path, int]] = {}  # a file's own path: as it was named first, and by which entry
    hub = []
    for entry, name in enumerate(train_data):
        if is_hub_name(name):
            hub.append(Source(Path(name), entry, True))
            continue
        for path in list_files([name], RECORD_SUFFIXES):
            files.setdefault(path.resolve(), (path, entry))
    return [*(Source(path, entry) for path, entry in files.values()), *hub]


def load_examples(train_data: Sequence[str], cache: str | Path, needs: Needs) -> "Dataset":
    """Every example of the files, memory-mapped from a table in the folder `cache`, made there when it is not.

    train_data: files, folders, or data sets of the hub (`hub_rows.py`); a row's `source` is its place in
    `list_sources`. Raises DataError that lists the rows that cannot be used.
    """
    sources = list_sources(train_data)
    files = [source.path for source in sources if not source.is_hub]
    hub_names = [str(source.path) for source in sources if source.is_hub]
    digest = hashlib.blake2b(f"{[*needs]} {hub_names}".encode(), digest_size=12)
    for path in files:
        digest.update(hash_file(path).encode())
    table = Path(cache) / f"examples-{digest.hexdigest()}.arrow"
    if not table.exists():
        numbers = {source.path: number for number, source in enumerate(sources)}
        located = progress(chain(read_records(files), read_hub(hub_names)), "read examples")
        write_table(table, SCHEMA, checked_examples(located, needs, numbers))
    return open_table(table)


def checked_examples(rows: Iterable[Located], needs: Needs, numbers: dict[Path, int]) -> Iterator[dict[str, Any]]:
    """The rows as examples of SCHEMA. Reads on after a bad row and then raises one DataError that names them all."""
    problems: list[DataError] = []
    good = 0
    short, bare, nameless, unknown = _Notice(), _Notice(), _Notice(), _Notice()
    unreadable: list[DataError] = []
    for located in _until_unreadable(rows, unreadable):
        try:
            example = as_example(located, needs)
        except DataError as problem:
            problems.append(problem)
            continue
        good += 1
        if len(example["neg"]) < needs.group_size - 1:
            (short if example["neg"] else bare).add(located)
        if example["identity"] is None:
            nameless.add(located)
        elif example["neg"] and not example["neg_identities"]:
            unknown.add(located)
        yield {**example, "source": numbers[located.path]}
    if problems or unreadable:
        end = "; what follows was not read" if unreadable else ""
        problems += unreadable
        raise DataError(f"{len(problems)} of {good + len(problems)} rows cannot be used: {_in_words(problems)}{end}")
    if not good:
        raise DataError(f"there are no rows in {', '.join(map(str, numbers))}; expected a JSON object a line")
    short.say(good, f"fewer than {needs.group_size - 1} negatives", "theirs are repeated within the group")
    if nameless.count < good:
        nameless.say(good, "no identity", "a text of theirs that a row with one has too is a negative of it")
    unknown.say(good, "an identity, and negatives without", "a positive of another row among them is a negative there")
    bare.say(good, "no negatives", "theirs are the other passages of the batch alone")


def _in_words(problems: list[DataError]) -> str:
    """The first problems; of those that say the same of a file's lines, the first, with a count of the others."""
    alike: dict[tuple, list[DataError]] = {}
    for problem in problems:
        alike.setdefault((problem.path, problem.message), []).append(problem)
    shown = list(alike.values())[:MOST_PROBLEMS_SHOWN]
    left = len(problems) - sum(map(len, shown))
    said = [f"{first}{_other_lines(others)}" for first, *others in shown]
    return "; ".join([*said, *([f"and {left} more"] if left else [])])


def _other_lines(others: list[DataError]) -> str:
    lines = [f"{other.line:,}" for other in others[:MOST_PROBLEMS_SHOWN]]
    more = f" and {len(others) - len(lines):,} more" if len(others) > len(lines) else ""
    return f" (also line{'s' * (len(others) > 1)} {', '.join(lines)}{more})" if others else ""


class _Notice:
    """Counts rows that deserve a word, and says it once."""

    def __init__(self):
        self.count = 0
        self.first: Located | None = None

    def add(self, located: Located) -> None:
        self.count += 1
        self.first = self.first or located

    def say(self, rows: int, what: str, so: str) -> None:
        if self.first:
            first = f"first: {self.first.path}, line {self.first.line}"
            logger.warning("%d of %d rows have %s (%s): %s", self.count, rows, what, first, so)


def rows_of_sources(dataset: "Dataset", count: int) -> list[np.ndarray]:
    """The row numbers of each of so many sources."""
    source = np.asarray(dataset.with_format("numpy", columns=["source"])["source"][:])  # rising
    return [np.arange(first, last) for first, last in pairwise(np.searchsorted(source, np.arange(count + 1)))]


def count_values(dataset: "Dataset", column: str, rows: np.ndarray) -> dict[str, int]:
    """How many of the rows have which value of a column of words; none where no row has any."""
    values = dataset.data.column(column).take(pa.array(rows)) if len(rows) else pa.chunked_array([], pa.string())
    counts = {item["values"]: item["counts"] for item in values.value_counts().to_pylist()}
    return {} if set(counts) <= {None} else {value or "": count for value, count in counts.items()}


def score_range(dataset: "Dataset") -> tuple[float, float]:
    """The lowest and the highest score of the positives, of which every row has one at least."""
    found = pc.min_max(pc.list_flatten(dataset.data.column("pos_scores"))).as_py()
    return found["min"], found["max"]


def _until_unreadable(rows: Iterable[Located], problems: list[DataError]) -> Iterator[Located]:
    """The rows, to their end or to one that cannot even be read, which joins the problems."""
    try:
        yield from rows
    except DataError as problem:
        problems.append(problem)
