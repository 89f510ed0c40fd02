"""`bioemb mine` on several processes: the bytes of one, errors said once."""

import json
from pathlib import Path

import pytest
from launched import run_processes

from bioemb.manifest import read_manifest

MINE = """
import sys
from bioemb.cli import main
from bioemb.stages import mining_search

mining_search.BLOCK_ROWS, mining_search.SHARD_ROWS = 8, 16  # several blocks and shards
sys.exit(main(["mine", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny_encoder_folder) -> list[str]:
    folder = tmp_path_factory.mktemp("mine")
    rows = [
        {
            "query": f"aspirin {number} {'risk ' * (number % 5)}",
            "pos": [f"glucose {number * 7} " + "trial " * (number % 11)],
        }
        for number in range(45)
    ]
    rows[4]["identity"] = rows[30]["identity"] = 9
    path = folder / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = ["--model_name_or_path", str(tiny_encoder_folder), "--input_file", str(path)]
    return [*settings, "--range_for_sampling", "1-40", "--negative_number", "4", "--relative_margin", "0"]


def test_three_processes_write_the_bytes_of_one(words, tmp_path):
    written = {}
    for count in (1, 3):
        output = tmp_path / f"mined-{count}.jsonl"
        done = run_processes(MINE, *words, "--output_file", str(output), count=count)
        assert [code for code, *_ in done] == [0] * count, done
        assert [bool(out) for _, out, _ in done] == [True] + [False] * (count - 1)  # the first speaks
        written[count] = output.read_bytes(), read_manifest(output)

        assert not list(tmp_path.rglob(".*.npy"))
    assert written[1] == written[3] and len(written[1][0].splitlines()) == 45


def test_a_fault_of_the_user_is_said_once_and_ends_all_processes(words, tmp_path):
    Path(tmp_path / "bad.jsonl").write_text('{"query": "a", "pos": ["b"]}\n{"query": "a"}\n', encoding="utf-8")
    words = [*words, "--input_file", str(tmp_path / "bad.jsonl"), "--output_file", str(tmp_path / "out.jsonl")]
    done = run_processes(MINE, *words)
    assert [code for code, *_ in done] == [2, 2]
    assert [err.count("bad.jsonl, line 2: no key 'pos'") for *_, err in done] == [1, 0]
    assert not (tmp_path / "out.jsonl").exists()
