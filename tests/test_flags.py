"""Words and YAML to settings: each value as its flag says, each mistake one line that names what was meant."""

import dataclasses
import json

import pytest

from bioemb import config
from bioemb.config import EvaluateConfig, ExtractConfig, FilterConfig, MineConfig, ScoreConfig, TrainConfig
from bioemb.errors import ConfigError
from bioemb.flags import flag, from_mapping, nearest, output_settings, parse

TRAIN = ["--output_dir", "o", "--model_name_or_path", "m", "--train_data", "a.jsonl"]
MINE_PATHS = ("model_name_or_path", "input_file", "output_file")
ALL = [value for value in vars(config).values() if dataclasses.is_dataclass(value)]


@dataclasses.dataclass(frozen=True)
class Example:
    """What a command may take."""

    name: str = flag("a name")
    rate: float = flag("a rate, 100 % at most", 0.5)
    count: int | None = flag("how many", None)
    quick: bool = flag("whether", False, also=("fast", "be_quick"))
    maybe: bool | None = flag("whether, or as the model says", None)
    kinds: tuple[str, ...] = flag("some kinds", ("a", "b"), choices=("a", "b", "c"))
    dims: tuple[int, ...] = flag("numbers", ())
    note: str | None = flag("a note", None, output=False)


def parsed(*words, yaml=None, tmp_path=None):
    if yaml is not None:
        (tmp_path / "settings.yaml").write_text(yaml, encoding="utf-8")
        words = ("--config", str(tmp_path / "settings.yaml"), *words)
    return parse(Example, list(words), "bioemb example")


def complaint(*words, **where):
    with pytest.raises(ConfigError) as caught:
        parsed(*words, **where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Words


def test_defaults_stand_where_nothing_is_said():
    assert parsed("--name", "n") == Example(name="n")
    assert parsed("--name", "n") == Example("n", 0.5, None, False, None, ("a", "b"), (), None)


def test_words_are_converted_as_their_fields_say():
    words = "--name=x --rate 2e-5 --count 7 --kinds c a --dims 64 128 --note --quick"
    with pytest.raises(ConfigError):  # --note wants a value
        parsed(*words.split())
    words = words.replace("--note ", "")
    assert parsed(*words.split()) == Example("x", 2e-5, 7, True, None, ("c", "a"), (64, 128))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--quick"], True),
        (["--quick", "--rate", "1"], True),
        (["--fast"], True),
        (["--be_quick", "True"], True),
        (["--quick", "yes"], True),
        (["--quick=on"], True),
        (["--quick", "1"], True),
        (["--quick", "False"], False),
        (["--quick", "no"], False),
        (["--quick", "OFF"], False),
        (["--quick", "0"], False),
        (["--quick", "--quick", "no"], False),
    ],
)
def test_a_yes_or_no_flag_stands_bare_or_with_a_word(words, expected):
    assert parsed("--name", "n", *words).quick is expected


def test_none_is_none_only_where_it_may_be():
    given = parsed("--name", "none", "--count", "None", "--maybe", "none", "--note", "none")
    assert (given.name, given.count, given.maybe, given.note) == ("none", None, None, None)
    assert "--rate: expected a number, got 'none'" in complaint("--name", "n", "--rate", "none")


def test_empty_text_is_a_text():
    assert parsed("--name", "", "--note", "") == Example("", note="")


@pytest.mark.parametrize("number", ["-1", "-0.3", "-.5", "-1e-3", "-2.5E+1"])
def test_a_negative_number_is_no_flag(number):
    assert parsed("--name", "n", "--rate", number).rate == float(number)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--name must be given (see `bioemb example --help`)"),
        (["--name", "n", "--cuont", "3"], "unknown flag --cuont; did you mean '--count'?"),
        (["--name", "n", "--cuont=3"], "unknown flag --cuont; did you mean '--count'?"),
        (["--name", "n", "--befast"], "did you mean '--fast'?"),
        (["--name", "n", "--zzz"], "unknown flag --zzz (see"),
        (["--nam", "n"], "unknown flag --nam; did you mean '--name'?"),  # beginnings are no flags
        (["--name", "n", "stray", "words"], "do not know what to do with 'stray' 'words'"),
        (["--name", "n", "-x"], "do not know what to do with '-x'"),
        (["--name"], "argument --name: expected one argument"),
        (["--config"], "argument --config: expected one argument (see `bioemb example --help`)"),
        (["--name", "n", "--rate", "fast"], "--rate: expected a number, got 'fast'"),
        (["--name", "n", "--count", "2.5"], "--count: expected a whole number, got '2.5'"),
        (["--name", "n", "--quick", "perhaps"], "--quick: expected yes or no, got 'perhaps'"),
        (["--name", "n", "--kinds", "a", "d"], "--kinds: expected one of a, b, c, got 'd'"),
        (["--name", "n", "--dims", "64", "x"], "--dims: expected a whole number, got 'x'"),
        (["--name", "n", "--config", "none.yaml"], "none.yaml: there is no such file"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(words, said):
    assert said in complaint(*words)


# YAML


def test_yaml_gives_defaults_and_words_override_them(tmp_path):
    yaml = "name: from file\nrate: 1e-3\nkinds: [c]\nfast: yes\n"
    assert parsed(yaml=yaml, tmp_path=tmp_path) == Example("from file", 1e-3, None, True, None, ("c",))
    given = parsed("--rate", "0.25", "--quick", "no", "--kinds", "a", yaml=yaml, tmp_path=tmp_path)
    assert given == Example("from file", 0.25, None, False, None, ("a",))


@pytest.mark.parametrize(
    ("line", "field", "expected"),
    [
        ("rate: 2e-5", "rate", 2e-5),  # YAML 1.1 reads a text
        ("rate: 1", "rate", 1.0),
        ("count: 3.0", "count", 3),
        ("count: '12'", "count", 12),
        ("count: null", "count", None),
        ("count:", "count", None),
        ("maybe: null", "maybe", None),
        ("quick: 'true'", "quick", True),
        ("quick: 0", "quick", False),
        ("kinds: c", "kinds", ("c",)),
        ("dims: [8, '16']", "dims", (8, 16)),
        ("dims: []", "dims", ()),
        ("note: no", "note", "no"),  # YAML 1.1 reads a boolean
        ("note: 5", "note", "5"),
        ("note: ''", "note", ""),
    ],
)
def test_a_yaml_value_becomes_what_its_flag_would(tmp_path, line, field, expected):
    value = getattr(parsed("--name", "n", yaml=line, tmp_path=tmp_path), field)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("naem: x", "unknown setting 'naem'; did you mean 'name'?"),
        ("be_quik: yes", "unknown setting 'be_quik'; did you mean 'be_quick'?"),
        ("1: x", "unknown setting 1"),
        ("on: x", "unknown setting True"),  # YAML 1.1
        ("rate:", "--rate: expected a value, got nothing"),
        ("rate: [1]", "--rate: expected a number, got [1]"),
        ("rate: true", "--rate: expected a number, got True"),
        ("count: 2.5", "--count: expected a whole number, got 2.5"),
        ("count: .inf", "--count: expected a whole number, got inf"),
        ("note: {a: 1}", "--note: expected text, got {'a': 1}"),
        ("kinds: [a, d]", "--kinds: expected one of a, b, c, got 'd'"),
        ("quick: 2", "--quick: expected yes or no, got 2"),
        ("- name", "settings.yaml: expected `name: value` lines, got a list"),
        ("name: [x", "settings.yaml: not readable as YAML: while parsing a flow sequence"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, yaml, said):
    assert said in complaint("--name", "n", yaml=yaml, tmp_path=tmp_path)


def test_an_empty_file_a_folder_and_bytes_that_are_no_text_are_told_apart(tmp_path):
    assert parsed("--name", "n", yaml="# nothing\n", tmp_path=tmp_path) == Example("n")
    assert "not readable as YAML" in complaint("--config", str(tmp_path))
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff")
    assert "not readable as YAML" in complaint("--config", str(tmp_path / "bad.yaml"))


# All commands


@pytest.mark.parametrize("config_class", ALL, ids=lambda config_class: config_class.__name__)
def test_help_names_every_flag_with_its_default(config_class, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(config_class, ["--help"], "bioemb x")
    text = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    for field in dataclasses.fields(config_class):
        assert all(f"--{name}" in text for name in (field.name, *field.metadata["also"]))
        assert " ".join(field.metadata["help"].split()) in text
    required = [field for field in dataclasses.fields(config_class) if field.default is dataclasses.MISSING]
    assert text.count("(required)") == len(required)


@pytest.mark.parametrize("config_class", ALL, ids=lambda config_class: config_class.__name__)
def test_settings_go_through_json_and_come_back(config_class):
    required = [f for f in dataclasses.fields(config_class) if f.default is dataclasses.MISSING]
    required = {f.name: (f.metadata["choices"] or ("x",))[0] for f in required}
    if config_class is config.DecontaminateConfig:  # wants tasks, or a folder of them
        required["task"] = ["x"]
    if config_class is config.AverageConfig:  # of two or more
        required["model_path"] = ["x", "y"]
    settings = from_mapping(config_class, required, "bioemb x")
    again = {f.name: getattr(settings, f.name) for f in dataclasses.fields(config_class)}
    assert from_mapping(config_class, json.loads(json.dumps(again)), "bioemb x") == settings
    assert json.loads(json.dumps(output_settings(settings))) == output_settings(settings)


def test_only_settings_that_decide_the_content_enter_the_manifest():
    given = Example("n", kinds=("c",), note="private")
    assert output_settings(given) == {
        "name": "n", "rate": 0.5, "count": None, "quick": False, "maybe": None, "kinds": ["c"], "dims": [],
    }  # fmt: skip
    mine = output_settings(from_mapping(MineConfig, dict.fromkeys(MINE_PATHS, "x"), "bioemb mine"))
    assert not {*MINE_PATHS, "candidate_pool", "use_gpu_for_searching", "batch_tokens", "overwrite"} & set(mine)
    assert {"range_for_sampling", "negative_number", "seed", "bf16", "index_factory"} <= set(mine)


@pytest.mark.parametrize(
    ("config_class", "line"),
    [
        (FilterConfig, "--model_path M --folder_path D --out_file_path F --sim_threshold 0.75 --key_x a --key_y t"),
        (MineConfig, "--model_name_or_path M --input_file F --output_file G --range_for_sampling 2-200 "
                     "--negative_number 15 --use_gpu_for_searching"),
        (TrainConfig, "--output_dir O --model_name_or_path M --train_data F --learning_rate 1e-5 --fp16 "
                      "--num_train_epochs 5 --per_device_train_batch_size 64 --dataloader_drop_last True "
                      "--normlized True --temperature 0.02 --query_max_len 64 --passage_max_len 256 "
                      "--train_group_size 2 --negatives_cross_device --logging_steps 10 --save_steps 1000"),
        (EvaluateConfig, "--model_path O --save_folder saves --task BIOSSES"),
        (ExtractConfig, "--input_path D E --output_file p.jsonl --kinds title_abstract title_passage --num_proc 2"),
    ],
)  # fmt: skip
def test_the_fields_own_command_lines_are_understood(config_class, line):
    given = parse(config_class, line.split(), "bioemb")
    for words in line.split("--")[1:]:
        name, *values = words.split()
        values = values or ["True"]
        got = getattr(given, name)
        assert [str(one) for one in got] == values if isinstance(got, tuple) else type(got)(values[0]) == got


def test_the_instruction_may_be_empty():
    assert (
        parse(TrainConfig, [*TRAIN, "--query_instruction_for_retrieval", ""], "b").query_instruction_for_retrieval == ""
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--temperature 0", "temperature is 0.0; expected more than 0"),
        ("--temperature nan", "temperature is nan; expected more than 0"),
        ("--fp16 --bf16", "fp16 and bf16 exclude each other"),
        ("--train_group_size 0", "train_group_size is 0; expected 1 or more"),
        ("--sub_batch_size 0", "sub_batch_size is 0; expected 1 or more"),
        ("--seed -1", "seed is -1; expected 0 or more"),
        ("--learning_rate nan", "learning_rate is nan; expected 0 or more"),
        ("--dropout 1.5", "dropout is 1.5; expected from 0 to 1"),
        ("--mrl_dims 64", "use_mrl and mrl_dims go together"),
        ("--use_mrl", "use_mrl and mrl_dims go together"),
        ("--num_train_epochs 0", "nothing to train"),
        ("--negatives_cross_device --use_inbatch_neg no", "negatives_cross_device needs the batch's negatives"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_work(words, said):
    with pytest.raises(ConfigError) as caught:
        parse(TrainConfig, [*TRAIN, *words.split()], "train.py")
    assert said in str(caught.value)


def test_a_threshold_that_is_no_cosine_and_one_key_for_both_sides_are_refused():
    paths = dict(model_path="m", folder_path="d", out_file_path="o")
    for settings in ({"sim_threshold": 1.5}, {"sim_threshold": float("nan")}, {"key_x": "a", "key_y": "a"}):
        with pytest.raises(ConfigError):
            from_mapping(FilterConfig, {**paths, **settings}, "bioemb filter")


@pytest.mark.parametrize(
    ("config_class", "paths", "names"),
    [
        (FilterConfig, ("model_path", "folder_path", "out_file_path"), ("batch_tokens", "max_rank", "pool_size")),
        (MineConfig, ("model_name_or_path", "input_file", "output_file"), ("batch_tokens", "search_batch_size")),
        (ScoreConfig, ("reranker_name_or_path", "input_file", "output_file"), ("batch_tokens",)),
    ],
)
def test_counts_below_one_are_refused_before_any_work(config_class, paths, names):
    fine = {**dict.fromkeys(paths, "x"), **dict.fromkeys(names, 1)}
    fine |= {"pool_size": 2} if "pool_size" in names else {}  # a rank of 1 must not be all that there is
    config_class(**fine)
    for name in names:
        for count in (0, -1):
            with pytest.raises(ConfigError, match=f"^{name} is {count}; expected 1 or more"):
                config_class(**{**fine, name: count})


def test_what_is_meant_is_guessed_only_where_it_is_near():
    known = ("learning_rate", "logging_steps", "save_steps")
    assert nearest("learningrate", known) == "; did you mean 'learning_rate'?"
    assert nearest("save_step", known) == "; did you mean 'save_steps'?"
    assert nearest("zebra", known) == ""


def test_flags_of_other_programs_are_accepted_with_a_word_on_each(log):
    words = [
        "--model_name_or_path",
        "m",
        "--input_file",
        "i",
        "--output_file",
        "o",
        "--use_fp16",
        "True",
        "--devices",
        "0",
        "1",
    ]
    settings = parse(MineConfig, words, "bioemb mine")
    assert settings == MineConfig(model_name_or_path="m", input_file="i", output_file="o")
    assert [message.split(" has no effect")[0] for message in log.messages] == ["--use_fp16", "--devices"]
