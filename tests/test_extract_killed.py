"""Killed at any moment and started again, the extraction ends with the bytes of a run that nobody disturbed."""

import json
import os
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
    return subprocess.Popen(
        [sys.executable, "-m", "bioemb", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a group of its own, so that its workers can be counted
    )


def wait_for_workers(group: int) -> None:
    """Wait until no process of the group is left; fail after a few seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers live on after the process that started them was killed")


def test_killed_at_random_moments_the_output_is_the_same(raw, tmp_path):
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    began = time.monotonic()
    assert start(raw, whole).wait(60) == 0
    seconds = time.monotonic() - began
    draw = Random(7)
    stopped = 0
    for _ in range(KILLS):
        process = start(raw, killed)
        try:
            process.wait(draw.uniform(0.3, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            stopped += 1
        wait_for_workers(process.pid)
    assert stopped >= 1  # later ones may find the work done
    last = start(raw, killed)
    assert last.wait(60) == 0, last.stderr.read()
    assert killed.read_bytes() == whole.read_bytes() and len(whole.read_bytes()) > 100_000
    assert read_manifest(killed) == read_manifest(whole)
    everything = {path.name for path in [*tmp_path.iterdir(), *work_folder(killed).rglob("*")]}
    assert not [name for name in everything if name.endswith(".part")]


def test_a_part_without_its_counts_is_made_again(raw, tmp_path):
    """What a kill between two files of a part leaves: some of them, cut short, and no counts."""
    output = tmp_path / "pairs.jsonl"
    assert start(raw, output).wait(60) == 0
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
    assert start(raw, output).wait(60) == 0
    assert output.read_bytes() == expected
    assert not list(cut.parent.glob(".*.part"))
