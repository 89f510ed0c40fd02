"""What accelerate is told and does for a training: precisions, processes of a recipe, trackers."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from accelerate.utils import LoggerType
from training_runs import (
    assert_equal_weights,
    read_lines,
    small_run,
)

from bioemb.config import TrainConfig
from bioemb.errors import ConfigError
from bioemb.stages import train

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    return small_run(tmp_path, tiny_encoder_folder)


@pytest.mark.parametrize(("has", "instead", "name"), [(True, {"bf16": True}, "bfloat16"), (False, {}, "float32")])
def test_float16_on_a_cpu_is_bfloat16_where_the_processor_has_it_and_else_float32(
    config, tmp_path, monkeypatch, log, has, instead, name
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})
    for folder, precision in (("asked", {"fp16": True}), ("instead", instead)):
        train.run(replace(config, max_steps=2, output_dir=str(tmp_path / folder), **precision))
    assert_equal_weights(tmp_path / "asked", tmp_path / "instead", atol=0)
    assert f"--fp16 needs a GPU; there is none here, so {name} stands in for it" in log.messages


def test_each_training_of_a_process_has_its_own_precision(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    for folder, bf16 in (("half", True), ("full", False), ("again", True)):
        train.run(replace(config, max_steps=2, output_dir=str(tmp_path / folder), bf16=bf16))
    assert_equal_weights(tmp_path / "half", tmp_path / "again", atol=0)
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "half", tmp_path / "full", atol=0)


def test_two_processes_go_on_from_one_training_of_a_recipe_to_the_next(config, tmp_path):
    given = {each.name: getattr(config, each.name) for each in fields(config)}
    given |= {"train_data": [*config.train_data], "data_weights": [1.0], "negatives_cross_device": True, "max_steps": 2}
    given = {name: value for name, value in given.items() if value not in (None, ())}
    first = {**given, "per_device_train_batch_size": 2, "output_dir": str(tmp_path / "first")}
    second = {**first, "model_name_or_path": first["output_dir"], "output_dir": str(tmp_path / "second")}
    (tmp_path / "recipe.yaml").write_text(json.dumps({"train": first, "train second": second}))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    words = ["--rdzv_endpoint", "127.0.0.1:0", "-m", "bioemb", "run", str(tmp_path / "recipe.yaml")]
    done = subprocess.run([*launch, *words], capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 0, done.stderr
    train.run(replace(config, max_steps=2, model_name_or_path=first["output_dir"]))
    assert_equal_weights(config.output_dir, second["output_dir"], atol=1e-5)


class Remembering(GeneralTracker):
    """A tracker that keeps what it is told."""

    name, requires_logging_directory, main_process_only, tracker = "tensorboard", True, True, None

    def __init__(self, *arguments):
        super().__init__()
        Remembering.told = {}

    def store_init_configuration(self, values):
        Remembering.settings = values

    def log(self, values, step=None, **options):
        Remembering.told.setdefault(step, {}).update(values)


def test_a_tracker_is_told_scalars_and_what_stands_in_the_log(config, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.TENSORBOARD])
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Remembering)
    config = replace(config, max_steps=2, report_to="tensorboard", use_mrl=True, mrl_dims=(8, 32), data_weights=(1.5,))
    train.run(config)
    kinds = {type(value) for value in Remembering.settings.values()}
    assert kinds <= {int, float, bool, str, type(None)}  # what TensorBoard takes
    settings = Remembering.settings
    assert (settings["mrl_dims"], settings["data_weights"], settings["target_modules"]) == ("8 32", "1.5", "")
    lines = read_lines(f"{config.output_dir}/metrics.jsonl")
    assert Remembering.told == {line.pop("step"): line for line in lines}


@pytest.mark.parametrize("tracker", ["tensorboard", "all"])
def test_a_tracker_without_its_package_is_refused_before_anything_is_read(config, monkeypatch, tracker):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(ConfigError, match=f"--report_to {tracker}: its package is not installed"):
        train.run(replace(config, report_to=tracker, model_name_or_path="nowhere"))
