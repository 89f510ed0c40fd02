"""Where a text stands that could not be encoded: the encoder knows texts, the stages know their files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bioemb.errors import BioembError, DataError
from bioemb.files import read_records


@contextmanager
def naming_lines(files: list[Path]) -> Iterator[None]:
    """An error about a text that is raised within says the file and line of the first record that holds it."""
    try:
        yield
    except BioembError as error:
        if error.text is None:
            raise
        found = next((located for located in read_records(files) if _holds(located.record, error.text)), None)
        if found is None:
            raise
        named = DataError(str(error), found.path, found.line)
        named.is_shared = error.is_shared
        raise named from error


def _holds(record: dict, text: str) -> bool:
    return any(text == value or isinstance(value, list) and text in value for value in record.values())
