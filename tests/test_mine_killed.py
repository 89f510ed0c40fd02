"""Killed at any moment and started again, `mine` and `filter` end with the bytes of a run that nobody disturbed."""

import multiprocessing
import shutil
import time
from pathlib import Path
from random import Random

import pytest
from pair_files import make_pairs, write_rows

from bioemb.manifest import manifest_path, read_manifest, work_folder

KILLS = 4
PROCESSES = multiprocessing.get_context("forkserver")  # imports are made once, and not by the process that tests
PROCESSES.set_forkserver_preload(
    [
        "bioemb.stages.mine",
        "bioemb.stages.filter",
        *(
            f"transformers.{name}"
            for name in ("models.bert.modeling_bert", "models.bert.tokenization_bert", "convert_slow_tokenizer")
        ),
    ]
)


def run(words: list[str]) -> None:
    """The command line, with blocks and shards so small that there are many."""
    import torch

    from bioemb import cli
    from bioemb.stages import filter_scores, mining_search

    torch.set_num_threads(1)
    mining_search.BLOCK_ROWS, mining_search.SHARD_ROWS, filter_scores.BLOCK_ROWS = 16, 128, 16
    raise SystemExit(cli.main(words))


def start(words: list[str], output: Path) -> multiprocessing.Process:
    flag = "--output_file" if words[0] == "mine" else "--out_file_path"
    process = PROCESSES.Process(target=run, args=([*words, flag, str(output)],))
    process.start()
    return process


@pytest.fixture(scope="module")
def commands(tmp_path_factory, tiny_encoder_folder) -> dict[str, list[str]]:
    folder, pairs = tmp_path_factory.mktemp("killed"), make_pairs(250, 3)
    rows = [{"query": pair["title"], "pos": [pair["abstract"]], "number": pair["number"]} for pair in pairs]
    examples, model = write_rows(folder / "examples" / "rows.jsonl", rows), str(tiny_encoder_folder)
    write_rows(folder / "pairs" / "pairs.jsonl", pairs)
    mine = ["mine", "--model_name_or_path", model, "--input_file", str(examples), "--range_for_sampling", "1-100"]
    keys = ["--key_x", "abstract", "--key_y", "title", "--sim_threshold", "0.3"]
    return {
        "mine": [*mine, "--max_positive_similarity", "none", "--relative_margin", "none"],
        "filter": ["filter", "--model_path", model, "--folder_path", str(folder / "pairs"), *keys],
    }


@pytest.mark.parametrize("command", ["mine", "filter"])
def test_killed_at_random_moments_the_output_is_the_same(commands, tmp_path, command):
    words, whole, killed = commands[command], tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    imports = PROCESSES.Process(target=min, args=(1, 2))
    imports.start()
    imports.join()
    began = time.monotonic()
    process = start(words, whole)
    process.join(120)
    seconds = time.monotonic() - began
    assert process.exitcode == 0
    draw, kills = Random(3), 0
    for _ in range(KILLS):
        process = start(words, killed)
        process.join(draw.uniform(0.2, 1) * seconds)
        process.kill()
        process.join()
        if process.exitcode == -9:
            kills += 1
        else:  # it was done before: sooner, and from nothing
            seconds /= 2
            for path in (killed, manifest_path(killed)):
                path.unlink()
            shutil.rmtree(work_folder(killed))
    assert kills >= 1
    process = start(words, killed)
    process.join(120)
    assert process.exitcode == 0
    assert killed.read_bytes() == whole.read_bytes() and len(whole.read_bytes()) > 10_000
    assert read_manifest(killed) == read_manifest(whole)
    left = [path.name for folder in (tmp_path, work_folder(killed)) for path in folder.rglob(".*")]
    assert left == []
