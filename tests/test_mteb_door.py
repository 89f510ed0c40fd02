"""Our encoder in mteb's hands: two lines, mteb's own check of a model, its traps, an evaluation that is killed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mteb
import numpy as np
import pytest
from scipy.stats import spearmanr
from test_evaluation import WordVectors, model, write_collection, write_pairs

from bioemb.encoder import Encoder
from bioemb.errors import ConfigError
from bioemb.evaluation import BM25, EncoderForMteb, evaluate, find_tasks, load_model

REPOSITORY = Path(__file__).resolve().parent.parent


def test_any_mteb_user_evaluates_our_encoder_in_the_two_lines_of_the_documentation(
    tmp_path, tiny_encoder_folder, monkeypatch
):
    page = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(import mteb\n.*?)```", page, re.DOTALL)[1]
    assert len([line for line in program.splitlines() if line and "import" not in line]) == 2
    first, second, gold = write_pairs(tmp_path, "BIOSSES")
    (task,) = find_tasks("BIOSSES", tmp_path)
    (tmp_path / "model").symlink_to(tiny_encoder_folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mteb, "get_tasks", lambda tasks: [task] if tasks == ["BIOSSES"] else pytest.fail(str(tasks)))
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "cache"))
    names: dict = {}
    exec(program, names)
    encoder = Encoder.from_pretrained(tiny_encoder_folder)
    a, b = (encoder.encode(texts, kind=None) for texts in (first, second))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert names["results"].task_results[0].get_score() == pytest.approx(spearmanr(cosines, gold)[0], abs=1e-5)


def test_the_revision_of_a_loaded_model_changes_with_all_that_changes_vectors(tiny_encoder_folder, tmp_path):
    from tiny_encoder import write_tiny_encoder

    def revision(folder=tiny_encoder_folder, **settings):
        return load_model(folder, "me/model", **settings).mteb_model_meta.revision

    other = write_tiny_encoder(tmp_path / "other", seed=1)
    found = [
        revision(),
        revision(other),
        revision(bf16=True),
        revision(pooling="cls"),
        revision(max_length=(9, None)),
        revision(max_length=(None, 9)),
    ]
    assert len(set(found)) == len(found) and revision(batch_tokens=64) == revision() == found[0]
    assert load_model(tiny_encoder_folder).mteb_model_meta.name == f"local/{tiny_encoder_folder.name}"


def test_the_settings_of_a_loaded_model_say_what_its_revision_is_made_of(tiny_encoder_folder):
    usual = load_model(tiny_encoder_folder).settings
    for settings, expected in (
        ({"bf16": True}, {"bf16": True}),
        ({"pooling": "cls"}, {"pooling_method": "cls"}),
        ({"max_length": (9, 7)}, {"query_max_len": 9, "passage_max_len": 7}),
        ({"batch_tokens": 64}, {}),
    ):
        found = load_model(tiny_encoder_folder, **settings).settings
        assert {key: value for key, value in found.items() if usual[key] != value} == expected
    assert usual["model_files"] == Encoder.from_pretrained(tiny_encoder_folder).weights_hash


def test_mteb_takes_the_encoder_for_an_encoder_and_bm25_for_a_search():
    """A method `predict` would make it a cross-encoder, `index` and `search` a search of its own."""
    assert not {"predict", "index", "search"} & set(dir(EncoderForMteb))
    assert {"index", "search"} <= set(dir(BM25)) and not {"predict", "encode"} & set(dir(BM25))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_what_mteb_gets_is_float32(tmp_path, dtype):
    class OtherPrecision(WordVectors):
        def encode(self, texts, *, kind):
            return super().encode(texts, kind=kind).astype(dtype)

    class Spy(EncoderForMteb):
        def encode(self, inputs, **arguments):
            vectors.append(super().encode(inputs, **arguments))
            return vectors[-1]

    vectors = []
    write_pairs(tmp_path, "BIOSSES")
    evaluate(Spy(OtherPrecision(), "me/words", "r"), find_tasks("BIOSSES", tmp_path), tmp_path / "saves")
    assert [(array.dtype, array.shape) for array in vectors] == [(np.float32, (31, 24))] * 2


@pytest.mark.filterwarnings("ignore")
def test_mtebs_own_check_of_a_model_finds_nothing_wrong():
    """Tasks of every type that texts have, on mteb's made-up data: what is refused is refused for a missing package."""
    found = mteb.mock_run(model()).task_results
    failed = {name: result.exception for name, result in found.items() if hasattr(result, "exception")}
    assert {name: why for name, why in failed.items() if "pip install" not in why} == {}
    assert sum(hasattr(result, "scores") for result in found.values()) > 20


def test_a_folder_here_does_not_stand_in_for_the_hubs_data(tmp_path, monkeypatch):
    (tmp_path / "mteb" / "biosses-sts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="BIOSSES: the folder mteb/biosses-sts here would be read in the place of"):
        evaluate(model(), find_tasks("BIOSSES"), tmp_path / "saves", is_reachable=lambda: True)


def test_a_passage_of_120_000_characters_is_cut_like_any_other(tiny_encoder_folder):
    encoder = Encoder.from_pretrained(tiny_encoder_folder)
    long, short = encoder.encode(["aspirin in women " * 7200, "aspirin in women " * 40], kind="passage")
    np.testing.assert_allclose(long, short, atol=1e-6)


KILLED = """
import os, signal, sys
from test_evaluation import WordVectors, model
from bioemb.evaluation import evaluate, find_tasks

class Killed(WordVectors):
    def encode(self, texts, *, kind):
        if kind == "passage":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(texts, kind=kind)

evaluate(model(Killed()), find_tasks(["BIOSSES", "search", "more"], sys.argv[1]), sys.argv[2])
"""


def test_an_evaluation_that_is_killed_goes_on_after_the_last_whole_task(tmp_path):
    first, second, _ = write_pairs(tmp_path / "data", "BIOSSES")
    third, fourth, _ = write_pairs(tmp_path / "data", "more", seed=7)
    write_collection(tmp_path / "data", "search")
    words = [sys.executable, "-c", KILLED, tmp_path / "data", tmp_path / "saves"]
    path = os.pathsep.join([str(REPOSITORY / "tests"), str(REPOSITORY)])
    assert subprocess.run(words, env=os.environ | {"PYTHONPATH": path}).returncode == -signal.SIGKILL
    encoder, tasks = WordVectors(), find_tasks(["BIOSSES", "search", "more"], tmp_path / "data")
    scores = evaluate(model(encoder), tasks, tmp_path / "saves")
    assert [kind for kind, _ in encoder.calls] == ["query", "passage", None, None]
    assert encoder.calls[2:] == [(None, third), (None, fourth)]
    undisturbed = evaluate(model(), tasks, tmp_path / "other")
    assert [score[:4] for score in scores] == [score[:4] for score in undisturbed]
