"""What the recipe is chosen by: tasks whose answers are all marked, spans that stand in their abstracts."""

import argparse
import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import recipe  # noqa: E402
import recipe_data  # noqa: E402
import recipe_tables  # noqa: E402
from time_shares import REST, kind_of, shares  # noqa: E402


def test_a_task_marks_every_document_that_answers_a_query_and_no_other(tmp_path):
    pairs = [("a", "one"), ("a", "two"), ("b", "two"), ("c", "three")]  # c is one query too many
    recipe_data.write_task(tmp_path / "dev", pairs, ["other", "two", "more", "beyond"], 2, 4)
    corpus = {row["_id"]: row["text"] for row in recipe_data.read_rows(tmp_path / "dev" / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in recipe_data.read_rows(tmp_path / "dev" / "queries.jsonl")}
    head, *marked = (tmp_path / "dev" / "qrels" / "test.tsv").read_text().splitlines()
    assert head == "query-id\tcorpus-id\tscore"
    assert list(corpus.values()) == ["one", "two", "other", "more"]
    answers = {(queries[query], corpus[document], score) for query, document, score in map(str.split, marked)}
    assert answers == {("a", "one", "1"), ("a", "two", "1"), ("b", "two", "1")}


def test_spans_are_one_to_three_sentences_of_the_abstract(tmp_path):
    sentences = [f"Sentence {number} has p < 0.{number} in E. coli." for number in range(1, 7)]
    rows = [
        {"query": f"title {n}", "document": " ".join(sentences), "kind": "title_abstract", "identity": n}
        for n in range(200)
    ]
    rows += [{**rows[0], "kind": "title_passage"}, {**rows[0], "document": "Too. Short. All."}]
    recipe_data.write_rows(tmp_path / "pairs.jsonl", rows)
    found = recipe_data.read_rows(recipe_data.spans(tmp_path))
    possible = {" ".join(sentences[first : first + count]) for first in range(4) for count in (1, 2, 3)}
    assert len(found) == 200
    assert {row["document"] for row in found} == possible
    assert {row["kind"] for row in found} == {"title_span"}
    before = (tmp_path / "spans.jsonl").read_bytes()
    (tmp_path / "spans.jsonl").unlink()
    assert recipe_data.spans(tmp_path).read_bytes() == before


def test_an_article_is_held_out_with_all_that_is_of_it():
    rows = [{"identity": identity, "kind": kind} for identity in range(1000) for kind in "ab"]
    held = [row["identity"] for row in rows if recipe_data.is_held_out(row)]
    assert len(held) == 100 and all(held.count(identity) == 2 for identity in held)


def test_operations_are_of_the_kind_that_their_names_say():
    expected = {
        "aten::addmm": "products",
        "mkldnn::_linear_pointwise": "products",
        "aten::_softmax_backward_data": "softmax, logarithms",
        "aten::gelu_backward": "activation",
        "aten::native_layer_norm": "norms",
        "aten::_fused_adamw_": "optimiser",
        "aten::copy_": "copies, casts, filling",
        "aten::add_": "sums, scaling",
        "InCache": REST,
    }
    assert {name: kind_of(name) for name in expected} == expected


def test_what_takes_time_outside_of_torch_is_the_rest():
    import torch

    def work():
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
        return torch.ones(2, 2) @ torch.ones(2, 2)

    found = shares(work)
    assert found["seconds"] >= 0.1
    assert found["products"] > 0
    assert found[REST] > 0.5 * found["seconds"]


def test_trainings_of_another_precision_or_length_are_not_taken_for_these(tmp_path):
    several = [(True, 256), (False, 256), (False, 2048)]
    folders = [recipe.trainings_folder(tmp_path, argparse.Namespace(bf16=b, examples=n)) for b, n in several]
    assert [folder.name for folder in folders] == ["bf16-256", "float32-256", "float32-2048"]


def test_costs_say_on_how_many_threads_they_were_measured(tmp_path):
    for seed, threads in enumerate((2, 1)):
        cost = {"cpu": 1.0 + seed, "wall": 3.0, "peak_mb": 5, "threads": threads}
        (tmp_path / f"base, seed {seed}.cost.json").write_text(json.dumps(cost))
    table = recipe_tables.cost_table(tmp_path, ["base", "recipe"], [0, 1, 2])
    assert table.rows == [["base", 2, "1.50 (1.00, 2.00)", "3.00 (3.00, 3.00)", 5, "1, 2"]]


def test_generated_sources_are_named_in_a_copy_of_the_flags(tmp_path):
    options = argparse.Namespace(tasks=None, task=None, xml=None, pmc=None, questions=Path("q"))
    made = recipe_data.with_sources(tmp_path, options)
    assert (made.generated, made.questions, made.pmc) == (True, None, tmp_path / "corpus" / "pmc")
    assert (options.tasks, options.pmc, options.questions) == (None, None, Path("q"))


def test_agreement_is_one_where_what_is_held_out_orders_the_cases_as_the_tests_do():
    from types import SimpleNamespace

    def scored(*pairs):
        return [SimpleNamespace(task=task, metric=metric, score=value) for task, metric, value in pairs]

    cases = list(recipe.CASES)[:5]
    choice = {"start": scored(("like", "ndcg_at_10", 0.0), ("unlike", "ndcg_at_10", 0.0))}
    tests = {"start": scored(("a", "ndcg_at_10", 0.0), ("b", "ndcg_at_10", 0.0), ("c", "cosine_spearman", 0.0))}
    for number, case in enumerate(cases):
        choice[f"{case}, seed 0"] = scored(("like", "ndcg_at_10", number), ("unlike", "ndcg_at_10", -2 * number))
        tests[f"{case}, seed 0"] = scored(
            ("a", "ndcg_at_10", number), ("b", "ndcg_at_10", number), ("c", "cosine_spearman", -number)
        )
    table = recipe.agreement_table(choice, tests)
    assert table.columns == ["held out", "mean of retrieval", "mean of similarity"]
    assert table.rows == [["like", "1.00", "-1.00"], ["unlike", "-1.00", "1.00"], ["mean", "-1.00", "1.00"]]
    del tests[f"{cases[0]}, seed 0"]
    assert recipe.agreement_table(choice, tests) is None  # too few


def test_an_average_is_of_trainings_of_its_own_which_are_made_first():
    trained = [f"base, seed {seed}" for seed in (3, 4, 5)]
    assert recipe.trainings_of("recipe", 1) == trained
    assert recipe.needed_for("recipe, seed 1") == [*trained, "recipe, seed 1"]
    assert recipe.needed_for("0.3 of the start's weights, seed 2") == [
        "base, seed 2",
        "0.3 of the start's weights, seed 2",
    ]
    for case in recipe.CASES:  # each average has its plain case
        drawn = [job for seed in range(3) for job in recipe.trainings_of(case, seed)]
        assert len(set(drawn)) == len(drawn) == 3 * recipe.CASES[case].models
        assert all(recipe.CASES[job.rsplit(", seed ", 1)[0]].models == 1 for job in drawn)


def test_beside_a_peer_points_are_the_difference_of_the_seeds_means():
    from types import SimpleNamespace

    def scored(*scores):
        metrics = ("ndcg_at_10", "ndcg_at_10", "cosine_spearman")
        return [SimpleNamespace(task=m, metric=m, score=score) for m, score in zip(metrics, scores, strict=True)]

    tests = {
        "start": scored(0, 0, 0),
        "base, seed 0": scored(0.5, 0.7, 0.1),
        "base, seed 1": scored(0.7, 0.9, 0.3),
        "FlagEmbedding, seed 0": scored(0.6, 0.6, 0.4),
    }
    assert recipe.points_beyond(tests, "base", "FlagEmbedding", "ndcg_at_10") == pytest.approx(10)
    assert recipe.points_beyond(tests, "base", "FlagEmbedding", "cosine_spearman") == pytest.approx(-20)
    assert recipe.points_beyond(tests, "base", "sentence-transformers", "ndcg_at_10") is None
