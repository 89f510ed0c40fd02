"""What the benchmark programs share: costs are those of the command, medians and ratios those by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from measuring import CaseError, in_turn, ratio, run_alone, run_by_turns, summarise  # noqa: E402
from report import PAGE, RESULTS, command_of, fill_page, read_results  # noqa: E402
from reporting import Aim, Table, markdown  # noqa: E402

PYTHON = [sys.executable, "-S", "-c"]


def test_a_commands_children_count_in_its_seconds_and_memory():
    work = "import time\nbig = bytearray(90 << 20)\nwhile time.process_time() < 0.3: pass"
    command = [*PYTHON, f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {work!r}])"]
    program = f"import json, measuring; print(json.dumps(measuring.run_alone({command!r}, 1)))"
    small = subprocess.run(  # Linux counts the peak of the process that starts a command as the command's
        [sys.executable, "-c", program], cwd=BENCHMARKS, capture_output=True, text=True, check=True
    )
    found = json.loads(small.stdout)
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


@pytest.mark.parametrize("has", [True, False])
def test_a_case_in_bfloat16_runs_where_the_processor_has_it(monkeypatch, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})
    commands = {name: [*PYTHON, "pass"] for name in ("ours bf16, one pass", "ours float32")}
    runs, left_out = run_by_turns(commands, repeats=1, threads=1)
    assert list(runs) == list(commands)[not has :]
    assert left_out == ({} if has else {"ours bf16, one pass": "this processor has no instructions for bfloat16"})


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
    assert markdown(Table("two", ["case", "s"], [["a", 1234.5], ["b", None]])) == (
        "two\n\n| case | s |\n|---|--:|\n| a | 1,234 |\n| b | – |"
    )


MACHINE = {"processor": "a processor", "low precision": [], "cores": 2, "threads": 1, "memory_gb": 8, "load": 0.5}
VERSIONS = dict.fromkeys(("torch", "transformers", "faiss-cpu", "FlagEmbedding", "sentence-transformers", "lxml"))


def test_a_page_keeps_its_words_and_the_blocks_without_results():
    page = "# Page\n\n<!-- results: speed -->\nold\n<!-- end -->\nwords\n<!-- results: size -->\nkept\n<!-- end -->\n"
    result = {
        "name": "speed",
        "date": "2026-01-02",
        "settings": {"repeats": 3},
        "machine": {**MACHINE, **VERSIONS, "pubmed_parser": None, "python": "3.11.1", "lxml": "6.1"},
        "tables": [{"caption": "how fast", "columns": ["case", "s"], "rows": [["ours", 2.5]]}],
        "aims": [],
        "measurements": {"left out": {"peer": "no module"}},
    }
    filled = fill_page(page, {"speed": result})
    assert "old" not in filled
    assert "how fast\n\n| case | s |\n|---|--:|\n| ours | 2.50 |\n\nLeft out: peer (no module)." in filled
    assert "1 threads of a processor, 2 cores, 8 GB; Python 3.11.1, lxml 6.1. Medians of 3 runs" in filled
    assert filled.endswith("<!-- end -->\nwords\n<!-- results: size -->\nkept\n<!-- end -->\n")
    assert fill_page(filled, {"speed": result}) == filled


def test_missed_aims_stand_first():
    aims = [
        {"what": what, "at_least": 2, "at_most": None, "reached": 1, "met": met}
        for what, met in (("a", True), ("b", False))
    ]
    filled = fill_page("<!-- results: aims -->\n<!-- end -->", {"speed": {"aims": aims}})
    assert [line.split("|")[1].strip() for line in filled.splitlines() if line.startswith("| ")] == ["aim", "b", "a"]


def test_the_page_is_what_the_results_say():
    page = PAGE.read_text(encoding="utf-8")
    assert fill_page(page, read_results(RESULTS)) == page


def test_the_command_of_a_result_has_what_was_set_and_no_more():
    settings = {"quick": False, "mixed": True, "cases": ["one case", "b"], "steps": 3, "model": None, "generated": True}
    command = "python benchmarks/step.py --mixed --cases 'one case' b --steps 3"
    assert command_of({"name": "step_mixed", "settings": settings}) == command
