"""Training examples: read, checked row by row (`examples.py`), and kept memory-mapped."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bioemb.data.examples import Needs, as_example
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
        ("source", pa.int32()),  # number of the file it came from
    ]
)


def load_examples(train_data: Sequence[str], cache: str | Path, needs: Needs) -> "Dataset":
    """Every example of the files, memory-mapped from a table in the folder `cache`, made there when it is not.

    train_data: files, folders, or names of the hub. Raises DataError that lists the rows that cannot be used.
    """
    hub_names = [name for name in train_data if not Path(name).exists() and _is_hub_name(name)]
    files = list_files([name for name in train_data if name not in hub_names], RECORD_SUFFIXES)
    digest = hashlib.blake2b(f"{[*needs]} {hub_names}".encode(), digest_size=12)
    for path in files:
        digest.update(hash_file(path).encode())
    table = Path(cache) / f"examples-{digest.hexdigest()}.arrow"
    if not table.exists():
        numbers = {path: number for number, path in enumerate([*files, *map(Path, hub_names)])}
        located = progress(chain(read_records(files), _read_hub(hub_names)), "read examples")
        write_table(table, SCHEMA, checked_examples(located, needs, numbers))
    return open_table(table)


def checked_examples(rows: Iterable[Located], needs: Needs, numbers: dict[Path, int]) -> Iterator[dict[str, Any]]:
    """The rows as examples of SCHEMA. Reads on after a bad row and then raises one DataError that names them all."""
    problems: list[DataError] = []
    good = 0
    short, bare = _Notice(), _Notice()
    for located in _until_unreadable(rows, problems):
        try:
            example = as_example(located, needs)
        except DataError as problem:
            problems.append(problem)
            continue
        good += 1
        if len(example["neg"]) < needs.group_size - 1:
            (short if example["neg"] else bare).add(located)
        yield {**example, "source": numbers[located.path]}
    if problems:
        shown = "; ".join(map(str, problems[:MOST_PROBLEMS_SHOWN]))
        more = f"; and {len(problems) - MOST_PROBLEMS_SHOWN} more" if len(problems) > MOST_PROBLEMS_SHOWN else ""
        raise DataError(f"{len(problems)} of {good + len(problems)} rows cannot be used: {shown}{more}")
    if not good:
        raise DataError(f"the training data has no rows ({', '.join(map(str, numbers))})")
    short.say(good, f"fewer than {needs.group_size - 1} negatives", "theirs are repeated within the group")
    bare.say(good, "no negatives", "theirs are the other passages of the batch alone")


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


def pools_of(dataset: "Dataset") -> list[np.ndarray]:
    """The row numbers of each file."""
    source = np.asarray(dataset.with_format("numpy", columns=["source"])["source"][:])
    return [np.flatnonzero(source == number) for number in np.unique(source)]


def _until_unreadable(rows: Iterable[Located], problems: list[DataError]) -> Iterator[Located]:
    """The rows, to their end or to one that cannot even be read, which joins the problems."""
    try:
        yield from rows
    except DataError as problem:
        problems.append(problem)


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith(RECORD_SUFFIXES)


def _read_hub(names: Sequence[str]) -> Iterator[Located]:
    """The rows of data sets of the hub, each in its place. Raises DataError where there is no such data set."""
    for name in names:
        from datasets import load_dataset
        from datasets.exceptions import DatasetNotFoundError

        try:
            loaded = load_dataset(name, split="train")
        except (DatasetNotFoundError, ConnectionError, OSError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"neither a file here nor to be had from the hub ({reason})", name) from None
        for row, record in enumerate(loaded, start=1):
            yield Located(record, Path(name), row)
