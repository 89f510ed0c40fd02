"""The report: numbers are the files', no text becomes markup, nothing is loaded, the same run gives the same bytes."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from lxml import html
from report_run import COMPARISON, COUNTS, KIND, LOG, mined_rows, scored, write_json, write_output, write_run

from bioemb.cli import main
from bioemb.config import ReportConfig
from bioemb.errors import ConfigError, DataError
from bioemb.report.negatives import read_similarities
from bioemb.report.reading import find_run
from bioemb.stages import report


def write_page(folder: Path, **settings: object) -> str:
    report.run(ReportConfig(str(folder), load_models=False, **settings))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def text(run_folder) -> str:
    return write_page(run_folder)


@pytest.fixture(scope="module")
def tree(text) -> html.HtmlElement:
    return html.document_fromstring(text)


def numbers_in(value: object) -> set[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(numbers_in, value))
    return {float(value)} if isinstance(value, int | float) else set()


def of_section(tree: html.HtmlElement, anchor: str) -> list[float]:
    return [float(found) for found in tree.xpath(f"//section[@id='{anchor}']//data/@value")]


# Numbers


@pytest.mark.parametrize(
    ("anchor", "files"),
    [
        ("funnels", [f"{name}.manifest.json" for name in ("a pairs.jsonl", "b/good.jsonl", "hard.jsonl", "net")]),
        ("cosines", ["b/good.jsonl.stats.json"]),
        ("scores", ["saves/comparison.json"]),
    ],
)  # fmt: skip
def test_every_number_of_a_section_is_one_of_its_files(run_folder, tree, anchor, files):
    there = numbers_in([json.loads((run_folder / name).read_text()) for name in files])
    shown = of_section(tree, anchor)
    assert len(shown) > 10 and set(shown) <= there


def test_every_score_and_interval_stands_in_the_page(tree):
    rows = [row for task in COMPARISON["tasks"] for row in task["models"] if row["score"] is not None]
    wanted = Counter(row[key] for row in rows for key in ("score", "difference", "low", "high") if row[key] is not None)
    assert Counter(of_section(tree, "scores")) == wanted
    verdicts = tree.xpath("//section[@id='scores']//*[contains(@class,'verdict')]/text()")
    assert sorted(verdicts) == ["better", "not told apart", "worse"]


@pytest.mark.parametrize("key", ["baseline", "starting_model"])  # as older versions wrote it
def test_whatever_the_others_are_compared_with_is_called_the_baseline_and_no_starting_model(tmp_path, key):
    models = [scored("BM25", 0.2), scored("trained", 0.5, 0.3, 0.2, 0.4, verdict="better")]
    tasks = [{"task": "med", "metric": "ndcg_at_10", "models": models}]
    write_json(tmp_path / "comparison.json", {key: "BM25", "interval": "paired", "tasks": tasks})
    page = html.document_fromstring(write_page(tmp_path))
    assert page.xpath("//section[@id='scores']//th[small='baseline']/text()") == ["BM25"]
    assert "difference to BM25" in page.text_content() and "starting model" not in page.text_content()


def test_a_model_alone_is_compared_with_nothing(tmp_path):
    tasks = [{"task": "med", "metric": "ndcg_at_10", "models": [scored("BM25", 0.2)]}]
    write_json(tmp_path / "comparison.json", {"baseline": "BM25", "interval": "paired", "tasks": tasks})
    said = html.document_fromstring(write_page(tmp_path)).xpath("string(//section[@id='scores'])")
    assert "20.0" in said and "baseline" not in said and "difference" not in said


def test_every_count_of_every_manifest_stands_in_the_page(tree):
    assert set(of_section(tree, "funnels")) >= numbers_in(COUNTS) - {0.5432, 0.4321, 0.8765}
    assert set(of_section(tree, "training")) >= {0.5432, 0.4321, 0.8765}


def test_every_line_of_the_log_stands_in_the_page(tree):
    assert set(of_section(tree, "training")) >= numbers_in(LOG) - {0.0}


def test_what_is_read_is_the_value_behind_it_rounded(tree):
    for data in tree.xpath("//data"):
        said, value = data.text_content(), float(data.get("value"))
        digits = len(said.partition(".")[2].partition("e")[0])
        shown = float(said.replace(",", ""))
        if "e" in said:
            assert shown == pytest.approx(value, rel=0.06)
        else:
            assert min(abs(shown - value), abs(shown / 100 - value) * 100) <= 0.5 * 10**-digits + 1e-9, said


def test_similarities_by_order_are_those_of_a_naive_sort(run_folder):
    rows = mined_rows()
    scored = [sorted((x for x in row["neg_scores"] if x is not None), reverse=True) for row in rows]
    found = read_similarities(find_run(run_folder).of("mine")[0], seed=0)
    assert [of.total for of in found.orders] == [sum(len(row) > order for row in scored) for order in range(4)]
    for order, of in enumerate(found.orders):
        naive = np.percentile([row[order] for row in scored if len(row) > order], [25, 50, 75])
        assert [of.percentile(p) for p in (25, 50, 75)] == pytest.approx(naive.tolist(), abs=5e-5)
    positives = [score for row in rows for score in row["pos_scores"]]
    assert found.positives.percentile(50) == pytest.approx(np.median(positives), abs=5e-5)
    assert found.unscored == sum(score is None for row in rows for score in row["neg_scores"]) and found.rows == 39


def test_a_reranker_s_scores_are_not_taken_for_cosines(tmp_path):
    row = {"query": "q", "pos": ["p"], "neg": ["n"], "pos_scores": [7.5], "neg_scores": [-3.0]}
    write_output(tmp_path / "m.jsonl", "mine", {"rows": {"read": 1, "kept": 1, "dropped": {}}})
    (tmp_path / "m.jsonl").write_text(json.dumps({**row, "pos_cosines": [0.75], "neg_cosines": [0.5]}) + "\n")
    found = read_similarities(find_run(tmp_path).outputs[0], seed=0)
    assert found.positives.percentile(50) == pytest.approx(0.75, abs=3e-5)
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"m\.jsonl.*line 1 has pos_scores that are no cosines"):
        write_page(tmp_path)


# Texts


def test_no_text_from_the_data_becomes_markup(text, tree):
    assert not tree.xpath("//script | //*[@onload] | //*[@onerror] | //iframe | //img | //object")
    assert "<script" not in text and "\x00" not in text and "\x1b" not in text
    said = tree.text_content()
    assert "<script>alert('x')</script> & \"quotes\" </bdi></svg> $x^2$" in " ".join(said.split())
    assert KIND in said


def test_texts_in_charts_are_escaped_and_dollars_stay(tree):
    labels = [" ".join(found.text_content().split()) for found in tree.xpath("//svg//text")]
    assert any(label.startswith("dropped: <script>alert('x')</script>") for label in labels)


def test_texts_keep_their_own_direction_and_are_cut(text, tree):
    assert "\u202e" not in text  # it would turn the numbers after it around
    texts = tree.xpath("//bdi")
    assert len(texts) > 10 and all(len(found.text_content()) <= 300 for found in texts)
    assert any("\u05e9\u05dc\u05d5\u05dd" in found.text_content() for found in texts)


def test_the_page_loads_nothing(text, tree):
    assert "default-src 'none'" in tree.xpath("//meta[@http-equiv]/@content")[0]
    assert all(link.startswith("#") for link in tree.xpath("//@href | //@src | //@*[name()='xlink:href']"))
    assert set(re.findall(r"url\((.)", text)) <= {"#"} and "@import" not in text


def test_ids_are_unlike_and_every_link_leads_somewhere(text, tree):
    ids = tree.xpath("//@id")
    assert len(set(ids)) == len(ids)
    wanted = {link[1:] for link in tree.xpath("//@href")} | set(re.findall(r"url\(#([^)]*)\)", text))
    assert wanted <= set(ids)


def test_charts_have_no_colour_but_the_page_s(text):
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn)) <= {
        "none", "var(--ink)", "var(--muted)", "var(--grid)", "var(--blue)", "var(--orange)", "var(--surface)",
    }  # fmt: skip


# Runs


def test_the_same_run_gives_the_same_bytes(run_folder, text, tmp_path):
    other = tmp_path / "other.html"
    report.run(ReportConfig(str(run_folder), str(other), load_models=False))
    assert other.read_bytes() == (run_folder / "report.html").read_bytes() == text.encode()


def test_a_page_is_written_again_only_where_the_run_has_changed(tmp_path):
    write_run(tmp_path)
    write_page(tmp_path)
    config = ReportConfig(str(tmp_path), load_models=False)
    assert "nothing to do" in report.run(config)
    with open(tmp_path / "net" / "metrics.jsonl", "a") as log:
        log.write(json.dumps({**LOG[-1], "step": 40}) + "\n")
    assert "sections" in report.run(config)


def test_a_file_that_is_no_report_is_not_replaced(tmp_path):
    write_run(tmp_path)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(ConfigError, match="was not made by this command"):
        write_page(tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"
    assert write_page(tmp_path, overwrite=True).startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(("name", "said"), [("hard.jsonl", "belongs to the run"), ("net", "is a folder")])
def test_a_page_never_takes_the_place_of_what_it_is_about(run_folder, name, said):
    before = (run_folder / "hard.jsonl.manifest.json").read_bytes()
    with pytest.raises(ConfigError, match=f"{name} {said}"):
        write_page(run_folder, output_file=str(run_folder / name), overwrite=True)
    assert (run_folder / "hard.jsonl.manifest.json").read_bytes() == before


def test_what_is_missing_is_said_and_left_out(tmp_path):
    write_output(tmp_path / "pairs.jsonl", "extract", COUNTS["extract"])
    page = html.document_fromstring(write_page(tmp_path))
    assert page.xpath("//section/@id") == ["funnels"]
    assert [said.text_content().split()[0:2] for said in page.xpath("//header//ul[@class='note']/li")] == [
        ["The", "filter"], ["No", "finished"], ["Training", "has"], ["No", "comparison"], ["Models", "were"],
    ]  # fmt: skip


def test_an_unfinished_run_is_shown_as_far_as_it_went(tmp_path):
    write_run(tmp_path)
    manifest = json.loads((tmp_path / "net.manifest.json").read_text())
    del manifest["counts"]
    write_json(tmp_path / "net.manifest.json", {**manifest, "complete": False})
    with open(tmp_path / "net" / "metrics.jsonl", "a") as log:
        log.write('{"step": 40, "lo')  # being written
    page = html.document_fromstring(write_page(tmp_path))
    assert "Not finished: net." in page.text_content() and set(of_section(page, "training")) >= {0.7654}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b/good.jsonl.stats.json", '{"kind": {"count": 3}}', "stats.json: this is not what bioemb writes here"),
        ("b/good.jsonl.stats.json", "[]", "stats.json: this is not what bioemb writes here"),
        ("saves/comparison.json", '{"starting_model": "a", "tasks": [{}]}', "comparison.json: this is not what"),
        ("saves/comparison.json", "{", "comparison.json: this is not what"),
        ("net/metrics.jsonl", "x\n{}\n", "metrics.jsonl, line 1: this is no line of a training log"),
        ("net.manifest.json", "{}", "net.manifest.json: this is no manifest"),
        ("hard.jsonl", "{\n", "hard.jsonl, line 1: not JSON"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, name, content, said, capsys):
    write_run(tmp_path)
    (tmp_path / name).write_text(content)
    assert main(["report", str(tmp_path), "--load_models", "no"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert said in errors[-1] and not (tmp_path / "report.html").exists()


def test_a_comparison_of_another_program_is_passed_over(tmp_path):
    write_run(tmp_path)
    before = write_page(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "comparison.json").write_text("[1, 2]")
    assert write_page(tmp_path) == before


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="no stage of bioemb has left an output here"):
        write_page(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        write_page(tmp_path / "none")


def test_matplotlib_missing_is_one_line(run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r'matplotlib, which is not installed; pip install "bioemb\[report\]"'):
        write_page(run_folder)


def test_a_recipe_may_end_with_the_report(tmp_path, capsys):
    write_run(tmp_path / "it is here")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f'root: {tmp_path / "it is here"}\nreport:\n  run_dir: "{{root}}"\n  load_models: no\n')
    assert main(["run", str(recipe)]) == 0 and main(["run", str(recipe), "--overwrite"]) == 0
    assert "nothing to do" in capsys.readouterr().out and (tmp_path / "it is here" / "report.html").exists()
