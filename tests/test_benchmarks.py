"""What the benchmark programs share: costs are those of the command, medians and ratios those by hand."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from measuring import Aim, CaseError, in_turn, markdown, ratio, run_alone, run_by_turns, summarise  # noqa: E402
from measuring import Table as MeasuredTable  # noqa: E402

PYTHON = [sys.executable, "-S", "-c"]


def test_a_commands_children_count_in_its_seconds_and_memory():
    work = "import time\nbig = bytearray(90 << 20)\nwhile time.process_time() < 0.3: pass"
    found = run_alone([*PYTHON, f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {work!r}])"], 1)
    assert 0.3 <= found["cpu"] < 3
    assert 90 <= found["peak_mb"] < 200


def test_what_a_case_measured_itself_stands_before_what_its_process_cost():
    found = run_alone([*PYTHON, """print('a word'); print('{"cpu": 7.5, "rows": 3}')"""], 1)
    assert (found["cpu"], found["rows"]) == (7.5, 3)
    assert found["wall"] > 0


def test_a_case_that_fails_is_left_out_with_its_last_line_and_the_others_go_on():
    commands = {"good": [*PYTHON, "print(1)"], "bad": [*PYTHON, "raise SystemExit('no such package')"]}
    runs, left_out = run_by_turns(commands, repeats=2, threads=1)
    assert {case: len(of) for case, of in runs.items()} == {"good": 2}
    assert left_out == {"bad": "no such package"}
    with pytest.raises(CaseError, match="no such package"):
        run_alone(commands["bad"], 1)


def test_medians_and_ratios_are_those_by_hand():
    runs = {"ours": [{"cpu": 1.0}, {"cpu": 2.0}, {"cpu": 5.0}], "peer": [{"cpu": 8.0}, {"cpu": 6.0}, {"cpu": 5.0}]}
    summary = summarise(runs)
    assert summary["ours"]["cpu"] == (2.0, 1.0, 5.0)
    assert ratio(summary, "peer", "ours") == 3.0
    assert in_turn(runs, "peer", "ours") == (3.0, 1.0, 8.0)
    assert ratio(summary, "absent", "ours") is None


def test_an_aim_is_met_on_its_side_of_the_bound():
    assert Aim("speed", 2.6, at_least=2.5).met
    assert not Aim("speed", 2.4, at_least=2.5).met
    assert Aim("memory", 0.4, at_most=0.5).met
    assert Aim("memory", None, at_most=0.5).met is None


def test_a_table_has_a_line_for_each_row_and_a_dash_for_what_is_missing():
    assert markdown(MeasuredTable("two", ["case", "s"], [["a", 1234.5], ["b", None]])) == (
        "two\n\n| case | s |\n|---|--:|\n| a | 1,234 |\n| b | – |"
    )
