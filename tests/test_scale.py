"""Figures on paper are read from their cell and computed as by hand; exponents and differences as a naive way finds."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from fitting import Curve, draw, exponent, last_exponent  # noqa: E402
from rates import as_number, assumed, from_page, read_cell  # noqa: E402
from scale import MODELS, Load, costs, duration  # noqa: E402
from seeds import differences, interval  # noqa: E402

from bioemb.evaluation import Part, TaskScore  # noqa: E402

PAGE = """<!-- results: encode -->
| case | CPU s | peak MB |
|---|--:|--:|
| ours | 1,026.5 (1,000, 1,100) | 7 |
<!-- end -->
<!-- results: step -->
| case | CPU s |
|---|--:|
| ours | 3 |
<!-- end -->"""


def test_a_rate_is_read_from_its_own_programs_row_and_column():
    assert read_cell(PAGE, "encode", "ours", "CPU s") == 1026.5
    assert read_cell(PAGE, "encode", "ours", "peak MB") == 7
    assert read_cell(PAGE, "step", "ours", "CPU s") == 3
    assert as_number("53 %") == 53
    with pytest.raises(SystemExit, match="no cell 'theirs', 'CPU s' in the results of encode"):
        read_cell(PAGE, "encode", "theirs", "CPU s")


def test_a_rate_in_bfloat16_is_that_in_float32_where_the_page_has_no_other():
    page = PAGE.replace("ours", "ours float32")
    assert from_page(page, "encode", "ours bf16", "CPU s") == (1026.5, "encode: ours float32, CPU s")
    page = page.replace("| ours float32 | 3 |", "| ours float32 | 3 |\n| ours bf16 | 2 |")
    assert from_page(page, "step", "ours bf16", "CPU s") == (2, "step: ours bf16, CPU s")


def test_stages_cost_what_their_formulas_say():
    options = argparse.Namespace(
        records=1000.0, share=0.5, kept=0.4, queries=None, negatives=3, group=2, cores=2, gpus=1, machines=4
    )
    rates = {"extract": 100.0, "packed": 1000.0, "encode": 1.0, "step": 1.0, "search": 1.0, "passage_memory": 80.0}
    rates |= {"signatures": 12.0, "merge_bytes": 80.0, "process": 700.0, "select": 0.4}
    rates |= {"decide": 80.0, "table_bytes": 200.0}
    of = {key: given.value for key, given in assumed(options).items()} | rates | {"peak": 1e9, "peak32": 1e-6}
    load = Load(of, MODELS["MiniLM"], options)
    found = {cost.stage: cost for cost in costs(load)}
    merging = 1000 * 12 / 1e6
    assert found["extract"].seconds == [pytest.approx(1000 / 100 / 2 + merging), None]
    assert found["extract"].memory == 1000 * 80
    assert found["filter"].seconds[0] == pytest.approx(500 * 0.3e-3 / 2 + 500 * 80e-6)  # so fast a GPU waits for tokens
    assert found["mine: encode"].disk == 2 * 200 * 384 * 4
    assert found["mine: search"].seconds == pytest.approx([2 * 200 * 200 * 384 / 1e9 / 5e-4, 2 * 200 * 200 * 384 / 2e6])
    assert (found["mine: search"].memory, found["mine: search"].gpu) == (700 * 2**20 + 200 * 80, 2**20 * 384 * 4)
    written = 200 * (106 + 4 * 1511)
    assert found["mine: choose, write"].disk == written
    choosing, joining = 200 * 0.4e-3, written / 500e6
    assert found["mine: choose, write"].seconds == pytest.approx([choosing + joining, choosing / 4 + joining])
    assert (found["train, one epoch"].memory, found["train, one epoch"].gpu) == (700 * 2**20, 22.7e6 * 16)


def test_a_training_step_of_a_group_is_three_times_its_forward_passes():
    options = argparse.Namespace(
        records=10.0, share=1.0, kept=1.0, queries=None, negatives=1, group=2, cores=1, gpus=1, machines=2
    )
    of = {key: given.value for key, given in assumed(options).items()} | {"extract": 1.0, "packed": 1.0}
    of |= {"signatures": 1.0, "merge_bytes": 1.0, "process": 1.0, "select": 1.0, "decide": 1.0, "table_bytes": 1.0}
    load = Load({**of, "passage_memory": 1.0, "peak": 1.0, "step_share": 1.0}, MODELS["MiniLM"], options)
    tokens, squares = 26 + 2 * 237, 26**2 + 2 * 237**2
    forward = 6 * (2 * (4 * 384**2 + 2 * 384 * 1536) * tokens + 4 * 384 * squares) / 1e9
    assert costs(load)[-1].seconds == pytest.approx([3 * 10 * forward / 1e3, 3 * 5 * forward / 1e3])


def test_durations_are_said_in_the_unit_that_reads_best():
    assert [duration(value) for value in (None, 61, 600, 7200)] == [None, "61 s", "10 min", "2 h"]


def test_exponents_are_those_of_powers():
    sizes = [10, 20, 80]
    assert exponent(sizes, [3 * size**2 for size in sizes]) == pytest.approx(2)
    assert last_exponent(sizes, [1, 5, 10]) == pytest.approx(0.5)
    assert exponent([10], [1]) is None


def score(scores: list[float], gold: list[float] | None = None) -> TaskScore:
    gold_array = None if gold is None else np.array(gold)
    return TaskScore("t", "m", float(np.mean(scores)), "r", (Part("p", (), np.array(scores), gold_array),))


def test_the_same_runs_differ_by_nothing_where_each_has_one_seed():
    one = [score([0.1, 0.9, 0.4])]
    assert np.all(differences(one, one, 500, np.random.default_rng(0)) == 0)


def test_differences_over_seeds_spread_as_a_naive_bootstrap_of_queries_and_runs():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(3, 40)), rng.normal(0.3, size=(3, 40))
    drawn = differences(
        [score(run) for run in first.tolist()], [score(run) for run in second.tolist()], 1500, np.random.default_rng(2)
    )
    naive = []
    for _ in range(1500):
        items, runs, others = rng.integers(40, size=40), rng.integers(3, size=3), rng.integers(3, size=3)
        naive.append(second[others][:, items].mean() - first[runs][:, items].mean())
    assert drawn.mean() == pytest.approx(np.mean(naive), abs=0.02)
    assert drawn.std() == pytest.approx(np.std(naive), rel=0.1)
    assert interval(drawn) == pytest.approx(np.quantile(naive, (0.025, 0.975)), abs=0.05)


def test_runs_of_scored_pairs_are_compared_by_their_correlations():
    gold = [0.0, 1.0, 2.0, 3.0, 4.0]
    right, wrong = score([0.1, 0.2, 0.3, 0.4, 0.5], gold), score([0.5, 0.4, 0.3, 0.2, 0.1], gold)
    drawn = differences([wrong], [right], 300, np.random.default_rng(0))
    assert np.nanmedian(drawn) == pytest.approx(2)


def test_a_picture_has_each_curve_with_its_exponents(tmp_path):
    pytest.importorskip("matplotlib")
    sizes = [1, 2, 4]
    draw([Curve("loss", "queries", sizes, [1, 4, 16], [5, 10, 20])], tmp_path / "curves.svg")
    written = (tmp_path / "curves.svg").read_text()
    assert "loss, s: exponent 2.00" in written
    assert "loss, MB: exponent 1.00" in written
    draw([Curve("loss", "queries", sizes, [1, 4, 16], [5, 10, 20])], tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == written
    draw([Curve("loss", "queries", sizes, [1, 4, 16], None)], tmp_path / "no_memory.svg")
    written = (tmp_path / "no_memory.svg").read_text()
    assert "loss, s: exponent 2.00" in written and "MB" not in written
