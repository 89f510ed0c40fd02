"""The door to ONNX: an encoder's backbone as a graph for onnxruntime, in float32 or int8, and vectors made by it.

The graph takes `input_ids` and `attention_mask` [n, t] and gives `last_hidden_state` [n, t, d], for any n and t.
Pooling and normalisation stay out of it: the folder's files say them, where sentence-transformers and
text-embeddings-inference read them. torch's own exporter writes it: optimum's is bound to older transformers.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioemb.encoder import Encoder, Kind, is_causal
from bioemb.encoding import evaluating, token_batches
from bioemb.errors import ConfigError, ModelError
from bioemb.pooling import pool_padded

if TYPE_CHECKING:
    import onnx_ir

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "last_hidden_state"
POOLINGS = ("cls", "mean", "max")
MAX_FILE_BYTES = 2_000_000_000  # protobuf ends at 2 GiB; the weights of a larger model stand in a file beside


class OnnxEncoder:
    """Texts to vectors by onnxruntime on the CPU; tokens, pooling, normalisation and prompts are the encoder's."""

    def __init__(self, encoder: Encoder, graph: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.encoder = encoder
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def encode(self, texts: Sequence[str], *, kind: Kind | None = None) -> np.ndarray:
        """float32 [n, d] in input order, as `Encoder.encode` gives them."""
        token_ids = self.encoder.token_ids(texts, kind)
        vectors = np.empty((len(texts), self.encoder.width), np.float32)
        for rows in token_batches([len(ids) for ids in token_ids], self.encoder.batch_tokens):
            vectors[rows] = self.embed([token_ids[row] for row in rows])
        return vectors

    def embed(self, token_ids: Sequence[list[int]]) -> np.ndarray:
        """float32 [n, d] of the token ids of n texts, as one padded batch."""
        layout, tokens = self.encoder.layout, self.encoder.pad(token_ids)
        (hidden,) = self.session.run([OUTPUT], {name: tensor.numpy() for name, tensor in tokens.items()})
        vectors = pool_padded(layout.pooling, torch.from_numpy(hidden), tokens["attention_mask"])  # [n, d]
        return (F.normalize(vectors, dim=-1) if layout.normalize else vectors).numpy()


def require_exportable(encoder: Encoder) -> None:
    """Refuse what the graph or its readers cannot do, before any work. Raises ConfigError, ModelError."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401 - torch's exporter writes with it
    except ImportError as error:
        raise ConfigError(f"the export needs {error.name}; install it with: pip install 'bioemb[onnx]'") from None
    name = encoder.source or "the model"
    if is_causal(encoder.backbone):
        raise ModelError(f"{name} is a decoder ({encoder.backbone.config.model_type}); only encoders are exported")
    if encoder.layout.pooling not in POOLINGS:
        raise ModelError(f"{name} pools by {encoder.layout.pooling}; exported are {', '.join(POOLINGS)}")


def write_graph(encoder: Encoder, path: Path) -> None:
    """Write the backbone in float32. Raises ModelError.

    The encoder must be on the CPU, and is left as it was.
    """
    example = {name: torch.ones(3, 7, dtype=torch.int64) for name in INPUTS}  # of sizes that no layer has
    example["attention_mask"][1, 5:] = 0
    axes = {0: "texts", 1: "tokens"}
    try:
        with _plain_attention(encoder.backbone), evaluating(encoder), _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _LastHiddenState(encoder.backbone),
                kwargs=example,
                dynamo=True,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=dict.fromkeys(INPUTS, axes),
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, ValueError) as error:
        raise ModelError(
            f"{encoder.source or 'the model'} ({encoder.backbone.config.model_type}) cannot be exported: "
            f"torch's exporter says {_first_line(error)!r}"
        ) from error
    save_graph(program.model, path)


def save_graph(model: "onnx_ir.Model", path: Path) -> None:
    """Write a graph; above 2 GB its weights go to a file `NAME_data` beside."""
    import onnx_ir

    size = sum(weight.const_value.nbytes for weight in model.graph.initializers.values() if weight.const_value)
    onnx_ir.save(model, path, external_data=f"{path.name}_data" if size > MAX_FILE_BYTES else None)


def write_int8(graph: Path, path: Path) -> None:
    """Write the graph with its weights in int8, each output of a layer with its own scale; activations are rounded as
    they come. Weights take 7 of the 8 bits, so that no processor's sums of 16 bits overflow."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            graph,
            path,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            use_external_data_format=any(graph.parent.glob(f"{graph.name}_data")),
        )


class _LastHiddenState(nn.Module):
    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


@contextmanager
def _plain_attention(backbone: nn.Module) -> Iterator[None]:
    """Attention in plain products, which ONNX has operators for, in place of packed rows; then as it was."""
    before = backbone.config._attn_implementation
    backbone.set_attn_implementation("eager")
    try:
        yield
    finally:
        backbone.set_attn_implementation(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's words on operators that no encoder has."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error  # the exporter's own words are a page on how to report it
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
