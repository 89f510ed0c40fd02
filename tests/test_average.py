"""Averages of trained encoders, against sums of their weights by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_encoder import write_tiny_encoder

from bioemb.config import AverageConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, ModelError
from bioemb.manifest import read_manifest
from bioemb.stages import average


@pytest.fixture
def averaging(tmp_path) -> AverageConfig:
    models = [str(write_tiny_encoder(tmp_path / f"seed{seed}", seed=seed)) for seed in range(3)]
    return AverageConfig(model_path=tuple(models), output_dir=str(tmp_path / "mean"))


def weights_of(folder) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


@pytest.mark.parametrize("counts", [(), (2.0, 1.0, 5.0)])
def test_weights_are_the_mean_that_was_asked_for(averaging, counts):
    average.run(replace(averaging, weights=counts))
    models, shares = [weights_of(name) for name in averaging.model_path], counts or (1.0,) * 3
    found = weights_of(averaging.output_dir)
    assert set(found) == set(models[0])
    for name, weight in found.items():
        expected = sum(share * model[name].double() for share, model in zip(shares, models, strict=True)) / sum(shares)
        torch.testing.assert_close(weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert read_manifest(averaging.output_dir)["counts"]["models"] == ["seed0", "seed1", "seed2"]
    first = Encoder.from_pretrained(averaging.model_path[0]).layout
    assert Encoder.from_pretrained(averaging.output_dir).layout.prompts == first.prompts


def test_the_same_again_does_nothing_and_another_weighting_is_refused(averaging):
    average.run(averaging)
    assert average.run(averaging).endswith("is complete; nothing to do")
    with pytest.raises(ConfigError, match="weights was .*; use --overwrite"):
        average.run(replace(averaging, weights=(1.0, 1.0, 2.0)))


def test_models_that_are_no_kin_are_refused(averaging, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in Path(averaging.model_path[0]).iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    deeper = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**deeper, "num_hidden_layers": deeper["num_hidden_layers"] - 1}))
    with pytest.raises(ModelError, match="has another architecture than .*weights differ in name or shape"):
        average.run(replace(averaging, model_path=(averaging.model_path[0], str(other))))
    assert not Path(averaging.output_dir).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_path": ("one",)}, "names 1 model; an average is of two or more"),
        ({"weights": (1.0, 2.0)}, "2 --weights for 3 models"),
        ({"weights": (1.0, 0.0, 1.0)}, "expected numbers above 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(averaging, change, said):
    with pytest.raises(ConfigError, match=said):
        replace(averaging, **change)


def test_the_output_is_none_of_the_models(averaging):
    with pytest.raises(ConfigError, match="is one of the models"):
        average.run(replace(averaging, output_dir=averaging.model_path[1]))


def test_models_of_other_vocabularies_are_refused(averaging):
    path = Path(averaging.model_path[1]) / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["mice"], vocabulary["weight"] = vocabulary["weight"], vocabulary["mice"]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="seed1 has another vocabulary"):
        average.run(averaging)
