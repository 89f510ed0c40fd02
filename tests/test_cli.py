"""What a user sees: exit codes, one line for each mistake, help without the heavy libraries."""

import dataclasses
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bioemb import cli
from bioemb.errors import DataError

GOOD = {"query": "heart", "pos": ["heart cell"], "neg": ["liver", "bone"]}


def said(capsys, *words: object) -> tuple[int, str]:
    """The exit code and what went to stderr beside the log."""
    code = cli.main([str(word) for word in words])
    return code, [line for line in capsys.readouterr().err.splitlines() if line.startswith("bioemb")]


def write(path: Path, *rows: dict | bytes) -> Path:
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    return path


@pytest.fixture
def train_words(tmp_path, tiny_encoder_folder):
    sizes = {"--query_max_len": 8, "--passage_max_len": 16, "--train_group_size": 3, "--max_steps": 1}
    words = ["train", "--output_dir", tmp_path / "out", "--model_name_or_path", tiny_encoder_folder]
    return [*words, *(word for pair in sizes.items() for word in pair), "--train_data"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([GOOD, b'{"query": "cut'], "data.jsonl, line 2: not JSON"),
        ([GOOD, {"pos": ["a"], "neg": ["b"]}], "line 2: 'query' must be text, got no such key"),
        ([{**GOOD, "query": " "}], "line 1: 'query' must be text, got empty text"),
        ([GOOD, {**GOOD, "pos": ["a", ""]}], "line 2: 'pos'[1] must be text, got empty text"),
        ([GOOD, {**GOOD, "neg": "text"}], "line 2: 'neg' must be a list of texts"),
        ([GOOD, b'{"query": "\xff"}\n'], "line 2: not UTF-8"),
        ([], "there are no rows"),
    ],
)
def test_bad_training_data_is_one_line_with_file_and_line(capsys, tmp_path, train_words, content, words):
    code, lines = said(capsys, *train_words, write(tmp_path / "data.jsonl", *content))
    assert code == 2 and len(lines) == 1 and words in lines[0], lines


def test_negatives_too_few_for_the_group_are_named_where_the_batch_gives_none(capsys, tmp_path, train_words):
    path = write(tmp_path / "data.jsonl", GOOD, {**GOOD, "neg": []})
    code, lines = said(capsys, *train_words, path, "--use_inbatch_neg", "no")
    assert (
        code == 2
        and len(lines) == 1
        and all(word in lines[0] for word in ("line 2: ", "groups of 3; mine some negatives"))
    ), lines


def test_a_truncated_gzip_file_is_named(capsys, tmp_path, train_words):
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(
        gzip.compress("".join(json.dumps({**GOOD, "query": f"q {i}"}) + "\n" for i in range(99)).encode())[:-40]
    )
    code, lines = said(capsys, *train_words, path)
    assert code == 2 and len(lines) == 1 and "data.jsonl.gz" in lines[0] and "cut off" in lines[0]


def test_missing_files_and_empty_folders_are_named(capsys, tmp_path, train_words, tiny_encoder_folder):
    (tmp_path / "empty").mkdir()
    filtering = ["filter", "--model_path", tiny_encoder_folder, "--out_file_path", tmp_path / "o", "--folder_path"]
    for words, expected in (
        ([*train_words, tmp_path / "no.jsonl"], "no.jsonl: no such file or folder"),
        ([*filtering, tmp_path / "empty"], "empty: no file here ends in"),
        (
            ["extract", "--output_file", tmp_path / "o", "--input_path", tmp_path / "empty"],
            "empty: no file here ends in",
        ),
        ([*train_words[:4], tmp_path / "no-model", *train_words[5:], tmp_path], "there is no model folder"),
    ):
        code, lines = said(capsys, *words)
        assert code == 2 and len(lines) == 1 and expected in lines[0], lines


def test_a_model_folder_without_a_tokenizer_is_named(capsys, tmp_path, train_words, tiny_encoder_folder):
    folder = tmp_path / "model"
    shutil.copytree(tiny_encoder_folder, folder, ignore=shutil.ignore_patterns("tokenizer*", "vocab*", "special*"))
    data = write(tmp_path / "data.jsonl", GOOD)
    code, lines = said(capsys, *train_words[:4], folder, *train_words[5:], data)
    assert code == 2 and len(lines) == 1 and "tokenizer" in lines[0] and str(folder) in lines[0]


def test_group_size_one_with_negatives_is_refused_and_without_them_trains(capsys, tmp_path, train_words):
    train_words[train_words.index("--train_group_size") + 1] = 1
    code, lines = said(capsys, *train_words, write(tmp_path / "data.jsonl", GOOD))
    assert code == 2 and len(lines) == 1 and "train_group_size is 1" in lines[0]
    code, lines = said(capsys, *train_words, write(tmp_path / "pairs.jsonl", {"query": "heart", "document": "liver"}),
                       "--overwrite")  # fmt: skip
    assert (code, lines) == (0, [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'"),
        (["train", "--lerning_rate", "1"], "unknown flag --lerning_rate; did you mean '--learning_rate'"),
        (["train"], "--output_dir, --model_name_or_path, --train_data must be given"),
        (["mine", "--negative_number", "x"], "--negative_number: expected a whole number, got 'x'"),
        (["filter", "--sim_threshold", "7", "--model_path", "m", "--folder_path", "f", "--out_file_path", "o"],
         "a cosine is from -1 to 1"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_words_is_one_line(capsys, words, expected):
    code, lines = said(capsys, *words)
    assert code == 2 and len(lines) == 1 and expected in lines[0]


def test_an_interruption_exits_130_and_a_fault_of_ours_keeps_its_traceback(monkeypatch, capsys):
    def run_with(error):
        monkeypatch.setattr("bioemb.stages.run.run", lambda settings: (_ for _ in ()).throw(error))
        return cli.main(["run", "recipe.yaml"])

    assert run_with(KeyboardInterrupt()) == 130
    assert run_with(DataError("odd", "a.jsonl", 3)) == 2
    assert "bioemb run: a.jsonl, line 3: odd" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        run_with(ZeroDivisionError())


def test_every_command_has_help_that_names_its_flags(capsys):
    for command, (config_class, _) in cli.COMMANDS.items():
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert all(f"--{name}" in shown for name in (field.name for field in dataclasses.fields(config_class))), command


def test_help_loads_neither_torch_nor_transformers():
    code = (
        "import sys; from bioemb.cli import main; main(['--help']); print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n") and "usage: bioemb" in done.stdout


def test_a_terminated_command_ends_as_an_interrupted_one(capsys, monkeypatch, tmp_path):
    def run(config):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)  # the signal comes in between

    monkeypatch.setattr("bioemb.stages.inspect.run", run)
    before = signal.getsignal(signal.SIGTERM)
    code, lines = said(capsys, "inspect", write(tmp_path / "a.jsonl", GOOD))
    assert code == 130 and lines == ["bioemb inspect: terminated; run it again to go on"]
    assert signal.getsignal(signal.SIGTERM) is before
