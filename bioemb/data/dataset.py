"""Training examples: read, checked row by row, and kept memory-mapped.

A row is {"query","pos":[..],"neg":[..]} with optional scores, identities and prompt, or a pair
{"query","document"}, which becomes an example without negatives.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bioemb.errors import ConfigError, DataError
from bioemb.files import RECORD_SUFFIXES, Located, hash_file, list_files, read_records
from bioemb.log import logger, progress
from bioemb.records import same_text_key, stable_hash
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


def load_examples(train_data: Sequence[str], cache: str | Path, group_size: int, needs_scores: bool) -> "Dataset":
    """Every example of the files, memory-mapped from a table in the folder `cache`, made there when it is not.

    train_data: files, folders, or names of the hub. Raises DataError that lists the rows that cannot be used.
    """
    if any(not Path(name).exists() and _is_hub_name(name) for name in train_data):
        return _from_hub(train_data, group_size, needs_scores, Path(cache))
    files = list_files(list(train_data), RECORD_SUFFIXES)
    digest = hashlib.blake2b(f"{group_size} {needs_scores}".encode(), digest_size=12)
    for path in files:
        digest.update(hash_file(path).encode())
    table = Path(cache) / f"examples-{digest.hexdigest()}.arrow"
    if not table.exists():
        numbers = {path: number for number, path in enumerate(files)}
        located = progress(read_records(files), "read examples")
        write_table(table, SCHEMA, checked_examples(located, group_size, needs_scores, numbers))
    return open_table(table)


def checked_examples(
    rows: Iterable[Located], group_size: int, needs_scores: bool, numbers: dict[Path, int]
) -> Iterator[dict[str, Any]]:
    """The rows as examples of SCHEMA. Reads on after a bad row and then raises one DataError that names them all."""
    problems: list[DataError] = []
    count = short = 0
    first_short = None
    for located in rows:
        count += 1
        try:
            example = as_example(located, group_size, needs_scores)
        except DataError as problem:
            problems.append(problem)
            continue
        if 0 < len(example["neg"]) < group_size - 1:
            short += 1
            first_short = first_short or located
        yield {**example, "source": numbers[located.path]}
    if problems:
        shown = "; ".join(map(str, problems[:MOST_PROBLEMS_SHOWN]))
        more = f"; and {len(problems) - MOST_PROBLEMS_SHOWN} more" if len(problems) > MOST_PROBLEMS_SHOWN else ""
        raise DataError(f"{len(problems)} of {count} rows cannot be used: {shown}{more}")
    if not count:
        raise DataError(f"the training data has no rows ({', '.join(map(str, numbers))})")
    if short:
        logger.warning(
            "%d of %d rows have fewer than %d negatives (first: %s, line %d): theirs are repeated within the group",
            short,
            count,
            group_size - 1,
            first_short.path,
            first_short.line,
        )


def as_example(located: Located, group_size: int, needs_scores: bool) -> dict[str, Any]:
    """One row as an example. Raises DataError that says what is wrong with it."""
    record, path, line = located
    query = _text(located, "query")
    if "pos" not in record and isinstance(record.get("document"), str):
        record = {**record, "pos": [record["document"]]}
    positives = _texts(Located(record, path, line), "pos")
    negatives = _texts(Located(record, path, line), "neg") if record.get("neg") else []
    if not positives:
        raise DataError("'pos' is empty; a row needs at least one positive", path, line)
    if group_size == 1 and negatives:
        raise ConfigError(
            "train_group_size is 1, so there are no hard negatives in a group; use 2 or more, "
            f"or leave --train_data without 'neg' ({path}, line {line}, has some)"
        )
    if group_size > 1 and not negatives:
        raise DataError(
            f"'neg' is too short: it is empty, and train_group_size {group_size} needs negatives; "
            "mine some, or use --train_group_size 1 to take them from the batch alone",
            path,
            line,
        )
    return {
        "query": query,
        "pos": positives,
        "neg": negatives,
        "pos_scores": _numbers(located, "pos_scores", len(positives), needs_scores),
        "neg_scores": _numbers(located, "neg_scores", len(negatives), needs_scores),
        "identity": record.get("identity"),
        "neg_identities": _numbers(located, "neg_identities", len(negatives), False),
        "prompt": record.get("prompt"),
    }


def passage_identity(text: str) -> int:
    """What equal passages share where nothing else says who they are."""
    return stable_hash(same_text_key(text))


def pools_of(dataset: "Dataset") -> list[np.ndarray]:
    """The row numbers of each file."""
    source = np.asarray(dataset.with_format("numpy", columns=["source"])["source"][:])
    return [np.flatnonzero(source == number) for number in np.unique(source)]


def _text(located: Located, key: str) -> str:
    value = located.record.get(key)
    if not isinstance(value, str) or not value.strip():
        keys = ", ".join(map(repr, located.record)) or "none"
        got = "no such key" if key not in located.record else "empty text" if isinstance(value, str) else repr(value)
        raise DataError(f"{key!r} must be text, got {got} (the row has {keys})", located.path, located.line)
    return value


def _texts(located: Located, key: str) -> list[str]:
    values = located.record.get(key)
    if not isinstance(values, list):
        got = "no such key" if key not in located.record else type(values).__name__
        raise DataError(f"{key!r} must be a list of texts, got {got}", located.path, located.line)
    for number, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            what = "empty text" if isinstance(value, str) else repr(value)
            raise DataError(f"{key!r}[{number}] must be text, got {what}", located.path, located.line)
    return values


def _numbers(located: Located, key: str, count: int, required: bool) -> list | None:
    values = located.record.get(key)
    if values is None:
        if required:
            raise DataError(f"no {key!r}, which knowledge distillation needs", located.path, located.line)
        return None
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)} of them" if isinstance(values, list) else repr(values)
        raise DataError(f"{key!r} must hold a number for each of {count} texts, got {got}", located.path, located.line)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise DataError(f"{key!r} must hold numbers, got {values!r:.60}", located.path, located.line)
    return values


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith(RECORD_SUFFIXES)


def _from_hub(names: Sequence[str], group_size: int, needs_scores: bool, cache: Path) -> "Dataset":
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    def rows() -> Iterator[Located]:
        for name in names:
            try:
                loaded = load_dataset(name, split="train")
            except (DatasetNotFoundError, ConnectionError, OSError) as error:
                raise DataError(f"neither a file here nor to be had from the hub ({error})", name) from None
            for line, record in enumerate(loaded, start=1):
                yield Located(record, Path(name), line)

    table = cache / f"examples-{stable_hash(' '.join([*names, str(group_size), str(needs_scores)])):x}.arrow"
    if not table.exists():
        numbers = {Path(name): number for number, name in enumerate(names)}
        write_table(table, SCHEMA, checked_examples(rows(), group_size, needs_scores, numbers))
    return open_table(table)
