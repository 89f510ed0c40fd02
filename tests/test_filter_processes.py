"""`filter`, `mine` with a cross-encoder, and `score` on several processes: the bytes of one, errors said once."""

import json
from pathlib import Path

import pytest
from launched import run_processes
from pair_files import make_pairs, write_rows
from tiny_encoder import write_tiny_cross_encoder

STAGES = """
import json, sys
from bioemb.cli import main
from bioemb.stages import filter_scores, mining_search, reranking, score

filter_scores.BLOCK_ROWS, mining_search.BLOCK_ROWS, score.BLOCK_ROWS = 7, 8, 9  # several blocks
sys.exit(next((code for code in (main(words) for words in json.loads(sys.argv[1])) if code), 0))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    write_rows(folder / "pairs.jsonl", [{**row, "kind": "ab"[row["number"] % 3 // 2]} for row in make_pairs(45)])
    write_tiny_cross_encoder(folder / "cross", seed=3)
    return folder


def words(folder: Path, encoder: Path, output: Path, **settings: str) -> list[list[str]]:
    """The three commands, one upon the other."""
    commands = {
        "filter": f"--model_path {encoder} --folder_path {folder}/pairs.jsonl --out_file_path {output}/kept.jsonl "
        "--key_x abstract --key_y title --keep_share 0.8 --pool_size 20 --max_rank 15",
        "mine": f"--model_name_or_path {encoder} --input_file {output}/kept.jsonl --output_file {output}/mined.jsonl "
        "--range_for_sampling 1-20 --negative_number 3 --relative_margin none "
        f"--reranker_name_or_path {folder}/cross --reranker_margin 0.2",
        "score": f"--input_file {output}/mined.jsonl --output_file {output}/scored.jsonl "
        f"--reranker_name_or_path {folder}/cross",
    }
    return [[name, *flags.split(), *settings.get(name, "").split()] for name, flags in commands.items()]


def test_two_processes_write_the_bytes_of_one(folder, tmp_path, tiny_encoder_folder):
    names = ("kept.jsonl", "kept.jsonl.stats.json", "mined.jsonl", "scored.jsonl")
    written = {}
    for count in (1, 2):
        output = tmp_path / str(count)
        done = run_processes(STAGES, json.dumps(words(folder, tiny_encoder_folder, output)), count=count)
        assert [code for code, *_ in done] == [0] * count, done
        assert [bool(out) for _, out, _ in done] == [True] + [False] * (count - 1)  # the first speaks
        written[count] = [(output / name).read_bytes() for name in names]
        assert not list(output.rglob(".*.npy"))
    assert written[1] == written[2]
    assert 10 < len(written[1][0].splitlines()) == len(written[1][3].splitlines()) < 36


def test_a_fault_of_the_user_is_said_once_and_ends_all_processes(folder, tmp_path, tiny_encoder_folder):
    filtering, *_ = words(folder, tiny_encoder_folder, tmp_path, filter="--kind_thresholds c=0.5")
    done = run_processes(STAGES, json.dumps([filtering]))
    assert [code for code, *_ in done] == [2, 2]
    assert [err.count("kind_thresholds names 'c'; the pairs have a, b") for *_, err in done] == [1, 0]
    assert not (tmp_path / "kept.jsonl").exists()
