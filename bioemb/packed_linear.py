"""Linear layers for encoding in bfloat16 on a CPU: their weights are laid out once as oneDNN's products want them.

A product of a plain weight lays it out anew each time, some 7 % of the time of batches of a few thousand tokens. Where
a layer of BERT's kind applies GELU to a product, oneDNN does so while the product is in cache: a pass of its own takes
longer than the product does with AMX. These are the operators that torch.compile itself puts in linear layers' place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 2048  # of a product: what the layout is best for; any number works


@contextmanager
def packed_linears(module: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Within, the module's linear layers compute in bfloat16, without gradient; where the hardware cannot, as ever.

    Their results are bfloat16, as by autocast. Weights that change within are not seen.
    """
    packed: list[nn.Module] = []
    within: set[nn.Module] = set()  # what is replaced, as a part of it
    try:
        for layer in module.modules() if wanted and is_supported() else ():
            forward = None if layer in within or "forward" in vars(layer) else _forward(layer)
            if forward is not None:
                layer.forward = forward
                packed.append(layer)
            if "forward" in vars(layer):
                within.update(layer.children())
        yield
    finally:
        for layer in packed:
            vars(layer).pop("forward", None)


def is_supported() -> bool:
    """Whether this build of torch has the operators, and this processor their products."""
    try:
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except AttributeError:
        return False


def _forward(layer: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """What does the layer's work; None where it is neither a linear layer nor one with its GELU."""
    if type(layer) is nn.Linear:
        return _product(layer, "none", "")
    if {name for name, _ in layer.named_children()} != {"dense", "intermediate_act_fn"}:
        return None
    if type(layer.dense) is not nn.Linear or "forward" in vars(layer.dense):
        return None
    algorithm = _algorithm(layer.intermediate_act_fn)
    forward = _product(layer.dense, "gelu", algorithm) if algorithm else None
    return forward if forward and _do_the_same(layer, forward) else None


def _algorithm(activation: Callable[[Tensor], Tensor]) -> str | None:
    """Which of torch's two forms of GELU this is, if any."""
    x = torch.linspace(-4, 4, 1000, dtype=torch.float64)
    found = activation(x)
    return next((name for name in ("none", "tanh") if torch.allclose(found, F.gelu(x, approximate=name))), None)


def _product(layer: nn.Linear, activation: str, algorithm: str) -> Callable[[Tensor], Tensor]:
    bias = None if layer.bias is None else layer.bias.detach().bfloat16()
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().bfloat16(), ROWS)

    def forward(x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x.bfloat16(), weight, bias, activation, [], algorithm)

    return forward


def _do_the_same(layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> bool:
    """Whether both make the same of some inputs: layers of other models may have more to do."""
    width = layer.dense.in_features
    x = torch.linspace(-2, 2, 4 * width).reshape(width, 4).T.contiguous()
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            expected = layer(x).float()
    except (TypeError, ValueError, RuntimeError):
        return False
    return torch.allclose(forward(x).float(), expected, rtol=2**-6, atol=2**-6 * float(expected.abs().max()))
