"""Training examples: read, checked row by row, and kept memory-mapped.

A row is {"query","pos":[..],"neg":[..]} with optional scores, identities and prompt, or a pair
{"query","document"}, which becomes an example without negatives.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import inf
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
    hub_names = [name for name in train_data if not Path(name).exists() and _is_hub_name(name)]
    files = list_files([name for name in train_data if name not in hub_names], RECORD_SUFFIXES)
    digest = hashlib.blake2b(f"{group_size} {needs_scores} {hub_names}".encode(), digest_size=12)
    for path in files:
        digest.update(hash_file(path).encode())
    table = Path(cache) / f"examples-{digest.hexdigest()}.arrow"
    if not table.exists():
        numbers = {path: number for number, path in enumerate([*files, *map(Path, hub_names)])}
        located = progress(chain(read_records(files), _read_hub(hub_names)), "read examples")
        write_table(table, SCHEMA, checked_examples(located, group_size, needs_scores, numbers))
    return open_table(table)


def checked_examples(
    rows: Iterable[Located], group_size: int, needs_scores: bool, numbers: dict[Path, int]
) -> Iterator[dict[str, Any]]:
    """The rows as examples of SCHEMA. Reads on after a bad row and then raises one DataError that names them all."""
    problems: list[DataError] = []
    good = short = 0
    first_short = None
    for located in _until_unreadable(rows, problems):
        try:
            example = as_example(located, group_size, needs_scores)
        except DataError as problem:
            problems.append(problem)
            continue
        good += 1
        if 0 < len(example["neg"]) < group_size - 1:
            short += 1
            first_short = first_short or located
        yield {**example, "source": numbers[located.path]}
    if problems:
        shown = "; ".join(map(str, problems[:MOST_PROBLEMS_SHOWN]))
        more = f"; and {len(problems) - MOST_PROBLEMS_SHOWN} more" if len(problems) > MOST_PROBLEMS_SHOWN else ""
        raise DataError(f"{len(problems)} of {good + len(problems)} rows cannot be used: {shown}{more}")
    if not good:
        raise DataError(f"the training data has no rows ({', '.join(map(str, numbers))})")
    if short:
        logger.warning(
            "%d of %d rows have fewer than %d negatives (first: %s, line %d): theirs are repeated within the group",
            short,
            good,
            group_size - 1,
            first_short.path,
            first_short.line,
        )


def as_example(located: Located, group_size: int, needs_scores: bool) -> dict[str, Any]:
    """One row as an example. Raises DataError that says what is wrong with it."""
    record, path, line = located
    query = _text(located, "query")
    is_pair = record.get("pos") is None and "document" in record
    positives = [_text(located, "document")] if is_pair else _texts(located, "pos")
    negatives = _texts(located, "neg") if record.get("neg") else []
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
        "pos_scores": _scores(located, "pos_scores", len(positives), needs_scores),
        "neg_scores": _scores(located, "neg_scores", len(negatives), needs_scores),
        "identity": _identities(located, "identity", None),
        "neg_identities": _identities(located, "neg_identities", len(negatives)),
        "prompt": _prompt(located),
    }


def passage_identity(text: str) -> int:
    """What equal passages share where nothing else says who they are."""
    return stable_hash(same_text_key(text))


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


def _text(located: Located, key: str) -> str:
    value = located.record.get(key)
    if not isinstance(value, str) or not value.strip():
        keys = ", ".join(map(repr, located.record)) or "none"
        raise DataError(
            f"{key!r} must be text, got {_found(located, key, value)} (the row has {keys})", located.path, located.line
        )
    return value


def _texts(located: Located, key: str) -> list[str]:
    values = located.record.get(key)
    if not isinstance(values, list):
        raise DataError(
            f"{key!r} must be a list of texts, got {_found(located, key, values)}", located.path, located.line
        )
    for number, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f"{key!r}[{number}] must be text, got {_found(located, key, value)}", located.path, located.line
            )
    return values


def _found(located: Located, key: str, value: Any) -> str:
    if key not in located.record:
        return "no such key"
    return "empty text" if isinstance(value, str) and not value.strip() else f"{value!r:.60}"


def _scores(located: Located, key: str, count: int, required: bool) -> list[float | None] | None:
    """A score of each text, None for one that was never scored; or None. Where they are required, all of them."""
    values = _list(located, key, count)
    if values is None and required:
        raise DataError(f"no {key!r}, which knowledge distillation needs", located.path, located.line)
    for number, value in enumerate(values or ()):
        if value is None and required:
            reason = "is null: never scored, and knowledge distillation needs it"
            raise DataError(f"{key!r}[{number}] {reason}", located.path, located.line)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf
        if value is not None and not is_number:
            raise DataError(f"{key!r}[{number}] must be a number, got {value!r:.60}", located.path, located.line)
    return values


def _identities(located: Located, key: str, count: int | None) -> int | list[int] | None:
    """A whole number, or `count` of them, that Arrow can hold; or None."""
    values = located.record.get(key) if count is None else _list(located, key, count)
    for value in () if values is None else [values] if count is None else values:
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
            raise DataError(f"{key!r} must be a whole number, got {value!r:.60}", located.path, located.line)
    return values


def _prompt(located: Located) -> str | None:
    """The row's own prompt, which may be empty; None where the kind's is to stand."""
    value = located.record.get("prompt")
    if not isinstance(value, str | None):
        raise DataError(f"'prompt' must be text, got {value!r:.60}", located.path, located.line)
    return value


def _list(located: Located, key: str, count: int) -> list | None:
    values = located.record.get(key)
    if values is not None and (not isinstance(values, list) or len(values) != count):
        got = f"{len(values)} of them" if isinstance(values, list) else f"{values!r:.60}"
        raise DataError(f"{key!r} must hold a number for each of {count} texts, got {got}", located.path, located.line)
    return values


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
