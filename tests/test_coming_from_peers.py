"""docs/coming-from-flagembedding.md holds: each flag is what it says, by the commands' and the peers' own words."""

import ast
import dataclasses
import importlib.util
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from bioemb.config import EvaluateConfig, MineConfig, ScoreConfig, TrainConfig
from bioemb.errors import ConfigError
from bioemb.flags import build_parser, parse

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "coming-from-flagembedding.md").read_text(encoding="utf-8")
CONFIGS = {"train": TrainConfig, "mine": MineConfig, "score": ScoreConfig, "evaluate": EvaluateConfig}
TRAINING = ["--output_dir", "o", "--model_name_or_path", "m", "--train_data", "t"]


class Row(NamedTuple):
    """A line of a table: what the page says of one flag of a peer's."""

    heading: str
    command: str
    theirs: str
    ours: str  # "same", "no effect", "not there" or another name
    their_default: str
    our_default: str


def read_rows(page: str) -> list[Row]:
    rows, heading, command = [], "", ""
    for line in page.splitlines():
        if line.startswith("#"):
            heading, command = line.lstrip("# "), ""
        elif found := re.fullmatch(r"<!-- flags: (\w+) -->", line):
            command = found[1]
        elif command and line.startswith("| `"):
            cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
            rows.append(Row(heading, command, *cells[:4]))
    return rows


ROWS = read_rows(PAGE)


def is_same(cell: str, value: object) -> bool:
    """Whether a cell says this default."""
    if isinstance(value, tuple) and value:
        return cell == " ".join(map(str, value))
    if isinstance(value, str) and value:
        return cell == value.replace("\n", "\\n")
    words = {None: "none", True: "yes", False: "no", dataclasses.MISSING: "required", (): "none", "": "none"}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return cell == (words[value] if value in words else str(value))
    try:
        return float(cell) == value
    except ValueError:
        return False


@pytest.mark.parametrize("command", CONFIGS)
def test_each_flag_is_accepted_or_refused_as_the_page_says(command):
    config_class = CONFIGS[command]
    known = {option for action in build_parser(config_class, command)._actions for option in action.option_strings}
    idle = getattr(config_class, "WITHOUT_EFFECT", {})
    rows = [row for row in ROWS if row.command == command]
    assert rows
    for row in rows:
        name = row.theirs if row.ours == "same" else row.ours
        if row.ours == "no effect":
            assert row.theirs in idle, row
        elif row.ours == "not there":
            assert f"--{row.theirs}" not in known, row
        else:
            assert f"--{name}" in known and name not in idle, row


def test_each_default_of_ours_is_the_commands():
    for row in ROWS:
        fields = {
            name: field.default
            for field in dataclasses.fields(CONFIGS[row.command])
            for name in (field.name, *field.metadata["also"])
        }
        name = row.theirs if row.ours == "same" else row.ours
        if name in fields:
            assert is_same(row.our_default, fields[name]), row
        else:
            assert row.our_default == "–", row


def test_each_flag_that_a_command_passes_over_stands_on_the_page():
    for command, config_class in CONFIGS.items():
        written = {row.theirs for row in ROWS if row.command == command and row.ours == "no effect"}
        assert set(getattr(config_class, "WITHOUT_EFFECT", {})) <= written


def test_the_commands_on_the_page_are_parsed():
    (block,) = re.findall(r"```\ntorchrun.*?train\.py (.*?)```", PAGE, re.DOTALL)
    config = parse(TrainConfig, shlex.split(block.replace("\\\n", " ")), "train")
    assert (config.train_group_size, config.negatives_cross_device, config.warmup_ratio) == (8, True, 0.1)


def test_the_settings_named_in_the_other_tables_are_parsed():
    cells = [
        cell.strip() for line in PAGE.splitlines() if line.startswith("| ") for cell in line.strip("|").split(" | ")
    ]
    settings = [cell.strip("`") for cell in cells if re.fullmatch(r"`--[^`]*`", cell)]
    assert len(settings) > 20
    for words in settings:
        assert any(_parses(config_class, shlex.split(words)) for config_class in (TrainConfig, MineConfig)), words


def _parses(config_class: type, words: list[str]) -> bool:
    needed = TRAINING if config_class is TrainConfig else ["--model_name_or_path", "m", "--input_file", "i"]
    needed = needed if config_class is TrainConfig else [*needed, "--output_file", "o"]
    try:
        parse(config_class, [*needed, *words, *(["1"] if words == ["--seed"] else [])], "command")
    except ConfigError:
        return False
    return True


def test_the_loss_without_masks_is_the_softmax_over_all():
    import torch
    from torch.nn.functional import cross_entropy, normalize

    from bioemb.losses import Targets

    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(code, names)
    query, passages = (
        normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(count))) for count in (3, 6)
    )
    column, identity = torch.tensor([0, 2, 4]), torch.tensor([7, 7, 8])
    targets = Targets(column, identity, identity.repeat_interleave(2), group_size=2)
    wanted = cross_entropy(query @ passages.T / 0.02, column)
    torch.testing.assert_close(names["without_masks"](query, passages, targets), wanted)


# The peers' own words, read from their source, because to import them takes seconds


def source_of(package: str, path: str) -> ast.Module:
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return ast.parse((Path(found.submodule_search_locations[0]) / path).read_text(encoding="utf-8"))


def fields_of(tree: ast.Module, class_name: str | None = None) -> dict[str, object]:
    """The fields of a module's dataclasses with their defaults; ... where a default is no literal."""
    fields = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and class_name in (None, node.name):
            fields |= {item.target.id: _default(item.value) for item in node.body if isinstance(item, ast.AnnAssign)}
    return fields


def _default(value: ast.expr | None) -> object:
    if value is None:
        return dataclasses.MISSING
    if isinstance(value, ast.Call):
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        if "default_factory" in given:
            return ...
        return _default(given["default"]) if "default" in given else dataclasses.MISSING
    try:
        return ast.literal_eval(value)
    except ValueError:
        return ...


FINE_TUNING = "finetune/embedder/"
OF_FLAG_EMBEDDING = {
    "Fine-tuning: FlagEmbedding's own flags": ["abc/finetune/embedder/AbsArguments.py"],
    "Fine-tuning: flags of the other embedders": [
        FINE_TUNING + "decoder_only/base/arguments.py",
        FINE_TUNING + "decoder_only/icl/arguments.py",
        FINE_TUNING + "encoder_only/m3/arguments.py",
    ],
    "Evaluation": ["abc/evaluation/arguments.py", "evaluation/mteb/arguments.py"],
}


@pytest.mark.parametrize("heading", OF_FLAG_EMBEDDING)
def test_every_flag_of_flag_embedding_stands_on_the_page_with_its_default(heading):
    written = {row.theirs: row for row in ROWS if row.heading == heading}
    for path in OF_FLAG_EMBEDDING[heading]:
        for name, default in fields_of(source_of("FlagEmbedding", path)).items():
            assert name in written, (path, name)
            assert default is ... or is_same(written[name].their_default, default), (written[name], default)


def test_each_default_of_transformers_is_the_one_on_the_page():
    fields = fields_of(source_of("transformers", "training_args.py"), "TrainingArguments")
    rows = [row for row in ROWS if "TrainingArguments" in row.heading and row.theirs in fields]
    assert len(rows) > 50
    for row in rows:
        assert fields[row.theirs] is ... or is_same(row.their_default, fields[row.theirs]), (row, fields[row.theirs])


def test_every_parameter_of_mine_hard_negatives_stands_on_the_page():
    tree = source_of("sentence_transformers", "util/hard_negatives.py")
    (function,) = [node for node in tree.body if getattr(node, "name", "") == "mine_hard_negatives"]
    arguments = [*function.args.args, *function.args.kwonlyargs]
    written = [row.theirs for row in ROWS if row.heading == "sentence-transformers: mine_hard_negatives"]
    assert written == [argument.arg for argument in arguments]
