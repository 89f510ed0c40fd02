"""Linear layers with weights laid out once: the products of autocast, and the layers as they were afterwards."""

import pytest
import torch
from torch import nn

from bioemb.packed_linear import is_supported, packed_linears

needs_bf16 = pytest.mark.skipif(not is_supported(), reason="this processor has no bfloat16 products of oneDNN")


def make_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 32, bias=False))


@needs_bf16
@pytest.mark.parametrize("rows", [1, 7, 64, 3000])
def test_results_are_those_of_autocast_within_the_last_digit(rows):
    layers, x = make_layers(), torch.randn(1, rows, 48)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = layers(x)
        with packed_linears(layers):
            found = layers(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), rtol=2**-7, atol=2**-8)


@needs_bf16
def test_within_the_layers_are_replaced_and_afterwards_they_are_as_before_even_after_an_error():
    layers, x = make_layers(), torch.randn(5, 48)
    before = layers(x)
    with pytest.raises(ZeroDivisionError), packed_linears(layers):
        assert layers[0](x).dtype == torch.bfloat16
        assert "forward" in vars(layers[2])
        raise ZeroDivisionError
    assert not any("forward" in vars(layer) for layer in layers)
    assert torch.equal(layers(x), before)


def test_where_it_is_not_wanted_or_not_supported_nothing_changes(monkeypatch):
    layers, x = make_layers(), torch.randn(5, 48)
    before = layers(x)
    with packed_linears(layers, wanted=False):
        assert torch.equal(layers(x), before)
    monkeypatch.setattr("bioemb.packed_linear.is_supported", lambda: False)
    with packed_linears(layers):
        assert torch.equal(layers(x), before)


class Intermediate(nn.Module):
    """As in transformers' models of BERT's kind; `more` is what another model might do beside."""

    def __init__(self, activation: nn.Module, more: float = 0.0):
        super().__init__()
        self.dense, self.intermediate_act_fn, self.more = nn.Linear(48, 96), activation, more

    def forward(self, x):
        return self.intermediate_act_fn(self.dense(x)) + self.more


@needs_bf16
@pytest.mark.parametrize("form", ["none", "tanh"])
def test_gelu_after_a_product_is_applied_with_it_and_rounds_once_less(form):
    torch.manual_seed(0)
    layer, x = Intermediate(nn.GELU(form)), torch.randn(1, 70, 48)
    dense = layer.dense
    exact = nn.functional.gelu(
        x.bfloat16().double() @ dense.weight.bfloat16().double().T + dense.bias.bfloat16().double(), approximate=form
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        apart = layer(x)
        with packed_linears(layer):
            found = layer(x)
            assert "forward" in vars(layer)
            assert "forward" not in vars(dense)
    assert not vars(layer).get("forward")
    assert found.dtype == apart.dtype == torch.bfloat16
    assert (found - exact).norm() < (apart - exact).norm()


@needs_bf16
@pytest.mark.parametrize("layer", [Intermediate(nn.ReLU()), Intermediate(nn.SiLU()), Intermediate(nn.GELU(), 0.1)])
def test_a_layer_that_does_anything_else_keeps_its_forward_and_gets_a_packed_product(layer):
    x = torch.randn(3, 48)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        with packed_linears(layer):
            assert "forward" not in vars(layer)
            assert "forward" in vars(layer.dense)
            assert torch.allclose(layer(x).float(), expected.float(), rtol=2**-6, atol=2**-7)


@needs_bf16
def test_two_encodings_at_once_leave_the_layers_whole():
    layers, x = make_layers(), torch.randn(5, 48)
    before = layers(x)
    with packed_linears(layers):
        with packed_linears(layers):  # another thread's
            pass
        layers(x)
    assert torch.equal(layers(x), before)
