"""Shared-out work: what real gloo processes do with it, and that one process notices nothing of all this."""

import json
from datetime import timedelta

import numpy as np
import pytest
import torch.distributed as dist
from launched import run_processes, start_processes

from bioemb import processes
from bioemb.blocks import BlockFolder
from bioemb.errors import DataError

THREE = """
import json, sys
import numpy as np
from bioemb.blocks import BlockFolder
from bioemb.distributed import world
from bioemb.errors import BioembError, DataError
from bioemb.processes import fill, join_processes, on_all, on_first, share, stretch

join_processes()
rank, count = world()
told = {"world": [rank, count], "share": share(range(8)), "stretch": stretch("abcdefgh")}
told["first"] = on_first(lambda: f"of {rank}")
told["all"] = on_all(lambda: f"of {rank}")

def fail_on(which):
    def work():
        if rank == which:
            raise DataError("bad row", "a.jsonl", 7)
        return rank
    return work

for name, together, which in (("error of the first", on_first, 0), ("error of the last", on_all, 2)):
    try:
        together(fail_on(which))
    except BioembError as error:
        told[name] = [type(error).__name__, str(error), error.is_shared]
made = []
folder = BlockFolder(sys.argv[1], 10, 2)
def make(blocks):
    for block in blocks:
        made.append(block)
        yield np.arange(10)[folder.span(block)]
fill(folder, make)
told["made"], told["missing"] = made, folder.missing()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> list[dict]:
    """What three processes report; block 1 of five was there, and a leftover of a process that was killed."""
    folder = BlockFolder(tmp_path_factory.mktemp("blocks"), 10, 2)
    folder.write(1, np.array([20, 30]))
    (folder.folder / ".block-000003.77.npy").write_text("cut short")
    done = run_processes(THREE, str(folder.folder), count=3)
    assert [code for code, *_ in done] == [0, 0, 0], done
    return [{**json.loads(out), "folder": folder} for _, out, _ in done]


def test_shares_and_stretches_are_the_whole_once(told):
    assert [each["world"] for each in told] == [[0, 3], [1, 3], [2, 3]]
    assert [each["share"] for each in told] == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert ["".join(each["stretch"]) for each in told] == ["ab", "cde", "fgh"]


def test_what_the_first_process_gives_reaches_all_and_each_keeps_its_own_of_all(told):
    assert [each["first"] for each in told] == ["of 0"] * 3
    assert [each["all"] for each in told] == ["of 0", "of 1", "of 2"]


def test_the_error_of_one_process_is_raised_on_every_one(told):
    for each in told:
        for name in ("error of the first", "error of the last"):
            assert each[name] == ["DataError", "a.jsonl, line 7: bad row", True]


def test_missing_blocks_are_made_once_each_and_what_is_there_stays(told):
    assert [each["made"] for each in told] == [[0, 4], [2], [3]]
    assert [each["missing"] for each in told] == [[], [], []]
    folder = told[0]["folder"]
    assert np.concatenate([rows for _, rows in folder.blocks()]).tolist() == [0, 1, 20, 30, 4, 5, 6, 7, 8, 9]
    assert len(list(folder.folder.iterdir())) == 5


WAITING = """
import sys, time
from bioemb.cli import complain
from bioemb.distributed import world
from bioemb.errors import BioembError
from bioemb.processes import join_processes, on_all

join_processes()
rank, _ = world()
print(rank, flush=True)
try:
    on_all(lambda: time.sleep(3600 * rank))
except BioembError as error:
    sys.exit(complain("bioemb mine", error, str(error)))
"""


def test_a_process_that_is_killed_ends_the_others_with_a_word():
    first, last = start_processes(WAITING)
    try:
        assert (first.stdout.readline(), last.stdout.readline()) == ("0\n", "1\n")  # they have met
        last.kill()
        _, said = first.communicate(timeout=600)  # however busy the machine; the patience is of days
        assert first.returncode == 2 and "another process ended before its work was done" in said
    finally:
        first.kill()


ENDING = """
import atexit, sys
import torch.distributed as dist

atexit.register(lambda: print("connected at the end:", dist.is_initialized()))  # first in, last out
from bioemb.cli import main

model, data, output = sys.argv[1:]
words = ["--model_name_or_path", model, "--train_data", data, "--output_dir", output]
sys.exit(main(["train", *words, "--query_max_len", "16", "--passage_max_len", "16"]))
"""


def test_a_training_without_a_model_closes_its_connections_before_python_ends(tmp_path):
    for code, out, said in run_processes(ENDING, "./none", "./none.jsonl", str(tmp_path / "out")):
        assert code == 2 and "there is no model folder ./none" in said
        assert out == "connected at the end: False\n"


def test_bad_rows_end_a_training_on_every_process_with_one_line(tmp_path, tiny_encoder_folder):
    (tmp_path / "bad.jsonl").write_text('{"query": "heart", "pos": []}\n')
    done = run_processes(ENDING, str(tiny_encoder_folder), str(tmp_path / "bad.jsonl"), str(tmp_path / "out"))
    assert [code for code, *_ in done] == [2, 2], done
    assert sum(said.count("bad.jsonl, line 1: ") for *_, said in done) == 1
    assert not any("Traceback" in said for *_, said in done)


@pytest.fixture
def launchers_store(monkeypatch) -> dist.TCPStore:
    """The store that torchrun keeps for its processes, and their environment."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return store


ALIKE = """
import sys
from bioemb.cli import main
words = ["--model_name_or_path", "./none", "--input_file", "./none.jsonl", "--output_file", "none"]
sys.exit(main(["mine", *words, *sys.argv[1:]]))
"""


def test_an_error_that_all_meet_before_each_other_is_said_once(launchers_store):
    done = run_processes(ALIKE, "--negative_numbr", "3", port=launchers_store.port)
    assert [code for code, *_ in done] == [2, 2]
    assert sum(said.count("did you mean") for *_, said in done) == 1, done


def test_words_of_ones_own_are_said_and_so_are_all_after_a_restart(launchers_store, monkeypatch):
    said = []
    for words in ("no a.jsonl", "no a.jsonl", "no b.jsonl", "no a.jsonl"):
        processes.say_once(words, lambda words=words: said.append(words))
    assert said == ["no a.jsonl", "no b.jsonl"]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    processes.say_once("no a.jsonl", lambda: said.append("again"))
    assert said[-1] == "again"


def test_nobody_is_silent_unless_another_has_spoken(launchers_store, monkeypatch):
    monkeypatch.setattr(processes, "ANSWER", timedelta(seconds=0.2))
    said = []

    def ended_before_it_spoke() -> None:
        processes.say_once("no a.jsonl", lambda: said.append("the other"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.say_once("no a.jsonl", ended_before_it_spoke)
    assert said == ["the other"]
    for name, value in (("MASTER_PORT", "x"), ("MASTER_PORT", "1"), ("TORCHELASTIC_USE_AGENT_STORE", "False")):
        monkeypatch.setenv(name, value)  # there is no store
        processes.say_once("no a.jsonl", lambda name=name: said.append(name))
    assert said[1:] == ["MASTER_PORT", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"]


def test_one_process_does_all_the_work_itself(tmp_path):
    processes.join_processes()
    assert processes.share("abc") == processes.stretch("abc") == ["a", "b", "c"]
    assert (processes.on_first(lambda: 3), processes.on_all(lambda: 4)) == (3, 4)
    with pytest.raises(DataError) as caught:
        processes.on_all(lambda: BlockFolder(tmp_path, 3, 2).read(1))
    assert not caught.value.is_shared


def test_blocks_that_do_not_come_to_be_seen_are_named(tmp_path):
    folder = BlockFolder(tmp_path, 5, 2)
    folder.write(0, np.zeros(2))
    with pytest.raises(DataError, match=r"block-000001.npy: 2 files, .* folder that all of them share"):
        folder.wait_until_whole(seconds=0)


def test_a_launchers_environment_without_a_meeting_point_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(processes.ConfigError, match="WORLD_SIZE is 2.* start them with torchrun"):
        processes.join_processes()
