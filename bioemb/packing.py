"""Many texts as one row of tokens, without padding: positions restart with each text, attention stays within it.

A backbone takes part where its attention goes through transformers' AttentionInterface; `prepare` finds out.
`packed_attention.py` computes the attention; texts sorted by length give it few runs of equally long ones.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioemb.packed_attention import Segments, attend

NAME = "bioemb_packed"
WINDOWS = ("sliding_window", "local_attention")  # of a configuration whose attention does not reach all of a text


class Packed(NamedTuple):
    """n texts of T tokens in all, or fewer tokens and then what fills the row."""

    input_ids: Tensor  # [1, T]
    position_ids: Tensor  # [1, T]
    segments: Segments

    def to(self, device: torch.device | str) -> "Packed":
        segments = self.segments._replace(offsets=self.segments.offsets.to(device))
        return Packed(self.input_ids.to(device), self.position_ids.to(device), segments)


def pack(token_ids: Sequence[Sequence[int]], first_position: int = 0, multiple: int = 1) -> Packed:
    """Token ids of each text as one row.

    first_position: the position of a text's first token in this model; multiple: fill the row up to a multiple of so
    many tokens, with one more text at its end that means nothing.
    """
    ids = [number for text in token_ids for number in text]
    lengths = tuple(map(len, token_ids))
    positions = [torch.arange(length) for length in lengths]
    missing = -len(ids) % multiple
    if missing:
        ids += [ids[0]] * missing
        lengths += (missing,)
        positions.append(torch.zeros(missing, dtype=torch.long))
    offsets = F.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0), (1, 0)).to(torch.int32)
    position_ids = torch.cat(positions) + first_position
    return Packed(torch.tensor([ids]), position_ids[None], Segments(offsets, lengths, len(token_ids)))


def first_position(backbone: nn.Module) -> int:
    """0, or 1 above the padding's position in models of RoBERTa's kind."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def prepare(backbone: nn.Module) -> bool:
    """Let a backbone attend to packed rows; False, and the backbone as it was, where it cannot.

    Two short texts are run packed and alone: whatever a model does with its arguments, packed rows are used only where
    they give the same vectors.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    config = backbone.config
    windowed = any(getattr(config, name, None) for name in WINDOWS) or any(
        kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()
    )
    if windowed:
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _mask)
    before = config._attn_implementation
    try:
        backbone.set_attn_implementation(NAME)
        if config._attn_implementation == NAME and _gives_the_same(backbone):
            return True
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, NotImplementedError):
        pass  # it takes other arguments, or hands them on to nobody
    if config._attn_implementation != before:
        backbone.set_attn_implementation(before)
    return False


def has_kernel(device: torch.device) -> bool:
    """Whether packed rows are worth it there: always on a CPU; on CUDA in half precision, by the kernel of torch."""
    if device.type == "cpu":
        return True
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    return find_spec("torch.nn.attention.varlen") is not None  # torch 2.10 and later


def _mask(attention_mask: Tensor | None = None, **rest: object) -> Tensor | None:
    """No mask for packed rows, which come without one; sdpa's for padded ones."""
    from transformers.masking_utils import sdpa_mask

    return None if attention_mask is None else sdpa_mask(attention_mask=attention_mask, **rest)


def _gives_the_same(backbone: nn.Module) -> bool:
    """Whether two texts have the same vectors packed as alone."""
    texts = [[5, 6, 7, 5, 8], [8, 5, 6]]
    if backbone.config.vocab_size <= max(map(max, texts)):
        return False
    packed = pack(texts, first_position(backbone)).to(backbone.device)
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            row = backbone(
                input_ids=packed.input_ids, position_ids=packed.position_ids, segments=packed.segments
            ).last_hidden_state[0]
            alone = []
            for text in texts:
                ids = torch.tensor([text], device=backbone.device)
                alone.append(backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0])
    finally:
        backbone.train(was_training)
    return torch.allclose(row, torch.cat(alone), rtol=1e-3, atol=1e-4)
