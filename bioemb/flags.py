"""Command lines from frozen dataclasses: one field is one flag; YAML gives defaults and flags override them.

A class may name, in `WITHOUT_EFFECT`, flags of other programs that are accepted and do nothing, each with its reason.

`flag` declares a field, `parse` turns words into a configuration. Each command's fields stand in `config.py`.
"""

import argparse
import dataclasses
import difflib
import re
import types
import typing
from math import inf
from pathlib import Path
from typing import Any

from bioemb.errors import ConfigError
from bioemb.log import logger

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)


def flag(
    help: str, default: Any = dataclasses.MISSING, *, also: tuple[str, ...] = (), choices=None, output=True, bare=False
):
    """A dataclass field that is a flag: required without a default; `also` are other spellings of its name.

    `bare=True` takes a word (several, of a tuple) that stands without any flag, too, as in `bioemb run recipe.yaml`.
    `output=False` marks what cannot change the output's content (paths, number of processes), and so does not
    enter the manifest's comparison.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "also": also, "choices": choices, "output": output, "bare": bare}
    )


def parse(config_class: type, words: list[str], command: str) -> Any:
    """The configuration that the words ask for. Raises ConfigError; `--help` prints and exits 0."""
    parser = build_parser(config_class, command)
    file_words, _ = _config_file_parser(command).parse_known_args(words)
    values = read_config_file(file_words.config) if file_words.config else {}
    bare = next((field.name for field in dataclasses.fields(config_class) if field.metadata["bare"]), None)
    given = _parse_words(parser, words, bare)
    given.pop("config", None)
    for name, reason in getattr(config_class, "WITHOUT_EFFECT", {}).items():
        if given.pop(name, None) is not None:
            logger.warning("--%s has no effect here: %s", name, reason)
    return from_mapping(config_class, {**values, **given}, command)


def from_mapping(config_class: type, values: dict[str, Any], command: str) -> Any:
    """The configuration with these field values, each converted as its flag would be. Raises ConfigError."""
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    names = {other: name for name, field in fields.items() for other in (name, *field.metadata["also"])}
    types_of = typing.get_type_hints(config_class)
    converted = {}
    for key, value in values.items():
        if key not in names:
            raise ConfigError(f"unknown setting {key!r}{nearest(str(key), names)}")
        name = names[key]
        converted[name] = _convert_value(value, types_of[name], fields[name], f"--{name}")
    missing = [f"--{n}" for n, f in fields.items() if f.default is dataclasses.MISSING and n not in converted]
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be given (see `{command} --help`)")
    return config_class(**converted)


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """' (did you mean ...?)' for the known name closest to this one, or ''."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def read_config_file(path: str) -> dict[str, Any]:
    """The settings in a YAML file, checked to be one flat mapping. Raises ConfigError."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: expected `name: value` lines, got a {type(values).__name__}")
    return values or {}


def output_settings(config: Any) -> dict[str, Any]:
    """The settings that decide the content of the output, for its manifest; infinity, which JSON has not, as text."""
    fields = dataclasses.fields(config)
    values = {f.name: getattr(config, f.name) for f in fields if f.metadata["output"]}
    values = {name: str(value) if value in (inf, -inf) else value for name, value in values.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def build_parser(config_class: type, command: str) -> argparse.ArgumentParser:
    """The argparse parser of a command. Absent flags stay absent, so that YAML and defaults can fill them."""
    without_effect = getattr(config_class, "WITHOUT_EFFECT", {})
    parser = _Parser(
        prog=command,
        description=config_class.__doc__,
        epilog=f"Accepted, without effect: {', '.join(f'--{name}' for name in without_effect)}" * bool(without_effect),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file of defaults; flags override it")
    for field in dataclasses.fields(config_class):
        several, kind, _ = _shape(typing.get_type_hints(config_class)[field.name])
        options: dict[str, Any] = {"dest": field.name, "help": _help(field), "metavar": _metavar(kind, field)}
        if several:
            options["nargs"] = "+"
        elif kind is bool:
            options.update(nargs="?", const=True)
        parser.add_argument(*(f"--{name}" for name in (field.name, *field.metadata["also"])), **options)
    for name in without_effect:
        parser.add_argument(f"--{name}", nargs="*", help=argparse.SUPPRESS)
    return parser


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any):
        super().__init__(**options)
        self._negative_number_matcher = NEGATIVE_NUMBER  # argparse's own takes -1e-3 for a flag

    def error(self, message: str) -> typing.NoReturn:
        raise ConfigError(f"{message} (see `{self.prog} --help`)")


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=36, width=110)


def _config_file_parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=command, add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    return parser


def _parse_words(parser: argparse.ArgumentParser, words: list[str], bare: str | None) -> dict[str, Any]:
    known = [option for action in parser._actions for option in action.option_strings]
    given, rest = parser.parse_known_args(words)
    unknown = [word for word in rest if word.startswith("--")]
    if unknown:
        name = unknown[0].split("=")[0]
        raise ConfigError(f"unknown flag {name}{nearest(name, known)} (see `{parser.prog} --help`)")
    takes_several = any(action.dest == bare and action.nargs == "+" for action in parser._actions)
    if bare and bare not in vars(given) and (len(rest) == 1 or (rest and takes_several)):
        return {**vars(given), bare: rest if takes_several else rest[0]}
    if rest:
        raise ConfigError(f"do not know what to do with {' '.join(map(repr, rest))}")
    return vars(given)


def _help(field: dataclasses.Field) -> str:
    text = field.metadata["help"].replace("%", "%%")
    if field.default is dataclasses.MISSING:
        return f"{text} (required)"
    default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return text if default in (None, "") else f"{text} (default: {default})"


def _metavar(kind: type, field: dataclasses.Field) -> str:
    if field.metadata["choices"]:
        return "{" + ",".join(map(str, field.metadata["choices"])) + "}"
    return {bool: "yes|no", int: "N", float: "X", str: "TEXT"}[kind]


def _shape(annotation: Any) -> tuple[bool, type, bool]:
    """(takes several values, type of one, may be None) of a field's annotation."""
    if isinstance(annotation, types.UnionType):
        inner = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
        several, kind, _ = _shape(inner[0])
        return several, kind, True
    if typing.get_origin(annotation) is tuple:
        return True, typing.get_args(annotation)[0], False
    return False, annotation, False


def _convert_value(value: Any, annotation: Any, field: dataclasses.Field, where: str) -> Any:
    several, kind, optional = _shape(annotation)
    if value is None or (optional and isinstance(value, str) and value.lower() == "none"):
        if optional:
            return None
        raise ConfigError(f"{where}: expected a value, got nothing")
    if several:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert_one(one, kind, field, where) for one in values)
    return _convert_one(value, kind, field, where)


def _convert_one(value: Any, kind: type, field: dataclasses.Field, where: str) -> Any:
    choices = field.metadata["choices"]
    try:
        result = _to_bool(value) if kind is bool else _to_kind(value, kind)
    except (TypeError, ValueError, OverflowError):
        words = {bool: "yes or no", int: "a whole number", float: "a number", str: "text"}[kind]
        raise ConfigError(f"{where}: expected {words}, got {value!r}") from None
    if choices and result not in choices:
        raise ConfigError(f"{where}: expected one of {', '.join(map(str, choices))}, got {value!r}")
    return result


def _to_bool(value: Any) -> bool:
    word = str(value).lower()
    if word not in TRUE + FALSE:
        raise ValueError(value)
    return word in TRUE


def _to_kind(value: Any, kind: type) -> Any:
    if kind is str and isinstance(value, bool):  # YAML's yes and no, where the words themselves are meant
        return "yes" if value else "no"
    if isinstance(value, bool | list | dict) or (kind is int and isinstance(value, float) and value != int(value)):
        raise ValueError(value)
    return kind(value)
