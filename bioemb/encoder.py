"""The encoder: a transformers backbone, pooling and normalisation, with the prompts and lengths that belong to it.

`model_folder.py` reads and writes the folders; `encoding.py` encodes a corpus; `trainer.py` trains.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioemb.encoding import encode_texts
from bioemb.errors import ConfigError, DataError, ModelError
from bioemb.files import give_usual_mode
from bioemb.log import logger
from bioemb.model_folder import (
    TOKENIZER_FILES,
    TOKENIZER_PARTS,
    Layout,
    find_folder,
    read_layout,
    weights_hash,
    write_layout,
)
from bioemb.packing import Packed, first_position, has_kernel, pack, prepare
from bioemb.pooling import POOLING, pool_padded

Tokens = dict[str, Tensor]  # input_ids [n, t], attention_mask [n, t]
Kind = Literal["query", "passage"]
UNBOUNDED = 1_000_000  # tokens, of a model without positions
CHARACTERS = 100  # for each token: what a very long text is cut to, or WIDER times it where that holds too few of them
WIDER = 16  # beyond, runs of blanks or of one endless word are not worth minutes
TOKENISED_AT_ONCE = 256  # texts: beside the numbers, a tokenizer makes offsets and words, a hundred bytes a token
CPU_BATCH_TOKENS = 2048  # fits the caches of a core or two; larger batches were slower
GPU_BATCH_TOKENS = 65536
HALF_ROW_MULTIPLE = 64  # on a CPU: of a row in half precision (`attention_parts.py` says why)


class Encoder(nn.Module):
    """Texts to vectors of width `width`; of length 1 when `normalize`, so that products are cosines."""

    def __init__(self, backbone: nn.Module, tokenizer, layout: Layout):
        """backbone: a transformers model; layout: pooling, normalisation, prompts and length, all given."""
        super().__init__()
        self.backbone, self.tokenizer, self.layout = backbone, tokenizer, layout
        self.max_length = {"query": layout.max_length, "passage": layout.max_length, None: layout.max_length}
        self.source = ""  # path or name that it was loaded from
        self.weights_hash = ""  # of the folder that it was loaded from
        self.packs = prepare(backbone)  # whether texts can stand in one row without padding
        self.first_position = first_position(backbone)
        self.options = {"use_cache": False} if is_causal(backbone) else {}  # keys and values are for generation
        for name, parameter in backbone.named_parameters():
            if "pooler." in name:  # saved as it came, never used: DDP must not wait for its gradient
                parameter.requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        pooling: str = "auto",
        normalize: bool | None = None,
        prompts: dict[str, str | None] | None = None,
        trust_remote_code: bool = False,
    ) -> "Encoder":
        """Load a folder (sentence-transformers layout or plain transformers) or a hub name; weights in float32.

        What the folder says of pooling, normalisation and prompts holds unless given here. Raises ModelError.
        """
        folder = find_folder(path_or_name)
        layout = read_layout(folder)
        backbone, tokenizer = _load(layout.backbone, trust_remote_code)
        given = {kind: text for kind, text in (prompts or {}).items() if text is not None}
        layout = Layout(
            backbone=layout.backbone,
            pooling=_choose_pooling(pooling, layout, backbone, path_or_name),
            normalize=next(choice for choice in (normalize, layout.normalize, True) if choice is not None),
            max_length=min(layout.max_length or tokenizer.model_max_length, positions(backbone)),
            lower_case=layout.lower_case,
            prompts={"query": "", "passage": "", **layout.prompts, **given},
        )
        encoder = cls(backbone, tokenizer, layout)
        encoder.source, encoder.weights_hash = str(path_or_name), weights_hash(folder)
        return encoder

    @property
    def width(self) -> int:
        return self.backbone.config.hidden_size

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    @property
    def is_compiled(self) -> bool:
        """Whether torch.compile has taken over the backbone, which one thread at a time may then run."""
        return getattr(self.backbone, "_compiled_call_impl", None) is not None

    @property
    def batch_tokens(self) -> int:
        """Tokens that the device takes at once at its best pace."""
        return CPU_BATCH_TOKENS if self.device.type == "cpu" else GPU_BATCH_TOKENS

    def to_best_device(self) -> "Encoder":
        """Move to the GPU where there is one."""
        return self.to("cuda") if torch.cuda.is_available() else self

    def set_max_length(self, query: int | None = None, passage: int | None = None) -> None:
        """Cut queries and passages at these lengths in tokens. Raises ConfigError beyond the model's positions."""
        limit = positions(self.backbone)
        for kind, length in (("query", query), ("passage", passage)):
            if length is not None:
                if not 2 < length <= limit:
                    raise ConfigError(
                        f"{kind} length is {length} tokens; {self.source or 'the model'} takes 3..{limit}"
                    )
                self.max_length[kind] = length

    def set_dropout(self, share: float) -> None:
        """Drop this share in training, in place of what the model's configuration says (which is saved as it came)."""
        for module in self.backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
            for name in ("attention_dropout", "dropout_prob", "dropout"):  # where attention takes a number
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, share)

    def forward(self, *groups: Tokens | Packed) -> tuple[Tensor, ...]:
        """Vectors [n_i, d] of each group of n_i texts; one call per step, so that DDP sees one forward."""
        return tuple(self._embed(tokens) for tokens in groups)

    def encode(
        self, texts: Sequence[str], *, kind: Kind | None = None, batch_tokens: int | None = None, bf16: bool = False
    ) -> np.ndarray:
        """float32 [n, d] in input order, finite; kind None adds no prompt. Raises ModelError, DataError."""
        return encode_texts(self, texts, kind, batch_tokens=batch_tokens, bf16=bf16)

    def token_ids(
        self, texts: Sequence[str], kind: Kind | None, prompts: Sequence[str | None] | None = None
    ) -> list[list[int]]:
        """The token ids of each text with its prompt, cut at the kind's length, not padded.

        prompts: a text's own, one each, None where the kind's prompt is to stand.
        """
        if not texts:
            return []
        default = self.layout.prompts[kind] if kind else ""
        own = [default if prompt is None else prompt for prompt in prompts or [None] * len(texts)]
        whole = [prompt + text for prompt, text in zip(own, texts, strict=True)]
        if self.layout.lower_case:
            whole = [text.lower() for text in whole]
        token_ids = self._tokenise(whole, self.max_length[kind])
        if not all(token_ids):
            empty = next(text for text, ids in zip(texts, token_ids, strict=True) if not ids)
            error = DataError(f"the tokenizer of {self.source or 'the model'} finds nothing in the text {empty[:80]!r}")
            error.text = empty
            raise error
        return token_ids

    def _tokenise(self, texts: list[str], limit: int) -> list[list[int]]:
        """The first `limit` tokens of each text, looked for in the first characters of a very long one."""
        begun = texts  # where a tokenizer keeps the end of a text, nothing is cut before it
        if getattr(self.tokenizer, "truncation_side", "right") == "right":
            begun = [beginning(text, limit * CHARACTERS) for text in texts]
        token_ids: list[list[int]] = []
        for first in range(0, len(begun), TOKENISED_AT_ONCE):
            some = begun[first : first + TOKENISED_AT_ONCE]
            token_ids += self.tokenizer(some, truncation=True, max_length=limit)["input_ids"]
        for row, (begin, text) in enumerate(zip(begun, texts, strict=True)):
            if len(begin) < len(text) and len(token_ids[row]) < limit:
                begin = beginning(text, limit * CHARACTERS * WIDER)
                token_ids[row] = self.tokenizer(begin, truncation=True, max_length=limit)["input_ids"]
        return token_ids

    def batch(
        self, token_ids: Sequence[Sequence[int]], *, half: bool = False, multiple: int | None = None
    ) -> Tokens | Packed:
        """The texts as the model takes them here, on its device: packed where that works and pays, else padded.

        half: they will be encoded in half precision; multiple: padded, to a multiple of so many tokens.
        """
        device = self.device
        if self.packs and multiple is None and (device.type == "cpu" or half and has_kernel(device)):
            filled_to = HALF_ROW_MULTIPLE if half and device.type == "cpu" else 1
            return pack(token_ids, self.first_position, filled_to).to(device)
        return {name: tensor.to(device) for name, tensor in self.pad(token_ids, multiple).items()}

    def pad(self, token_ids: Sequence[Sequence[int]], multiple: int | None = None) -> Tokens:
        """Token ids as tensors [n, t], padded on the right to the longest (to a multiple of so many tokens)."""
        batch = self.tokenizer.pad(
            {"input_ids": [list(ids) for ids in token_ids]},
            padding_side="right",  # on the left, absolute positions would shift with the batch's longest text
            pad_to_multiple_of=multiple,
            return_tensors="pt",
        )
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    def save(self, folder: str | Path) -> None:
        """Write a folder that loads here, in transformers, sentence-transformers and text-embeddings-inference."""
        folder = Path(folder)
        self.backbone.save_pretrained(folder)
        for weights in folder.glob("model*.safetensors"):  # several where the model is large
            give_usual_mode(weights)
        self.tokenizer.model_max_length = max_length = max(self.max_length["query"], self.max_length["passage"])
        if self.tokenizer.is_fast:  # else the file keeps how the last texts were cut
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        written = {Path(path).name for path in self.tokenizer.save_pretrained(folder)}
        for name in {*TOKENIZER_FILES, *TOKENIZER_PARTS} - written:  # another model's would be read with this one's
            (folder / name).unlink(missing_ok=True)
        write_layout(folder, replace(self.layout, backbone=folder, max_length=max_length), self.width)

    def _embed(self, tokens: Tokens | Packed) -> Tensor:
        if isinstance(tokens, Packed):
            hidden = self.backbone(**tokens._asdict(), **self.options).last_hidden_state[0]  # [T, d]
            lengths = tokens.segments.offsets.diff().long()
            vectors = POOLING[self.layout.pooling](hidden, lengths)[: tokens.segments.texts]  # [n, d]
        else:
            hidden = self.backbone(**tokens, **self.options).last_hidden_state  # [n, t, d]
            vectors = pool_padded(self.layout.pooling, hidden, tokens["attention_mask"])
        return F.normalize(vectors.float(), dim=-1) if self.layout.normalize else vectors.float()


def beginning(text: str, characters: int) -> str:
    """The text, of a longer one as many whole words as its first characters hold: those words' tokens are the same."""
    if len(text) <= characters:
        return text
    words = text[:characters].rpartition(" ")[0]
    return words if words.strip() else text[:characters]


def prompt_from_instruction(instruction: str | None, template: str = "{}{}") -> str | None:
    """The prompt that stands before a text, from FlagEmbedding's instruction and format; None stays None."""
    if instruction is None:
        return None
    try:
        prompt, rest = template.replace("\\n", "\n").format(instruction, "\0").split("\0")
    except (IndexError, KeyError, ValueError):
        prompt, rest = "", "?"
    if rest:
        raise ConfigError(f"instruction format {template!r}: expected two {{}}, the text's own at the end")
    return prompt


def _load(folder: Path, trust_remote_code: bool):
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its table of weights is judged below, in one line
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        if config.is_encoder_decoder:
            raise ModelError(f"{folder} is an encoder-decoder ({config.model_type}); use an encoder or a decoder")
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # of an absent pooler, which is never used and yet saved
            backbone, report = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{folder} cannot be loaded: {reason}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    _require_weights(folder, [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ModelError(f"{folder}: the tokenizer has neither a padding nor an end token; name one in its files")
    return backbone, tokenizer


def _require_weights(folder: Path, missing: Sequence[str]) -> None:
    """Refuse a model that would start with random numbers; poolers are never used and often absent."""
    missing = sorted(name for name in missing if "pooler." not in name)
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} of the weights that config.json asks for are not there, or of another shape "
            f"(first: {missing[0]}); the two files do not belong together"
        )


def _choose_pooling(asked: str, layout: Layout, backbone: nn.Module, name: str | Path) -> str:
    if asked != "auto":
        asked = "last" if asked == "last_token" else asked
        if asked not in POOLING:
            raise ConfigError(f"pooling {asked!r}: expected auto, {', '.join(POOLING)}")
        if layout.pooling and asked != layout.pooling:
            logger.warning("%s says pooling %s; %s was asked for and is used", name, layout.pooling, asked)
        return asked
    if layout.pooling:
        return layout.pooling
    default = "last" if is_causal(backbone) else "mean"
    logger.warning("%s does not say how it pools; taking %s (choose with the pooling flag)", name, default)
    return default


def is_causal(backbone: nn.Module) -> bool:
    return any(getattr(module, "is_causal", False) for module in backbone.modules())


def positions(backbone: nn.Module) -> int:
    """How many tokens the model takes; models of RoBERTa's kind leave the first positions to padding."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - first_position(backbone)
    said = getattr(backbone.config, "max_position_embeddings", None)
    return said if said and said > 0 else UNBOUNDED
