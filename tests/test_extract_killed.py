"""Killed at any moment and started again, the extraction ends with the bytes of a run that nobody disturbed."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from pubmed_files import citation, write_pmc, write_pubmed

from bioemb.manifest import manifest_path, read_manifest, work_folder

KILLS = 5


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(24):
        first = 1000 * number
        words = (f"word{pmid}x" for pmid in range(first, first + 60))
        write_pubmed(folder / f"n{number}.xml.gz", *(citation(first + n, word) for n, word in enumerate(words)))
    for number in range(6):
        write_pmc(folder / f"PMC{number}.xml", number + 1, f"text{number}x")
    return folder


def start(raw: Path, output: Path) -> subprocess.Popen:
    words = ["extract", "--input_path", str(raw), "--output_file", str(output), "--num_proc", "2"]
    command = [sys.executable, "-m", "bioemb", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> int:
    """Wait for the process and for its workers, which hold the other end of its stderr."""
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode


def test_killed_at_random_moments_the_output_is_the_same(raw, tmp_path):
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    began = time.monotonic()
    assert finish(start(raw, whole)) == 0
    seconds = time.monotonic() - began
    draw = Random(7)
    stopped = 0
    for _ in range(KILLS):
        process = start(raw, killed)
        time.sleep(draw.uniform(0.3, 0.95) * seconds)
        process.kill()
        if finish(process) != 0:
            stopped += 1
        else:  # it was done before: sooner, and from nothing
            seconds /= 2
            for path in (killed, manifest_path(killed)):
                path.unlink()
            shutil.rmtree(work_folder(killed))
    assert stopped >= 1
    assert finish(start(raw, killed)) == 0
    assert killed.read_bytes() == whole.read_bytes() and len(whole.read_bytes()) > 100_000
    assert read_manifest(killed) == read_manifest(whole)
    everything = {path.name for path in [*tmp_path.iterdir(), *work_folder(killed).rglob("*")]}
    assert not [name for name in everything if name.endswith(".part")]


def test_a_part_without_its_counts_is_made_again(raw, tmp_path):
    """What a kill between two files of a part leaves: some of them, cut short, and no counts."""
    output = tmp_path / "pairs.jsonl"
    assert finish(start(raw, output)) == 0
    expected = output.read_bytes()
    parts = sorted(work_folder(output).rglob("part-*.json"))
    cut = parts[3]
    for path in cut.parent.glob(f"{cut.stem}.*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut.unlink()
    (cut.parent / f".{cut.stem}.jsonl.1.part").write_text("left by a process that was killed")
    output.unlink()
    described = json.loads(manifest_path(output).read_text())
    manifest_path(output).write_text(json.dumps({**described, "complete": False}))
    assert finish(start(raw, output)) == 0
    assert output.read_bytes() == expected
    assert not list(cut.parent.glob(".*.part"))
