"""Linear layers for encoding in bfloat16 on a CPU: their weights are laid out once as oneDNN's products want them.

A product of a plain weight lays it out anew each time, some 7 % of the time of batches of a few thousand tokens. These
are the operators that torch.compile itself puts in the place of linear layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ROWS = 2048  # of a product: what the layout is best for; any number works


@contextmanager
def packed_linears(module: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Within, the module's linear layers compute in bfloat16, without gradient; where the hardware cannot, as ever.

    Their results are bfloat16, as by autocast. Weights that change within are not seen.
    """
    packed = []
    try:
        if wanted and is_supported():
            for layer in module.modules():
                if type(layer) is nn.Linear and "forward" not in vars(layer):
                    layer.forward = _forward(layer)
                    packed.append(layer)
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


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    bias = None if layer.bias is None else layer.bias.detach().bfloat16()
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().bfloat16(), ROWS)

    def forward(x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x.bfloat16(), weight, bias, "none", [], "")

    return forward
