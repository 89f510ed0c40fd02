"""Rows of the hub's data sets, named `owner/name:config:split@revision`; all but the first part may be missing.

Without a revision the set of today is meant; what was prepared from it is used again as long as it lies there.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bioemb.errors import DataError
from bioemb.files import RECORD_SUFFIXES, Located


class HubName(NamedTuple):
    """What to load of the hub."""

    path: str
    config: str | None
    split: str
    revision: str | None


def is_hub_name(name: str) -> bool:
    """Whether this is no file here and looks like a name of the hub."""
    path = name.partition("@")[0].partition(":")[0]
    is_path = name.startswith((".", "/", "~")) or path.endswith(RECORD_SUFFIXES)
    return path.count("/") == 1 and not is_path and not Path(name).exists()


def parse_hub_name(name: str) -> HubName:
    """`owner/name:config:split@revision`, of which all but the first may be missing. Raises DataError."""
    front, _, revision = name.partition("@")
    path, *rest = front.split(":")
    if len(rest) > 2:
        raise DataError("expected owner/name:config:split@revision, where all but the first may be missing", name)
    config, split = [*rest, "", ""][:2]
    return HubName(path, config or None, split or "train", revision or None)


def read_hub(names: Sequence[str]) -> Iterator[Located]:
    """The rows of data sets of the hub, each in its place. Raises DataError where there is no such data set."""
    for name in names:
        from datasets import load_dataset
        from datasets.exceptions import DatasetNotFoundError

        path, config, split, revision = parse_hub_name(name)
        try:
            loaded = load_dataset(path, config, split=split, revision=revision)
        except (DatasetNotFoundError, ConnectionError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"neither a file here nor to be had from the hub ({reason})", name) from None
        for row, record in enumerate(loaded, start=1):
            yield Located(record, Path(name), row)
