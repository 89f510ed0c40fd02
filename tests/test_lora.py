"""Low-rank adapters: what is frozen stays, what is merged says the same, and runs go on to the bit."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_encoder import SENTENCES
from training_runs import assert_equal_weights, run_interrupted, small_run, weights

from bioemb import checkpoint
from bioemb.config import TrainConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, DataError
from bioemb.lora import adapter_tensors, add_adapters, load_adapters, merged
from bioemb.stages import train

RANK, LAYERS = 3, 2


@pytest.fixture
def encoder(tiny_encoder_folder) -> Encoder:
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    add_adapters(encoder, RANK, alpha=6.0, dropout=0.0, target_modules=(), seed=1)
    return encoder


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    small = small_run(tmp_path, tiny_encoder_folder)
    return replace(small, use_lora=True, lora_rank=RANK, learning_rate=1e-2)


def shake(encoder: Encoder) -> None:
    """Give every adapter something to say."""
    with torch.no_grad():
        for number, tensor in enumerate(adapter_tensors(encoder).values()):
            tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)) / 4)


def test_adapters_stand_beside_every_linear_layer_and_nothing_else_is_trained(encoder):
    found = adapter_tensors(encoder)
    assert len(found) == LAYERS * 6 * 2 and not any("pooler" in name for name in found)
    assert {name for name, weight in encoder.named_parameters() if weight.requires_grad} == found.keys()
    assert {tuple(weight.shape) for name, weight in found.items() if "lora_A" in name} == {(RANK, 32), (RANK, 64)}


def test_fresh_adapters_change_nothing_and_depend_on_the_seed_alone(encoder, tiny_encoder_folder):
    plain = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    np.testing.assert_array_equal(encoder.encode(SENTENCES), plain.encode(SENTENCES))
    torch.manual_seed(77)
    for seed, is_same in ((1, True), (2, False)):
        other = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
        add_adapters(other, RANK, 6.0, 0.0, (), seed)
        pairs = zip(adapter_tensors(encoder).values(), adapter_tensors(other).values(), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs) == is_same


def test_the_merged_encoder_says_what_the_adapters_say_and_leaves_them_alone(encoder, tmp_path):
    shake(encoder)
    with_adapters = encoder.encode(SENTENCES)
    before = {name: weight.clone() for name, weight in encoder.named_parameters()}
    merged(encoder).save(tmp_path / "merged")
    again = Encoder.from_pretrained(tmp_path / "merged").encode(SENTENCES)
    np.testing.assert_allclose(again, with_adapters, rtol=0, atol=1e-5)
    assert all(torch.equal(before[name], weight) for name, weight in encoder.named_parameters())


def test_merging_adds_the_product_of_the_two_matrices(encoder):
    shake(encoder)
    name = "backbone.encoder.layer.1.intermediate.dense"
    parts = dict(encoder.named_parameters())
    a, b = (parts[f"{name}.lora_{side}.default.weight"] for side in "AB")
    expected = parts[f"{name}.base_layer.weight"] + 6.0 / RANK * b @ a
    torch.testing.assert_close(dict(merged(encoder).named_parameters())[f"{name}.weight"], expected)


def test_an_encoder_without_adapters_is_its_own_merger(tiny_encoder_folder):
    plain = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    assert merged(plain) is plain and adapter_tensors(plain) == {}


def test_adapters_of_another_model_are_refused(encoder):
    with pytest.raises(DataError, match="24"):
        load_adapters(encoder, {"x": torch.zeros(1)})


def test_layers_that_are_not_there_are_named(tiny_encoder_folder):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    with pytest.raises(ConfigError, match="no such layers; there are dense, key, query, value"):
        add_adapters(encoder, RANK, 6.0, 0.0, ("q_proj",), 0)


def test_without_peft_the_way_to_it_is_said(tiny_encoder_folder, monkeypatch):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    imported = builtins.__import__

    def without_peft(name, *rest):
        if name == "peft":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(ConfigError, match=r"pip install 'bioemb\[lora\]'"):
        add_adapters(encoder, RANK, 6.0, 0.0, (), 0)


@pytest.mark.parametrize("changes", [{}, {"lora_dropout": 0.2, "ema_decay": 0.8, "average_with_start": 0.25}])
def test_an_interrupted_run_ends_with_the_same_bits(config, monkeypatch, changes):
    config = replace(config, **changes)
    train.run(config)
    other = replace(config, output_dir=config.output_dir + "-interrupted")
    run_interrupted(other, 3, monkeypatch)
    newest = checkpoint.list_checkpoints(other.output_dir)[-1]
    assert len(load_file(newest / "adapters.safetensors")) == LAYERS * 6 * 2
    assert len(load_file(newest / "optimizer.safetensors")) == LAYERS * 6 * 2 * 3  # no state of what is frozen
    train.run(other)
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)


def test_only_the_adapted_layers_differ_from_the_start(config):
    train.run(replace(config, target_modules=("query", "value"), num_train_epochs=1))
    start, end = weights(config.model_name_or_path), weights(config.output_dir)
    changed = {name for name in start if not torch.equal(start[name], end[name])}
    layers = range(LAYERS)
    assert changed == {f"encoder.layer.{n}.attention.self.{x}.weight" for n in layers for x in ("query", "value")}


def test_the_best_adapters_come_back(config, tmp_path, monkeypatch):
    from bioemb.held_out import METRICS
    from bioemb.trainer import Trainer

    monkeypatch.setattr(Trainer, "evaluate", lambda self: dict.fromkeys(METRICS, {2: 0.9}.get(self.done, 0.1)))
    config = replace(config, eval_data=config.train_data, load_best_model_at_end=True, eval_steps=1, max_steps=4)
    other = tmp_path / "other.jsonl"
    other.write_text('{"query": "elsewhere", "pos": ["nothing of it"]}\n')
    config = replace(config, eval_data=(str(other),))
    train.run(config)
    assert_equal_weights(config.output_dir, f"{config.output_dir}/checkpoint-2", atol=0)
