"""The error family: what a user can put right. The command line prints these in one line and exits 2."""

from pathlib import Path


class BioembError(Exception):
    """Base of every error that a user can put right."""

    is_shared = False  # raised on all processes, of which the first one says it
    text: str | None = None  # the one that could not be encoded: who reads the files can say where it stands


class ConfigError(BioembError):
    """A flag, a configuration file or a combination of settings that cannot work."""


class ModelError(BioembError):
    """A model folder that cannot be loaded, or a model that returned what it must not."""


class DataError(BioembError):
    """A file or a record that cannot be used; says in which file and line, if known."""

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None):
        where = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(where + message)
        self.message, self.path, self.line = message, path, line
