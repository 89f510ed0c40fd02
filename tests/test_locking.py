"""One run at a time for each output, whoever holds it and however that one ends."""

import signal
import subprocess
import sys

import pytest

from bioemb.errors import ConfigError
from bioemb.locking import lock, unlock
from bioemb.manifest import begin, describe, finish

HOLDER = """
import sys, time
from bioemb.locking import lock
lock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_run_is_told_of_the_first_and_a_killed_one_stands_in_nobodys_way(tmp_path, holder):
    output, description = tmp_path / "out", describe("mine", {}, [])
    with pytest.raises(ConfigError, match=rf"another run writes to .*out \(process {holder.pid} on .*\): wait"):
        begin(output, description, overwrite=True)
    assert not (tmp_path / "out.manifest.json").exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert begin(output, description, overwrite=False)
    output.write_text("made\n")
    finish(output, description, {})
    assert not begin(output, description, overwrite=False)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.manifest.json"}


def test_a_process_may_begin_again_what_it_holds_and_others_have_other_outputs(tmp_path, holder):
    lock(tmp_path / "other")
    lock(tmp_path / "other")
    unlock(tmp_path / "other")
    unlock(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]


def test_a_complete_output_can_be_found_complete_where_nothing_can_be_written(tmp_path, monkeypatch):
    output, description = tmp_path / "out", describe("mine", {}, [])
    begin(output, description, overwrite=False)
    output.write_text("made\n")
    finish(output, description, {})
    monkeypatch.setattr("bioemb.manifest.lock", None)
    assert not begin(output, description, overwrite=False)
