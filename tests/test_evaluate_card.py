"""`bioemb evaluate` into the model card: what people read, what the hub reads, and every other line as it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from test_evaluation import write_collection, write_pairs
from test_model_card import FACTS
from tiny_encoder import write_tiny_encoder

from bioemb import cli
from bioemb.config import EvaluateConfig
from bioemb.errors import ConfigError, DataError
from bioemb.evaluation import find_tasks
from bioemb.evaluation.card import evaluation_section, model_index
from bioemb.evaluation.comparison import compare, interval_of
from bioemb.evaluation.scores import Part, TaskScore
from bioemb.evaluation.task_names import task_label
from bioemb.model_card import is_ours, model_card, with_metadata
from bioemb.stages import evaluate
from bioemb.stages.evaluate import model_names

CARD = model_card(FACTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, of which one has a card of ours, and local data for two tasks."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_tiny_encoder(folder / "start")
    write_tiny_encoder(folder / "model", seed=1)
    write_pairs(folder / "data", "BIOSSES")
    write_collection(folder / "data", "search")
    return folder


@pytest.fixture
def config(folder):
    (folder / "model" / "README.md").write_text(CARD)
    (folder / "start" / "README.md").write_text("# not ours\n")
    paths = {name: str(folder / name) for name in ("start", "model", "data", "saves")}
    return EvaluateConfig(
        model_path=(paths["model"],),
        baseline_model_path=(paths["start"],),
        bm25=True,
        local_data=paths["data"],
        task=("BIOSSES", "search"),
        save_folder=paths["saves"],
    )


def card_of(config):
    return (Path(config.model_path[0]) / "README.md").read_text()


def test_the_hub_reads_the_scores_of_the_evaluation(config):
    evaluate.run(config)
    card = ModelCard(card_of(config))
    index = yaml.safe_load(card_of(config).split("---\n")[1])["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == "model" and card.data.eval_results == results and "&id" not in card_of(config)
    rows = json.loads((Path(config.save_folder) / "comparison.json").read_text())
    scores = {column["task"]: {row["model"]: row["score"] for row in column["models"]} for column in rows["tasks"]}
    for result, task, kind, metric in zip(
        results, ("BIOSSES", "search"), ("STS", "Retrieval"), ("cosine_spearman", "ndcg_at_10"), strict=True
    ):
        assert (result.dataset_type, result.dataset_name) == (task, f"{task} (local files)")
        assert (result.task_type, result.metric_type) == (kind, metric)
        assert result.metric_value == pytest.approx(scores[task]["model"], abs=2e-5)
        assert (result.dataset_config, result.dataset_split) == ("default", "test")
        assert result.dataset_revision.startswith("local-") and result.source_name == "mteb"


def test_people_read_scores_with_intervals_beside_the_baselines_and_no_path(config, folder):
    evaluate.run(config)
    section = card_of(config).split("## Evaluation\n")[1].split("\n## ")[0]
    assert "| task | metric | this model | start | BM25 |" in section
    rows = [line for line in section.splitlines() if line.startswith(("| BIOSSES", "| search"))]
    assert len(rows) == 2 and rows[0].endswith("| - |") and "None yet" not in section
    assert all(word in rows[1] for word in ("[", "<br>")) and str(folder) not in card_of(config)


def test_a_second_evaluation_changes_nothing_and_another_replaces_the_first(config):
    evaluate.run(config)
    once = card_of(config)
    evaluate.run(config)
    assert card_of(config) == once
    evaluate.run(replace(config, task=("search",), bm25=False))
    card = card_of(config)
    assert "BIOSSES" not in card and "BM25" not in card and "| search |" in card
    evaluate.run(config)
    assert card_of(config) == once


def test_every_other_line_of_the_card_stays_as_it_was(config):
    own = CARD.replace("tags:\n", "license: mit  # ours\ntags:\n").replace("## Limits\n", "## Limits\n\nMine too.\n")
    (Path(config.model_path[0]) / "README.md").write_text(own)
    evaluate.run(config)
    lines = card_of(config).splitlines()
    kept = [line for line in own.splitlines() if not line.startswith("None yet")]
    rest = iter(lines)
    assert all(line in rest for line in kept)  # in this order
    assert lines.index("model-index:") < lines.index("# my-model")


def test_a_card_is_left_alone_where_asked_and_one_of_others_always_with_a_word(config, log):
    log.set_level("INFO", logger="bioemb")
    evaluate.run(replace(config, update_card=False))
    assert card_of(config) == CARD and "left alone" not in log.text
    start = config.baseline_model_path[0]
    evaluate.run(replace(config, model_path=(start,), baseline_model_path=(), bm25=False, task=("search",)))
    assert (Path(start) / "README.md").read_text() == "# not ours\n"
    assert f"{start}/README.md: left alone, no card of bioemb's (no tag 'bioemb' in its metadata)" in log.text


def test_several_models_are_evaluated_and_compare_prints_their_table_again(config, capsys):
    start, trained = config.baseline_model_path[0], config.model_path[0]
    table = evaluate.run(replace(config, model_path=(trained, start), baseline_model_path=(), bm25=False))
    assert cli.main(["compare", config.save_folder, "--model", "model", "start"]) == 0
    assert table.startswith(capsys.readouterr().out.rstrip())
    table = evaluate.run(config)
    assert cli.main(["compare", config.save_folder]) == 0
    assert table.startswith(capsys.readouterr().out.rstrip())


def test_hub_data_are_named_as_the_hub_names_them_each_subset_by_itself():
    rng = np.random.default_rng(0)
    (cure,) = find_tasks("CUREv1[en,fr]@all")
    (cluster,) = find_tasks("MedrxivClusteringP2P.v2")
    parts = tuple(Part(f"all/{name}", ("a", "b"), rng.random(2)) for name in ("en", "fr"))
    mean = float(np.mean([part.scores.mean() for part in parts]))
    scores = [
        TaskScore(task_label(cure), "ndcg_at_10", mean, "3bcf51c", parts),
        TaskScore("MedrxivClusteringP2P.v2", "v_measure", 0.25, "abc"),
    ]
    _, (english, french, clustering) = model_index_to_eval_results(model_index("m", scores, [cure, cluster]))
    assert (english.dataset_type, english.dataset_name) == (cure.metadata.dataset["path"], "MTEB CUREv1")
    assert [(some.dataset_config, some.dataset_split) for some in (english, french)] == [("en", "all"), ("fr", "all")]
    assert english.metric_value == pytest.approx(parts[0].scores.mean(), abs=1e-5)
    assert (clustering.metric_value, clustering.dataset_split, clustering.task_type) == (0.25, "test", "Clustering")


def test_the_cards_numbers_are_those_of_the_comparison():
    rng = np.random.default_rng(1)
    ids = tuple(map(str, range(40)))

    def score(values, task="med"):
        return TaskScore(task, "ndcg_at_10", float(values.mean()), "r", (Part("test/default", ids, values),))

    before, after = rng.random((2, 40))
    cell = compare({"start": [score(before)], "own": [score(after)]}).cells["own", "med"]
    low, high = interval_of(score(after))
    section = evaluation_section([score(after), TaskScore("c", "v", 0.5, "r")], {"start": [score(before)]})
    row, other = section.splitlines()[2:4]
    assert row == (
        f"| med | ndcg_at_10 | {100 * after.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] | {100 * before.mean():.1f}"
        f"<br>{100 * cell.difference:+.1f} [{100 * cell.interval.low:+.1f}, {100 * cell.interval.high:+.1f}], "
        f"{cell.verdict} |"
    )
    assert other == "| c | v | 50.0 | - |"


def test_metadata_are_replaced_or_added_and_nothing_else():
    card = "---\na: 1\nlist:\n- x\n\n- y\n  z: 2\n# mine\nb: 2\n---\ntext\nlist:\n- kept\n"
    assert with_metadata(card, "list", ["n"]) == "---\na: 1\nlist:\n- n\n# mine\nb: 2\n---\ntext\nlist:\n- kept\n"
    assert with_metadata("---\na: 1\n---\n", "b", {"c": "é: x"}) == "---\na: 1\nb:\n  c: 'é: x'\n---\n"
    with pytest.raises(DataError, match="does not begin with metadata"):
        with_metadata("# card\n", "a", 1)


def test_our_cards_are_known_by_their_tag():
    assert is_ours(CARD) and is_ours(with_metadata(CARD, "license", "mit"))
    assert not is_ours("") and not is_ours("# bioemb\n- bioemb\n") and not is_ours("---\ntags:\n- other\n---\n")


def test_models_are_named_by_as_much_of_their_paths_as_tells_them_apart(tmp_path, monkeypatch):
    for name in ("a/model", "b/model"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "model")
    assert model_names(["."]) == ["model"]
    assert model_names([".", "../../b/model"]) == ["a/model", "b/model"]
    assert model_names(["org/model", "."]) == ["org/model", "a/model"]
    with pytest.raises(ConfigError, match="a model is named twice"):
        model_names([".", "../model"])


def test_without_data_no_model_is_loaded(config, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(evaluate, "load_model", lambda *_, **__: pytest.fail("loaded a model"))
    with pytest.raises(ConfigError, match="no data for SciFact: offline mode is set"):
        evaluate.run(replace(config, task=("SciFact",), save_folder=str(tmp_path)))


def test_without_names_the_tasks_are_those_of_the_local_data_else_biosses(config, monkeypatch, tmp_path):
    table = evaluate.run(replace(config, task=(), bm25=False, update_card=False))
    assert table.splitlines()[0].split() == ["model", "BIOSSES", "search"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(ConfigError, match="no data for BIOSSES: offline mode is set"):
        evaluate.run(replace(config, task=(), local_data=None, save_folder=str(tmp_path)))
    with pytest.raises(DataError, match="no TASK.jsonl and no TASK/corpus.jsonl here"):
        evaluate.run(replace(config, task=(), local_data=str(tmp_path)))


def test_a_model_that_is_named_twice_is_said_before_data_are_read(config, monkeypatch):
    monkeypatch.setattr(evaluate, "find_tasks", lambda *_: pytest.fail("read data"))
    with pytest.raises(ConfigError, match="a model is named twice among"):
        evaluate.run(replace(config, model_path=config.baseline_model_path))


def test_a_folder_called_bm25_is_not_mistaken_for_the_baseline(config):
    with pytest.raises(ConfigError, match="a model folder is called BM25"):
        evaluate.run(replace(config, model_path=("some/BM25",)))


def test_a_card_that_cannot_be_written_costs_no_scores(config, monkeypatch, log):
    def refuse(path):
        raise ConfigError(f"cannot write {path}: Operation not permitted")

    monkeypatch.setattr("bioemb.stages.evaluate_card.write_aside", refuse)
    assert "BIOSSES" in evaluate.run(config)
    assert "the scores are not in the model's card" in log.text and "Operation not permitted" in log.text
    assert card_of(config) == CARD


def test_a_card_that_is_no_utf_8_is_left_alone_with_a_word(config, folder, log):
    (folder / "model" / "README.md").write_bytes(CARD.encode() + b"\xff")
    evaluate.run(config)
    assert "left alone, it cannot be read as UTF-8" in log.text
