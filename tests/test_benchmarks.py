"""What the benchmark programs share: costs are those of the command, medians and ratios those by hand."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from measuring import CaseError, aside, chosen, make_parser, ratio, run_alone, run_by_turns, summarise  # noqa: E402
from mine import read_earlier  # noqa: E402
from report import PAGE, RESULTS, command_of, count_runs, fill_page, read_results  # noqa: E402
from reporting import Aim, Table, markdown, report_path  # noqa: E402

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


def test_a_terminated_program_takes_its_case_and_the_cases_children_with_it(tmp_path):
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    case = [*PYTHON, f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {child!r}])"]
    program = f"import measuring; measuring.run_by_turns({{'case': {case!r}}}, 1, 1)"
    running = subprocess.Popen([sys.executable, "-c", program], cwd=BENCHMARKS, stderr=subprocess.DEVNULL)
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) != 0
    stopped = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    assert not stopped.exists() or stopped.read_text().split()[2] == "Z"


def test_what_is_written_aside_appears_whole_or_not_at_all(tmp_path):
    for _ in range(2):  # the second finds what the first left
        with pytest.raises(KeyboardInterrupt), aside(tmp_path / "model") as part:
            part.mkdir()
            (part / "config.json").write_text("{}")
            raise KeyboardInterrupt
    assert not (tmp_path / "model").exists()
    with aside(tmp_path / "model") as part:
        part.mkdir()
    assert os.listdir(tmp_path) == ["model"] and os.listdir(tmp_path / "model") == []


def test_flags_and_cases_without_effect_are_refused(capsys):
    flags = make_parser("", without=("repeats", "cases"))
    assert (flags.parse_args([]).repeats, flags.parse_args(["--repeats", "1", "--threads", "5"]).threads) == (1, 5)
    for words in (["--repeats", "2"], ["--cases", "a"]):
        with pytest.raises(SystemExit):
            flags.parse_args(words)
    assert "choose from 1" in capsys.readouterr().err.replace("'", "")
    options = argparse.Namespace(cases=["again"])
    with pytest.raises(SystemExit, match="'again' says nothing without 'first': add that one to --cases"):
        chosen(["first", "again"], options, {"again": "first"})


def test_a_choice_of_cases_does_not_replace_the_results_of_a_whole_run():
    def path(**given):
        return report_path("step", argparse.Namespace(**{"json": None, "quick": False, "cases": None} | given))

    assert path() == RESULTS / "step.json"
    assert path(cases=["one"]) == RESULTS / "chosen" / "step.json"
    assert path(cases=["one"], quick=True) == RESULTS / "quick" / "step.json"
    assert path(cases=["one"], json=Path("mine.json")) == Path("mine.json")


def test_cases_are_added_of_a_run_on_the_same_work_only(tmp_path):
    work = {"rows": 9, "max_length": 8, "pool": 7, "queries": [1, 2], "model": "m", "texts": None, "threads": 1}
    report = {"settings": work, "measurements": {"runs": {"peer": []}}}
    (tmp_path / "mine.json").write_text(json.dumps(report))
    assert read_earlier(tmp_path / "mine.json", argparse.Namespace(**work)) == {"runs": {"peer": []}}
    with pytest.raises(SystemExit, match="of another run than this: rows 9, not 10; threads 1, not 2"):
        read_earlier(tmp_path / "mine.json", argparse.Namespace(**work | {"rows": 10, "threads": 2}))


def test_medians_and_ratios_are_those_by_hand():
    runs = {"ours": [{"cpu": 1.0}, {"cpu": 2.0}, {"cpu": 5.0}], "peer": [{"cpu": 8.0}, {"cpu": 6.0}, {"cpu": 5.0}]}
    summary = summarise(runs)
    assert summary["ours"]["cpu"] == (2.0, 1.0, 5.0)
    assert ratio(summary, "peer", "ours") == 3.0
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


def test_a_page_counts_the_runs_that_there_were():
    def said(**runs):
        return count_runs({"settings": {"repeats": 5}, "measurements": {"runs": runs} if runs else {}})

    assert said() == "Medians of 5 runs"
    assert said(small=[1, 1, 1], large=[1]) == "Medians of 1 to 3 runs"
    assert said(small=[1], large=[1]) == "One run"
    assert said(small=[1, 1]) == "Medians of 2 runs"


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
    assert (
        command_of({"name": "curves", "settings": {"sizes": [], "width": 8}}) == "python benchmarks/curves.py --width 8"
    )
