"""DeepSpeed's engine trains as plain data parallelism does; its configuration gives way to our flags or is refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from training_runs import assert_equal_weights, small_run

from bioemb.config import TrainConfig
from bioemb.engines import DeepSpeed
from bioemb.errors import ConfigError
from bioemb.gradcache import cached_backward
from bioemb.stages import train
from bioemb.stages.train_deepspeed import fill_in

CASES = {  # a run under each ZeRO stage, by the way that its gradients are made
    "whole": {},
    "parts": {"sub_batch_size": 1},
    "accumulated": {"sub_batch_size": 1, "gradient_accumulation_steps": 2},
}


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    return small_run(tmp_path, tiny_encoder_folder)


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra deepspeed")
def test_each_stage_trains_as_one_process_with_the_doubled_batch(config, tiny_encoder_folder):
    folder = Path(config.output_dir).parent
    for name in ("whole", "accumulated"):
        steps = CASES[name].get("gradient_accumulation_steps", 1)
        train.run(replace(config, output_dir=str(folder / name), gradient_accumulation_steps=steps))
    runs = {
        f"{name}-{stage}": [{"zero_optimization": {"stage": stage}}, changes]
        for name, changes in CASES.items()
        for stage in range(4)
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    program = Path(__file__).with_name("deepspeed_training.py")
    done = subprocess.run(
        [*launch, "--rdzv_endpoint", "127.0.0.1:0", program, folder, tiny_encoder_folder, json.dumps(runs)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    for run in runs:
        plain = folder / ("accumulated" if run.startswith("accumulated") else "whole")
        for place in ("", "checkpoint-3"):
            assert_equal_weights(plain / place, folder / run / place, atol=1e-5)


class Recorder:
    """What the engine's methods that we call do, without DeepSpeed."""

    def __init__(self):
        self.boundary, self.seen = None, []

    def set_gradient_accumulation_boundary(self, is_boundary):
        self.boundary = is_boundary

    def is_gradient_accumulation_boundary(self):
        return self.boundary

    def backward(self, loss, scale_wrt_gas):
        assert not scale_wrt_gas
        self.seen.append(self.boundary)
        loss.backward()


def test_only_an_updates_last_gradient_is_at_the_boundary():
    recorder, inputs = Recorder(), torch.randn(5, 3).split([2, 1, 2])
    engine, model = DeepSpeed(recorder), nn.Linear(3, 2)

    def loss_of(vectors: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(vectors @ vectors.T, dim=1).mean()

    with engine.unsynced():
        cached_backward(model, inputs, loss_of, engine.cached_backward, engine.unsynced)
    cached_backward(model, inputs, loss_of, engine.cached_backward, engine.unsynced)
    assert recorder.seen == [False] * 5 + [True]
    expected = torch.autograd.grad(2 * loss_of(model(torch.cat(inputs))), list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_what_the_configuration_leaves_open_is_filled_in(config):
    auto = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_clipping"), "auto")
    settings = {
        "zero_optimization": {"stage": 1, "reduce_bucket_size": "auto", "overlap_comm": True},
        "bf16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "torch_adam": True}},
        "scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": "auto"}},
        "gradient_accumulation_steps": 1,
        "wall_clock_breakdown": False,
        **auto,
    }
    fill_in(settings, replace(config, gradient_accumulation_steps=3, max_grad_norm=0.5), 2)
    assert settings == {
        "zero_optimization": {"stage": 1, "overlap_comm": True},
        "bf16": {"enabled": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "train_micro_batch_size_per_gpu": 4,
        "gradient_accumulation_steps": 3,
        "train_batch_size": 24,
        "gradient_clipping": 0.5,
        "wall_clock_breakdown": False,
    }


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train_batch_size": 16}, "says train_batch_size 16, and our flags and processes 8; say .auto. there"),
        ({"gradient_accumulation_steps": 2}, "steps 2, and --gradient_accumulation_steps 1"),
        ({"gradient_clipping": 0.3}, "says gradient_clipping 0.3, and --max_grad_norm 1.0"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 3e-5}}}, "has the optimizer AdamW with lr set"),
        ({"optimizer": {"type": "Lamb"}}, "has the optimizer Lamb with nothing set"),
        ({"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 9}}}, "WarmupLR with warmup_num_steps set"),
        ({"zero_optimization": {"stage": 0}, "fp16": {"enabled": True}}, "stage 0 with fp16 .*; use stage 1, 2 or 3"),
    ],
)
def test_what_contradicts_the_flags_is_refused(config, settings, said):
    with pytest.raises(ConfigError, match=said):
        fill_in({"zero_optimization": {"stage": 2}, **settings}, config, 2)


def test_a_configuration_that_is_not_there_is_one_line(config, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", "absent.json")
    with pytest.raises(ConfigError, match="accelerate: Expected a string path to an existing deepspeed config.*absent"):
        train.run(config)
