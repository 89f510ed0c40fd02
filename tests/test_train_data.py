"""Which rows may meet in a batch and how often an epoch takes them; and runs with several sets."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_runs import assert_equal_weights, run_interrupted, small_run, write_examples

from bioemb.config import TrainConfig
from bioemb.data.dataset import Source
from bioemb.errors import ConfigError
from bioemb.stages import train
from bioemb.stages.train_data import make_pools

SIZES = {"a/one": 50, "a/two": 3, "a/three": 4, "b/four": 5, "b/five": 90}  # files of the entries a and b
SOURCES = [Source(Path(name), "ab".index(name[0])) for name in SIZES]
ROWS = np.split(np.arange(152), np.cumsum(list(SIZES.values()))[:-1])


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    return small_run(tmp_path, tiny_encoder_folder)


@pytest.fixture
def two(config) -> TrainConfig:
    return replace(config, train_data=("a", "b"))


def pools(config):
    found, dropped = make_pools(config, SOURCES, ROWS)
    return [[(part.rows.tolist(), round(part.weight, 6)) for part in pool] for pool in found], dropped


def rows(*names):
    return [row for name, own in zip(SIZES, ROWS, strict=True) if name in names for row in own.tolist()]


def test_by_default_all_rows_may_meet(two):
    assert pools(two) == ([[(list(range(57)), 1.0), (list(range(57, 152)), 1.0)]], 0)


def test_each_entry_of_the_data_has_its_weight(two):
    found, _ = pools(replace(two, data_weights=(2.0, 0.5)))
    assert [weight for _, weight in found[0]] == [2.0, 0.5]
    found, _ = pools(replace(two, data_temperature=1e9, same_dataset_within_batch=True))
    assert [weight for ((_, weight),) in found] == pytest.approx([76 / 57] * 3 + [76 / 95] * 2, abs=1e-5)


def test_small_files_of_a_folder_make_one_set_and_too_small_a_set_is_dropped_aloud(two, log):
    same = replace(two, same_dataset_within_batch=True)
    assert [part for (part,) in pools(same)[0]] == [(rows(name), 1.0) for name in SIZES]
    found, dropped = pools(replace(same, small_threshold=5))
    names = [("a/one",), ("b/four",), ("b/five",), ("a/two", "a/three")]
    assert ([own for ((own, _),) in found], dropped) == ([rows(*some) for some in names], 0)
    found, dropped = pools(replace(same, small_threshold=10, drop_threshold=6))
    assert [own for ((own, _),) in found] == [rows("a/one"), rows("b/five"), rows("a/two", "a/three")]
    assert dropped == 5 and "dropped 5 rows of 1 small files in b" in log.text
    with pytest.raises(ConfigError, match="all 152 rows were dropped"):
        pools(replace(same, small_threshold=100, drop_threshold=1000))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_weights": (1.0,)}, "1 data_weights for 2 entries"),
        ({"data_weights": (1.0, 0.0)}, "expected numbers above 0"),
        ({"data_weights": (1.0, 2.0), "data_temperature": 2.0}, "exclude each other"),
        ({"data_temperature": 0.5}, "expected 1 or more"),
    ],
)
def test_weights_that_make_no_sense_are_refused(two, changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(two, **changes)


def test_an_interrupted_run_with_weighted_sets_ends_with_the_same_bits(config, tmp_path, monkeypatch):
    other_set = write_examples(tmp_path / "other.jsonl", 9, seed=4)
    config = replace(
        config, train_data=(*config.train_data, str(other_set)), data_weights=(0.5, 1.5), num_train_epochs=2
    )
    assert "trained for 12 steps on 23 rows" in train.run(config)  # 7 + 14 rows an epoch: 6 batches
    other = replace(config, output_dir=config.output_dir + "-interrupted")
    run_interrupted(other, 4, monkeypatch)
    train.run(other)
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)


def counts_of(config):
    return json.loads(Path(f"{config.output_dir}.manifest.json").read_text())["counts"]


def test_each_row_is_trained_on_or_counts_once_among_the_others(config, tmp_path):
    files = [str(write_examples(tmp_path / f"{rows}.jsonl", rows, seed=rows)) for rows in (30, 20, 3)]
    config = replace(config, train_data=tuple(files), max_example_num_per_dataset=12, eval_share=0.3, max_steps=1)
    config = replace(config, same_dataset_within_batch=True, small_threshold=4, drop_threshold=4)
    train.run(config)
    counts = counts_of(config)
    assert counts["rows"] == 12 + 12  # of what is not held out
    reasons = ("held_out", "left_out", "beyond_max_example_num_per_dataset", "dropped")
    assert counts["rows"] + sum(counts[f"rows_{reason}"] for reason in reasons) == 30 + 20 + 3
    assert counts["rows_held_out"] and counts["rows_dropped"]


def test_a_slash_behind_the_output_moves_no_work_into_it(config, tmp_path):
    train.run(replace(config, output_dir=config.output_dir + "/", max_steps=1))
    assert not list(Path(config.output_dir).rglob(".work")) and list(tmp_path.glob("out.work/*.arrow"))


def test_dropped_rows_stand_in_the_manifest(config):
    config = replace(config, same_dataset_within_batch=True, small_threshold=100, drop_threshold=10, max_steps=1)
    small = write_examples(Path(config.output_dir).with_name("small") / "few.jsonl", 5, seed=4)
    train.run(replace(config, train_data=(*config.train_data, str(small))))
    assert (counts_of(config)["rows"], counts_of(config)["rows_dropped"]) == (14, 5)
