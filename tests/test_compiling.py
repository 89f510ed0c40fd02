"""`--torch_compile`: the run of the plain model, or a word on what is missing."""

from dataclasses import replace

import pytest
import torch
from training_runs import assert_equal_weights, small_run

from bioemb.errors import ConfigError
from bioemb.stages import train


def test_a_compiled_run_ends_with_the_weights_of_the_plain_one(tmp_path, tiny_encoder_folder):
    config = replace(small_run(tmp_path, tiny_encoder_folder), max_steps=3)
    train.run(config)
    torch._dynamo.reset()
    compiled = replace(config, output_dir=str(tmp_path / "compiled"), torch_compile=True, torch_compile_backend="eager")
    train.run(compiled)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert_equal_weights(config.output_dir, compiled.output_dir, atol=1e-6)


def test_an_unknown_backend_is_refused_with_the_nearest_one(tmp_path, tiny_encoder_folder):
    config = small_run(tmp_path, tiny_encoder_folder)
    with pytest.raises(ConfigError, match="did you mean 'inductor'"):
        train.run(replace(config, torch_compile=True, torch_compile_backend="inducter"))


def test_a_missing_compiler_is_named(tmp_path, tiny_encoder_folder, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"C\+\+ compiler"):
        train.run(replace(small_run(tmp_path, tiny_encoder_folder), torch_compile=True))
