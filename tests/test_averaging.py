"""Averages of weights against their formulas, and through training runs."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_runs import assert_equal_weights, run_interrupted, small_run, weights

from bioemb.averaging import MovingAverage, average_with
from bioemb.config import TrainConfig
from bioemb.errors import ConfigError, DataError
from bioemb.stages import train


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    return small_run(tmp_path, tiny_encoder_folder)


def module_of(*values: float) -> nn.Module:
    module = nn.Linear(1, len(values), bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(values)[:, None])
    return module


def test_the_moving_average_is_its_formula_with_the_decay_reached_gradually():
    module = module_of(1.0, 4.0)
    average = MovingAverage(module, 0.25)
    expected = torch.tensor([1.0, 4.0])
    for step, values in enumerate([(3.0, 0.0), (-2.0, 8.0), (5.0, 1.0), (0.5, 2.0)], start=1):
        decay = [2 / 11, 3 / 12, 0.25, 0.25][step - 1]
        expected = decay * expected + (1 - decay) * torch.tensor(values)
        with torch.no_grad():
            module.weight.copy_(torch.tensor(values)[:, None])
        average.update(module, step)
    average.put_into(module)
    torch.testing.assert_close(module.weight.detach()[:, 0], expected)


def test_what_is_not_trained_is_not_averaged():
    module = nn.Sequential(module_of(1.0), module_of(2.0))
    module[0].weight.requires_grad_(False)
    assert list(MovingAverage(module, 0.9).weights) == ["1.weight"]


@pytest.mark.parametrize(("share", "expected"), [(0.0, (2.0, -1.0)), (0.25, (1.0, 0.0)), (1.0, (-2.0, 3.0))])
def test_the_share_is_the_other_models(share, expected):
    module = module_of(2.0, -1.0)
    average_with(module, module_of(-2.0, 3.0), share)
    assert module.weight[:, 0].tolist() == list(expected)


def test_weights_of_another_model_are_refused():
    with pytest.raises(DataError, match="another model: 1 differ in name, first bias"):
        average_with(nn.Linear(2, 2), nn.Linear(2, 2, bias=False), 0.5)
    with pytest.raises(DataError, match="another model"):
        MovingAverage(nn.Linear(2, 2), 0.5).load({"weight": torch.zeros(2, 2)})


def test_a_run_averaged_with_its_start_lies_between_the_two(config):
    train.run(config)
    averaged = replace(config, output_dir=config.output_dir + "-averaged", average_with_start=0.25)
    train.run(averaged)
    start, end, found = (weights(x) for x in (config.model_name_or_path, config.output_dir, averaged.output_dir))
    for name, value in found.items():
        torch.testing.assert_close(value, 0.75 * end[name] + 0.25 * start[name], rtol=0, atol=1e-6)
    assert any((end[name] - start[name]).abs().max() > 1e-3 for name in found)


def test_the_saved_model_is_the_moving_average_of_the_runs_weights(config):
    config = replace(config, save_steps=1, num_train_epochs=1)
    train.run(config)
    other = replace(config, output_dir=config.output_dir + "-average", ema_decay=0.2)
    train.run(other)
    average = weights(config.model_name_or_path)
    steps = [*(f"{config.output_dir}/checkpoint-{step}" for step in (1, 2, 3)), config.output_dir]
    for step, folder in enumerate(steps, start=1):
        decay = min(0.2, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * value for name, value in weights(folder).items()}
    for name, value in weights(other.output_dir).items():
        torch.testing.assert_close(value, average[name], rtol=0, atol=1e-6)
    assert_equal_weights(f"{config.output_dir}/checkpoint-2", f"{other.output_dir}/checkpoint-2", atol=0)


def test_averages_of_an_interrupted_run_end_with_the_same_bits(config, monkeypatch):
    config = replace(config, ema_decay=0.9, average_with_start=0.3)
    train.run(config)
    other = replace(config, output_dir=config.output_dir + "-interrupted")
    run_interrupted(other, 3, monkeypatch)
    average, live = (load_file(f"{other.output_dir}/checkpoint-5/{name}.safetensors") for name in ("average", "model"))
    assert any(not torch.equal(value, live[name.removeprefix("backbone.")]) for name, value in average.items())
    train.run(other)
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)


@pytest.mark.parametrize("changes", [{"ema_decay": 1.0}, {"average_with_start": 1.5}])
def test_shares_outside_their_range_are_refused(config, changes):
    with pytest.raises(ConfigError, match="expected"):
        replace(config, **changes)
