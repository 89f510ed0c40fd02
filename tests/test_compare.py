"""`bioemb compare`: which saved models and tasks it shows, beside which one, and what it says of what is not there."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bioemb import cli
from bioemb.evaluation.comparison import compare
from bioemb.evaluation.scores import Part, TaskScore, scores_folder, settings_file, write_score
from bioemb.files import write_json


def score(values, task="med", revision="d1"):
    values = np.asarray(values, dtype=float)
    ids = tuple(f"q{number}" for number in range(len(values)))
    return TaskScore(task, "ndcg_at_10", float(values.mean()), revision, (Part("test/default", ids, values),))


START, BM25, TRAINED, OLD = np.random.default_rng(0).random((4, 25)) / 2
TRAINED = TRAINED + 0.4


def save(folder, name, revision, *scores):
    for each in scores:
        write_score(scores_folder(folder, name, revision) / f"{each.task}.json", each)


@pytest.fixture
def saves(tmp_path):
    """What an evaluation of `trained` beside `minilm` and BM25 leaves, and an older `trained`."""
    folder = tmp_path / "saves"
    save(folder, "local/trained", "3f9a0c1b2d4e", score(TRAINED), score(TRAINED, "zoo"))
    save(folder, "local/trained", "77aa0c1b2d4e", score(OLD))
    save(folder, "bioemb/bm25", "bm25s-1", score(BM25))
    save(folder, "local/minilm", "b00c0c1b2d4e", score(START), score(START, "zoo"))
    models = [("local/minilm", "b00c0c1b2d4e"), ("bioemb/bm25", "bm25s-1"), ("local/trained", "3f9a0c1b2d4e")]
    about = [{"model": "any", "name": name, "revision": revision} for name, revision in models]
    write_json(folder / "comparison.json", {"models": about, "tasks": [{"task": "zoo"}, {"task": "med"}]})
    return folder


def said(capsys, *words):
    code = cli.main(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("bioemb")]


def test_the_table_is_the_one_that_evaluate_prints_with_the_last_evaluation_first(saves, capsys):
    expected = compare(
        {
            "minilm": [score(START, "zoo"), score(START)],
            "BM25": [score(BM25)],
            "trained@3f9a0c1": [score(TRAINED, "zoo"), score(TRAINED)],
            "trained@77aa0c1": [score(OLD)],
        }
    )
    assert said(capsys, saves) == (0, expected.as_text() + "\n", [])
    assert said(capsys, saves, "--markdown")[1] == expected.as_markdown() + "\n"
    found = json.loads(said(capsys, saves, "--json")[1])
    assert found == {**expected.as_dict(), "differing_settings": {model: {} for model in expected.models}}


def test_models_tasks_and_the_baseline_can_be_chosen(saves, capsys):
    expected = compare({"BM25": [score(BM25)], "trained@3f9a0c1": [score(TRAINED)], "minilm": [score(START)]})
    words = ("--model", "Trained@3f", "local/minilm", "--baseline", "bm25", "--task", "med")
    assert said(capsys, saves, *words) == (0, expected.as_text() + "\n", [])
    first = compare({"trained@77aa0c1": [score(OLD)], "minilm": [score(START), score(START, "zoo")]})
    found = json.loads(said(capsys, saves, "--model", "trained@77", "minilm", "--json")[1])
    assert found["baseline"] == "trained@77aa0c1"
    assert {column["task"]: column for column in found["tasks"]} == {c["task"]: c for c in first.as_dict()["tasks"]}


def test_a_name_stands_for_all_its_revisions_but_not_as_the_baseline(saves, capsys):
    found = json.loads(said(capsys, saves, "--model", "minilm", "trained", "--json")[1])
    assert [row["model"] for row in found["tasks"][0]["models"]] == ["minilm", "trained@3f9a0c1", "trained@77aa0c1"]
    code, _, (line,) = said(capsys, saves, "--baseline", "trained")
    assert code == 2 and "baseline 'trained' may be trained@3f9a0c1 or trained@77aa0c1; name one" in line


SETTINGS = {"model_files": "3f9a0c1b2d4e", "query_max_len": 64, "bf16": False, "query_prompt": "q: ", "pooling": "cls"}
OTHERS = {
    **SETTINGS,
    "model_files": "b00c0c1b2d4e",
    "query_max_len": 128,
    "bf16": True,
    "query_prompt": "\x1b" + "x" * 50,
}


def test_rows_of_one_model_say_what_differs_between_them(saves, capsys):
    for revision, settings in (("3f9a0c1b2d4e", SETTINGS), ("77aa0c1b2d4e", OTHERS)):
        write_json(settings_file(scores_folder(saves, "local/trained", revision)), settings)
    write_json(settings_file(scores_folder(saves, "local/minilm", "b00c0c1b2d4e")), {**SETTINGS, "pooling": "mean"})
    lines = [line.split("  ")[0] for line in said(capsys, saves, "--task", "med")[1].splitlines()]
    first = lines.index("trained@3f9a0c1")
    assert lines[first + 1 : first + 5] == ["model_files 3f9a0c1", "query_max_len 64", "bf16 no", 'query_prompt "q: "']
    second = lines.index("trained@77aa0c1")
    assert lines[second + 1 :] == [
        "model_files b00c0c1", "query_max_len 128", "bf16 yes", 'query_prompt "\\u001b' + "x" * 32 + "…",
    ]  # fmt: skip
    assert "trained@3f9a0c1<br>model_files 3f9a0c1<br>query_max_len 64<br>" in said(capsys, saves, "--markdown")[1]
    found = json.loads(said(capsys, saves, "--json")[1])["differing_settings"]
    assert found["minilm"] == {} and found["trained@77aa0c1"] == {k: v for k, v in OTHERS.items() if k != "pooling"}
    alone = said(capsys, saves, "--model", "trained@77", "minilm")[1]
    assert "query_max_len" not in alone  # there is nothing to tell it from


@pytest.mark.parametrize("turned", [False, True])
def test_settings_of_a_model_are_found_in_whichever_folder_has_them(saves, tmp_path, capsys, turned):
    older = tmp_path / "older"
    for revision, settings in (("3f9a0c1b2d4e", SETTINGS), ("77aa0c1b2d4e", OTHERS)):
        write_json(settings_file(scores_folder(saves, "local/trained", revision)), settings)
        save(older, "local/trained", revision, score(START, "extra"))
    folders = (older, saves) if turned else (saves, older)
    found = json.loads(said(capsys, *folders, "--json")[1])["differing_settings"]
    assert found["trained@77aa0c1"] == {k: v for k, v in OTHERS.items() if k != "pooling"}


@pytest.mark.parametrize("text", ["{", "[]", '{"model_files": 5}'])
def test_damaged_settings_are_named(saves, capsys, text):
    settings_file(scores_folder(saves, "local/minilm", "b00c0c1b2d4e")).write_text(text)
    code, _, (line,) = said(capsys, saves)
    assert code == 2 and "b00c0c1b2d4e.json: the saved settings are damaged" in line


def test_several_save_folders_make_one_table(saves, tmp_path, capsys):
    other = tmp_path / "other"
    save(other, "org/model", "c0", score(START + 0.125))
    save(other, "me/model", "c1", score(START - 0.25))
    save(other, "local/minilm", "b00c0c1b2d4e", score(START, "extra"))
    found = json.loads(said(capsys, saves, other, "--model", "minilm", "org/model", "me/model", "--json")[1])
    assert [column["task"] for column in found["tasks"]] == ["zoo", "med", "extra"]
    start, up, down = found["tasks"][1]["models"]
    assert (start["model"], up["model"], down["model"]) == ("minilm", "org/model", "me/model")
    assert (up["difference"], up["verdict"]) == (pytest.approx(0.125), "better")
    assert (down["difference"], down["verdict"]) == (pytest.approx(-0.25), "worse")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "traind"], "no model 'traind' is saved here; there are minilm, BM25, trained@3f9a0c1, "),
        (["--model", "trained@00"], "no model 'trained@00' is saved here"),
        (["--baseline", "minilmm"], "did you mean 'minilm'?"),
        (["--task", "mad"], "none of the models has a saved score on 'mad'; there are zoo, med; did you mean 'med'?"),
        (["--model", "BM25", "--task", "zoo"], "none of the models has a saved score on 'zoo'; there are med"),
        (["--json", "--markdown"], "json and markdown exclude each other; choose one"),
    ],
)
def test_what_is_not_there_is_one_line(saves, capsys, words, message):
    code, out, lines = said(capsys, saves, *words)
    assert (code, out, len(lines)) == (2, "", 1) and message in lines[0]


def test_nothing_saved_and_no_folder_are_told_apart(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, message in (("empty", "no saved scores here; `bioemb evaluate"), ("gone", "no such folder")):
        code, _, (line,) = said(capsys, tmp_path / name)
        assert code == 2 and f"{tmp_path / name}: {message}" in line
    code, _, (line,) = said(capsys)
    assert code == 2 and "--save_folder must be given" in line


def test_scores_on_other_data_are_refused_with_both_names(saves, tmp_path, capsys):
    save(tmp_path / "new", "local/next", "d0", score(START, revision="d2"))
    code, _, (line,) = said(capsys, saves, tmp_path / "new")
    assert code == 2 and "med: minilm was scored on data d1, next on d2; evaluate both on the same data" in line
    save(tmp_path / "same", "local/minilm", "b00c0c1b2d4e", score(START, revision="d2"))
    code, _, (line,) = said(capsys, saves, tmp_path / "same")
    assert code == 2 and "med.json: another of these folders has this model's score on other data (d1, here d2)" in line


@pytest.mark.parametrize("text", ["{", "[]", '{"models": 3}', '{"models": [{"name": "x"}]}'])
def test_a_damaged_comparison_is_named(saves, capsys, text):
    (saves / "comparison.json").write_text(text)
    code, _, (line,) = said(capsys, saves)
    assert code == 2 and "comparison.json: the saved comparison is damaged" in line


def models_of(capsys, *words):
    return [row["model"] for row in json.loads(said(capsys, *words, "--json")[1])["tasks"][0]["models"]]


def test_of_a_comparison_that_older_versions_saved_the_starting_model_is_first(saves, capsys):
    write_json(saves / "comparison.json", {"starting_model": "zebra", "tasks": []})
    save(saves, "local/zebra", "c0", score(START + 0.1))
    names = ["zebra", "minilm", "trained@3f9a0c1", "trained@77aa0c1", "BM25"]
    assert models_of(capsys, saves, "--task", "med") == names


def test_without_a_comparison_bm25_is_no_baseline_unless_it_is_alone(saves, tmp_path, capsys):
    (saves / "comparison.json").unlink()
    assert models_of(capsys, saves) == ["minilm", "trained@3f9a0c1", "trained@77aa0c1", "BM25"]
    save(tmp_path / "words", "bioemb/bm25", "bm25s-1", score(BM25))
    assert models_of(capsys, tmp_path / "words") == ["BM25"]


def test_no_model_and_no_torch_is_loaded(saves):
    code = (
        "import sys; from bioemb import cli; cli.main(['compare', sys.argv[1]]); "
        "print({'mteb', 'torch', 'transformers', 'datasets'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code, str(saves)], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"
