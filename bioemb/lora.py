"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft: a few small matrices are trained, the model stays as it is.

    y = W x + (alpha / rank) B A x          A: [rank, in], random; B: [out, rank], zero at first; W frozen

A checkpoint has the adapters beside a model in which they are merged into W; what is saved in the end is such a model,
so that it loads everywhere and is as fast as the one it came from.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, DataError

ADAPTER = "default"  # peft's name for it


def add_adapters(
    encoder: Encoder, rank: int, alpha: float, dropout: float, target_modules: Sequence[str], seed: int
) -> None:
    """Freeze the encoder and put an adapter beside the linear layers so named, or beside all. Raises ConfigError."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ConfigError("--use_lora needs peft; install it with: pip install 'bioemb[lora]'") from None
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(target_modules) or _linear_layers(encoder.backbone),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            inject_adapter_in_model(settings, encoder.backbone, adapter_name=ADAPTER)
        except ValueError as error:
            layers = sorted({name.rsplit(".", 1)[-1] for name in _linear_layers(encoder.backbone)})
            raise ConfigError(
                f"--target_modules {' '.join(target_modules)}: no such layers; there are {', '.join(layers)} ({error})"
            ) from None
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and "pooler." not in name)


def adapter_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The adapters' weights by name; none where there are no adapters."""
    return {name: weight for name, weight in module.named_parameters() if ".lora_" in name}


@torch.no_grad()
def load_adapters(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `adapter_tensors` gave. Raises DataError where these are another model's."""
    here = adapter_tensors(module)
    if here.keys() != tensors.keys():
        raise DataError(f"these adapters belong to another model: {len(tensors)} matrices, expected {len(here)}")
    for name, weight in here.items():
        weight.copy_(tensors[name])


def merged(encoder: Encoder) -> Encoder:
    """The encoder itself, or a copy with its adapters merged into its weights where it has some."""
    if not adapter_tensors(encoder):
        return encoder
    result = copy.deepcopy(encoder)
    for name, layer in list(result.named_modules()):
        if hasattr(layer, "base_layer"):
            layer.merge()
            parent, _, last = name.rpartition(".")
            setattr(result.get_submodule(parent), last, layer.get_base_layer())
    return result


def _linear_layers(backbone: nn.Module) -> list[str]:
    """All linear layers by name, but the pooler's, whose output is never used."""
    return [
        name
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith("pooler.") and ".lora_" not in name
    ]
