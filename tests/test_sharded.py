"""Weights that the processes share, as far as it can be tried without several GPUs."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch import nn
from training_runs import assert_equal_weights, run_interrupted, small_run

from bioemb import checkpoint, run_state, trainer
from bioemb.config import TrainConfig
from bioemb.errors import ConfigError
from bioemb.stages import train


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    return small_run(tmp_path, tiny_encoder_folder)


@pytest.fixture
def sharing(monkeypatch):
    """Take a plain process for one of several that share the weights."""
    for module in (run_state, trainer):
        monkeypatch.setattr(module, "SHARDED", ("NO",))


@pytest.mark.parametrize(("queries", "rows"), [(2, 14), (4, 13)])  # of the last 5 of 13 one process has 3, one 2
def test_sharded_processes_train_as_one_with_the_doubled_batch(tmp_path, tiny_encoder_folder, queries, rows):
    folder = tmp_path
    config = replace(small_run(folder, tiny_encoder_folder, rows), per_device_train_batch_size=2 * queries)
    train.run(config)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    program = Path(__file__).with_name("sharded_training.py")
    done = subprocess.run(
        [*launch, "--rdzv_endpoint", "127.0.0.1:0", *map(str, (program, folder, tiny_encoder_folder, queries, rows))],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    made = checkpoint.list_checkpoints(config.output_dir)
    assert made and [path.name for path in made] == [
        path.name for path in checkpoint.list_checkpoints(folder / "sharded")
    ]
    for place in ("", *(path.name for path in made)):
        assert_equal_weights(Path(config.output_dir) / place, folder / "sharded" / place, atol=1e-5)


@pytest.mark.parametrize("sub_batch_size", [None, 1])
def test_gathered_weights_are_saved_and_averaged_as_others(config, monkeypatch, sharing, sub_batch_size):
    config = replace(config, average_with_start=0.25, sub_batch_size=sub_batch_size)
    shared = replace(config, output_dir=config.output_dir + "-shared")
    train.run(shared)
    monkeypatch.undo()
    train.run(config)
    assert_equal_weights(config.output_dir, shared.output_dir, atol=1e-5)
    found = f"{shared.output_dir}/checkpoint-3"
    assert_equal_weights(f"{config.output_dir}/checkpoint-3", found, atol=1e-5)
    names = {path.name for path in checkpoint.list_checkpoints(shared.output_dir)[0].iterdir()}
    assert "optimizer.safetensors" not in names and "model.safetensors" in names


def test_a_run_of_shared_weights_is_not_resumed(config, monkeypatch):
    run_interrupted(config, 3, monkeypatch)
    monkeypatch.setattr(run_state, "SHARDED", ("NO",))
    with pytest.raises(ConfigError, match="has no optimiser's state"):
        train.run(config)


def test_an_engine_with_a_loop_of_its_own_is_refused(config, monkeypatch):
    accelerator = SimpleNamespace(distributed_type=DistributedType("MEGATRON_LM"))
    monkeypatch.setattr(train, "make_accelerator", lambda config: accelerator)
    with pytest.raises(ConfigError, match="training does not work with MEGATRON_LM.*; use FSDP or DeepSpeed"):
        train.run(config)
    assert not Path(config.output_dir).exists()


@pytest.mark.parametrize("changes", [{"ema_decay": 0.9}, {"use_lora": True}, {"eval_share": 0.1}])
def test_what_needs_all_weights_in_one_place_is_refused(config, sharing, changes):
    with pytest.raises(ConfigError, match=f"--{next(iter(changes))} does not work with NO"):
        train.run(replace(config, **changes))


def test_a_loss_with_parameters_is_refused(config, sharing):
    with pytest.raises(ConfigError, match="--loss test_sharded:Scaled has parameters of its own, which NO"):
        train.run(replace(config, loss="test_sharded:Scaled"))


class Scaled(nn.Module):
    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(temperature))
