"""What the report says of the models: measures by naive loops, ranks by sorting, and which models they are."""

import json
import shutil
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from lxml import html
from report_run import COUNTS, write_output
from tiny_encoder import SENTENCES, write_tiny_encoder

from bioemb.config import ReportConfig
from bioemb.errors import DataError, ModelError
from bioemb.held_out import held_out_of
from bioemb.model_folder import weights_hash
from bioemb.report.geometry import alignment, plane_of, uniformity
from bioemb.report.rankings import GAINS, LOSSES, SHOWN, View, rank, worth_showing
from bioemb.report.vectors import cosines_of
from bioemb.stages import report
from bioemb.stages.report_models import draw_sample


def vectors(rows: int, seed: int, width: int = 5) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, width)) + np.arange(width) / 3  # lopsided
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def example(query: str, positives: list[str], identity: int) -> dict:
    return {
        "query": query, "pos": positives, "neg": [], "identity": identity, "neg_identities": None, "prompt": None,
        "passage_prompt": None,
    }  # fmt: skip


# Vectors


def test_alignment_and_uniformity_are_the_paper_s_by_naive_loops():
    queries, passages = vectors(7, 1), vectors(7, 2)
    naive = (
        sum(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in zip(queries, passages, strict=True)) / 7
    )
    assert alignment(queries, passages) == pytest.approx(naive, rel=1e-5)
    kernel = [
        exp(-2 * sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))
        for i, x in enumerate(queries)
        for y in queries[:i]
    ]
    assert uniformity(queries) == pytest.approx(log(sum(kernel) / len(kernel)), rel=1e-5)


def test_uniformity_of_opposite_points_is_minus_eight_and_of_equal_ones_zero():
    assert uniformity(np.array([[1, 0], [-1, 0]], np.float32)) == pytest.approx(-8)
    assert uniformity(np.ones((3, 1), np.float32)) == pytest.approx(0)


def test_the_plane_is_that_of_the_covariance_s_eigenvectors():
    found = vectors(40, 3)
    plane = plane_of(found)
    values, directions = np.linalg.eigh(np.cov(found.T.astype(np.float64), bias=True))
    assert np.abs(plane.axes @ directions[:, [-1, -2]]) == pytest.approx(np.eye(2), abs=1e-6)
    assert plane.share(found) == pytest.approx((values[-1] + values[-2]) / values.sum(), rel=1e-6)
    assert plane.places(found).mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in plane.axes)


# Ranks


def test_ranks_and_top_passages_are_those_of_a_sort_without_what_is_excluded():
    # queries 0 and 2 share an identity, so that each one's passage is no rival of the other
    sample = held_out_of([example("a", ["p0", "p1"], 1), example("b", ["p2"], 2), example("c", ["p3"], 1)])
    view = View("m", vectors(3, 4), vectors(4, 5))
    ranking = rank(view, sample)
    for query, (own, rivals) in enumerate([({0, 1}, {2}), ({2}, {0, 1, 3}), ({3}, {2})]):
        scores = view.queries[query] @ view.passages.T
        order = sorted(own | rivals, key=lambda passage: -scores[passage])
        assert ranking.ranks[query] == min(order.index(passage) for passage in own) + 1
        assert [p for p in ranking.top[query].tolist() if p >= 0] == order[:3]
        assert ranking.right[query] == max(own, key=lambda passage: scores[passage])
    assert ranking.mrr == pytest.approx(np.mean([1 / r for r in ranking.ranks.tolist()]))


def test_equal_cosines_are_no_success():
    sample = held_out_of([example("a", ["p0"], 1), example("b", ["p1"], 2)])
    same = np.ones((2, 1), np.float32)
    assert rank(View("m", same, same), sample).ranks.tolist() == [2, 2]


def test_the_queries_shown_are_the_extremes_and_some_others():
    rng = np.random.default_rng(6)
    before, after = rng.integers(1, 50, 200), rng.integers(1, 50, 200)
    shown, gain = worth_showing(before, after, seed=0), 1 / after - 1 / before
    assert len(set(shown)) == len(shown) == SHOWN
    assert sorted(gain[shown[:GAINS]]) == sorted(np.sort(gain)[-GAINS:])
    assert sorted(gain[shown[GAINS : GAINS + LOSSES]]) == sorted(np.sort(gain)[:LOSSES])
    assert sorted(worth_showing(before[:5], before[:5], seed=0)) == [0, 1, 2, 3, 4]  # nothing gained or lost


def test_cosines_of_other_pairs_leave_out_what_shares_an_identity():
    sample = held_out_of([example("a", ["p0"], 1), example("b", ["p1"], 1), example("c", ["p2"], 2)])
    right, wrong = cosines_of(View("m", vectors(3, 7), vectors(3, 8)), sample)
    assert sum(right) == 3 and sum(wrong) == 2  # of a with p2, b with p0 (the same article) and c with p1


# Models


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory) -> Path:
    """A run with a starting model in it, a trained one, and examples that a training has seen."""
    root = tmp_path_factory.mktemp("trained")
    write_tiny_encoder(root / "net", seed=1)
    write_tiny_encoder(root / "elsewhere" / "start", seed=0)
    (root / "elsewhere" / "start" / "modules.json").write_text(json.dumps(MODULES))
    rows = [
        {"query": " ".join(text.split()[:4]), "pos": [text], "neg": ["Mice"], "identity": n}
        for n, text in enumerate(SENTENCES)
    ]
    (root / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_output(root / "examples.jsonl", "mine", COUNTS["mine"])
    start = {"model_name_or_path": weights_hash(root / "elsewhere" / "start")}
    write_output(root / "net", "train", COUNTS["train"], models=start, settings={"query_max_len": 16})
    return root


MODULES = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]


def write_page(root: Path, **settings: object) -> html.HtmlElement:
    report.run(ReportConfig(str(root), **settings))
    return html.document_fromstring((root / "report.html").read_text(encoding="utf-8"))


def test_both_models_are_found_by_the_manifest_and_their_numbers_kept_in_the_page_s_own(trained_run):
    page = write_page(trained_run)
    assert {"queries", "vectors"} <= set(page.xpath("//section/@id"))
    kept = json.loads((trained_run / "report.html.manifest.json").read_text())["counts"]
    assert kept["sample"] == {"queries": len(SENTENCES), "passages": len(SENTENCES)}
    shown = {
        float(x) for anchor in ("queries", "vectors") for x in page.xpath(f"//section[@id='{anchor}']//data/@value")
    }
    assert {x for when in ("before", "after") for x in kept[when].values()} <= shown
    assert kept["before"] != kept["after"]
    first = (trained_run / "report.html").read_bytes()
    (trained_run / "report.html").unlink()
    write_page(trained_run)
    assert (trained_run / "report.html").read_bytes() == first


def test_the_numbers_do_not_depend_on_what_the_hardware_has(trained_run, monkeypatch):
    found = []
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        write_page(trained_run, overwrite=True)
        found.append(json.loads((trained_run / "report.html.manifest.json").read_text())["counts"])
        (trained_run / "report.html").unlink()
    assert found[0] == found[1]


def test_each_query_s_right_passage_is_marked_for_both_models(trained_run):
    page = write_page(trained_run)
    lists = page.xpath("//section[@id='queries']//ol")
    assert len(lists) == 2 * len(SENTENCES)
    for found in lists:
        (right,) = found.xpath("li[@class='right-passage']")
        before, after = found.xpath("ancestor::div[@class='query']/p//data/@value")
        is_before = "before" in found.xpath("preceding-sibling::h4")[0].text
        assert right.get("value") == (before if is_before else after)


def test_a_model_compared_with_itself_moves_nothing(trained_run):
    page = write_page(trained_run, baseline_model_path=str(trained_run / "net"))
    said = page.xpath("string(//section[@id='queries'])")
    assert "0 queries got better" in said and "0 worse" in said and "Both models are the same." in said
    assert "is not the one that this training started from" in said


def test_the_texts_that_models_are_shown_may_be_a_folder_s(trained_run, tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    rows = (trained_run / "examples.jsonl").read_text().splitlines(keepends=True)
    for number, some in enumerate((rows[:2], rows[2:])):
        (parts / f"{number}.jsonl").write_text("".join(some))
    write_page(trained_run, sample_data=str(parts), overwrite=True)
    kept = json.loads((trained_run / "report.html.manifest.json").read_text())
    assert kept["counts"]["sample"]["queries"] == len(SENTENCES)
    assert {"0.jsonl", "1.jsonl"} <= {name.split()[1] for name in kept["inputs"]}


def test_models_that_are_not_there_are_said(trained_run, tmp_path):
    with pytest.raises(ModelError, match="there is no model folder"):
        write_page(trained_run, baseline_model_path=str(tmp_path / "none"))
    alone = tmp_path / "alone"
    shutil.copytree(trained_run, alone, ignore=shutil.ignore_patterns("elsewhere", "report*"))
    page = write_page(alone)
    assert "The model that training started from is not here" in page.text_content()
    assert "queries" not in page.xpath("//section/@id")


@pytest.mark.parametrize(("name", "is_found"), [("elsewhere/start", True), ("net", False)])
def test_the_starting_model_is_where_training_found_it_if_its_weights_are_those(trained_run, tmp_path, name, is_found):
    alone = tmp_path / "alone"
    shutil.copytree(trained_run, alone, ignore=shutil.ignore_patterns("elsewhere", "report*"))
    manifest = json.loads((alone / "net.manifest.json").read_text())
    manifest["counts"]["starting_model"] = str(trained_run / name)
    (alone / "net.manifest.json").write_text(json.dumps(manifest))
    assert ("queries" in write_page(alone).xpath("//section/@id")) == is_found


def test_a_sample_depends_on_the_rows_and_the_seed_alone(tmp_path):
    lines = [json.dumps({"query": f"q{n}", "document": f"d{n}", "identity": n}) for n in range(50)]
    (tmp_path / "one.jsonl").write_text("\n".join(lines))
    (tmp_path / "two.jsonl").write_text("\n".join(reversed(lines)))
    one, two = (draw_sample(tmp_path / name, 20, seed=3) for name in ("one.jsonl", "two.jsonl"))
    assert one.queries == two.queries and one.passages == two.passages and len(one.queries) == 20
    assert draw_sample(tmp_path / "one.jsonl", 20, seed=4).queries != one.queries


def test_a_sample_of_one_passage_is_refused(tmp_path):
    (tmp_path / "one.jsonl").write_text('{"query": "a", "document": "d"}\n{"query": "b", "document": "d"}\n')
    with pytest.raises(DataError, match="two different queries and passages at least"):
        draw_sample(tmp_path / "one.jsonl", 20, seed=0)
