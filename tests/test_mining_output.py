"""What a mining run writes block by block: kept when it is interrupted, and gone when the output is whole."""

import json

import pytest
from pair_files import make_pairs, write_rows

from bioemb import cli
from bioemb.manifest import read_manifest, work_folder
from bioemb.stages import mining_search
from bioemb.stages.mining_selection import Chooser

ROWS, BLOCK = 50, 8


@pytest.fixture
def words(tmp_path, tiny_encoder_folder, monkeypatch) -> list[str]:
    monkeypatch.setattr(mining_search, "BLOCK_ROWS", BLOCK)
    rows = [
        {"query": pair["title"], "pos": [pair["abstract"]], "number": pair["number"]} for pair in make_pairs(ROWS, 3)
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    settings = ["mine", "--model_name_or_path", str(tiny_encoder_folder), "--input_file", str(path)]
    return [*settings, "--range_for_sampling", "1-20", "--negative_number", "2", "--relative_margin", "none"]


@pytest.fixture
def chosen(monkeypatch) -> list[int]:
    """The blocks that were chosen for, in order; the fourth of a run ends it, as Ctrl-C does, while it is first."""
    blocks, choose = [], Chooser.choose

    def choose_or_stop(self, index):
        if len(blocks) == 3:
            blocks.append(index)
            raise KeyboardInterrupt
        blocks.append(index)
        return choose(self, index)

    monkeypatch.setattr(Chooser, "choose", choose_or_stop)
    return blocks


def parts_of(output):
    return sorted(path.name for path in work_folder(output).glob("examples-*/*"))


def test_an_interrupted_run_chooses_for_the_blocks_that_are_missing_only(words, chosen, tmp_path):
    output, blocks = tmp_path / "mined.jsonl", -(-ROWS // BLOCK)
    assert cli.main([*words, "--output_file", str(output)]) == 130
    assert not output.exists()
    assert parts_of(output) == [f"part-{index:06d}.{suffix}" for index in range(3) for suffix in ("json", "jsonl")]
    assert cli.main([*words, "--output_file", str(output)]) == 0
    assert chosen == [0, 1, 2, 3, *range(3, blocks)] and parts_of(output) == []
    whole = tmp_path / "whole.jsonl"
    assert cli.main([*words, "--output_file", str(whole)]) == 0
    assert output.read_bytes() == whole.read_bytes() and len(output.read_bytes().splitlines()) == ROWS
    assert read_manifest(output)["counts"] == read_manifest(whole)["counts"]


def test_parts_that_were_chosen_by_another_rule_are_not_taken(words, chosen, tmp_path):
    output, other = tmp_path / "mined.jsonl", ["--negative_number", "3"]
    assert cli.main([*words, "--output_file", str(output)]) == 130
    assert cli.main([*words, *other, "--output_file", str(output)]) == 0
    assert chosen[4:] == list(range(-(-ROWS // BLOCK))) and parts_of(output) == []
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert {len(row["neg"]) for row in rows} == {3}


def test_a_part_whose_counts_are_missing_is_made_again(words, chosen, tmp_path):
    output = tmp_path / "mined.jsonl"
    assert cli.main([*words, "--output_file", str(output)]) == 130
    next(work_folder(output).glob("examples-*/part-000001.json")).unlink()
    assert cli.main([*words, "--output_file", str(output)]) == 0
    assert chosen[4:] == [1, *range(3, -(-ROWS // BLOCK))]
    whole = tmp_path / "whole.jsonl"
    assert cli.main([*words, "--output_file", str(whole)]) == 0
    assert output.read_bytes() == whole.read_bytes()
