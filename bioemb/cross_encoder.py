"""The cross-encoder: query and passage in one text, one raw score; slower than two vectors, and better.

A second opinion on negatives and a teacher for distillation. Batches have one of few shapes, so that the score of a
pair does not depend on what else is scored with it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bioemb.encoder import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, positions
from bioemb.encoding import evaluating
from bioemb.errors import ConfigError, DataError, ModelError
from bioemb.model_folder import find_folder, require_model_files, weights_hash

STEP_TOKENS = 16  # pairs are padded to a multiple of these
STEP_ROWS = 4  # rows in a batch are a multiple of these, or one: the last ones of others are summed in another order


class CrossEncoder:
    """Pairs of texts to scores: a transformers model for sequence classification with one label."""

    def __init__(self, model: nn.Module, tokenizer, max_length: int):
        """model: in float32; max_length: longest pair in tokens, the longer of the two texts is cut first."""
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length
        self.source = ""  # path or name that it was loaded from
        self.weights_hash = ""  # of the folder that it was loaded from

    @classmethod
    def from_pretrained(cls, path_or_name: str | Path, max_length: int | None = None) -> "CrossEncoder":
        """Load a local folder or a hub name, safetensors only, in float32. Raises ModelError, ConfigError."""
        folder = find_folder(path_or_name)
        require_model_files(folder)
        model, tokenizer = _load(folder)
        limit = min(tokenizer.model_max_length, positions(model))
        if max_length is not None and not 4 <= max_length <= limit:
            raise ConfigError(f"the pair's length is {max_length} tokens; {path_or_name} takes 4..{limit}")
        cross_encoder = cls(model, tokenizer, max_length or limit)
        cross_encoder.source, cross_encoder.weights_hash = str(path_or_name), weights_hash(folder)
        return cross_encoder

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def to_best_device(self) -> "CrossEncoder":
        """Move to the GPU where there is one."""
        if torch.cuda.is_available():
            self.model.to("cuda")
        return self

    def scores(self, pairs: Sequence[tuple[str, str]], batch_tokens: int | None = None) -> np.ndarray:
        """The raw score (a logit, higher is closer) of each (query, passage): float32 [n], in input order, finite.

        batch_tokens: in a batch, with padding (default: 2048 on a CPU, 65536 on a GPU). Raises DataError for what is
        not text, ModelError for a score that is not finite.
        """
        _require_texts(pairs)
        result = np.empty(len(pairs), np.float32)
        if not len(pairs):
            return result
        device = self.device
        budget = batch_tokens or (CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS)
        token_ids = self.tokenizer(
            [query for query, _ in pairs],
            [passage for _, passage in pairs],
            truncation=True,
            max_length=self.max_length,
        )
        lengths = [len(ids) for ids in token_ids["input_ids"]]
        with evaluating(self.model), torch.inference_mode():
            for rows, length, size in shaped_batches(lengths, budget, self.max_length):
                filled = np.concatenate([rows, np.full(size - len(rows), rows[0])])
                tokens = self.tokenizer.pad(
                    {name: [values[row] for row in filled] for name, values in token_ids.items()},
                    padding="max_length",
                    max_length=length,
                    padding_side="right",
                    return_tensors="pt",
                )
                logits = self.model(**{name: tensor.to(device) for name, tensor in tokens.items()}).logits  # [size, 1]
                result[rows] = logits[: len(rows), 0].float().cpu().numpy()
        if not np.isfinite(result).all():
            query, passage = pairs[int(np.argmin(np.isfinite(result)))]
            raise ModelError(
                f"{self.source or 'the model'} gave no finite score for {query[:60]!r} and {passage[:60]!r}"
            )
        return result


def shaped_batches(lengths: Sequence[int], budget: int, limit: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """(rows, tokens, size) of each batch, the longest pairs first: `size` x `tokens` is at most `budget` tokens.

    lengths: tokens of each pair, at most `limit`. A pair's own length alone decides the shape of its batch: the last
    one of each length has fewer rows than its size, and is to be filled up.
    """
    padded = np.minimum(-(-np.asarray(lengths, dtype=np.int64) // STEP_TOKENS) * STEP_TOKENS, limit)
    for length in np.unique(padded)[::-1].tolist():
        rows = np.flatnonzero(padded == length)
        size = max(1, budget // length // STEP_ROWS * STEP_ROWS)
        for start in range(0, len(rows), size):
            yield rows[start : start + size], length, size


def _require_texts(pairs: Sequence[tuple[str, str]]) -> None:
    for index, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise DataError(f"pair {index} to score is {pair!r:.80}; expected a query and a passage")


def _load(folder: Path):
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its table of weights is judged below, in one line
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        named = ", ".join(config.architectures or ())
        if named and "SequenceClassification" not in named:
            raise ModelError(f"{folder} is no cross-encoder: it holds a {named}, without a head that scores pairs")
        if config.num_labels != 1:
            raise ModelError(
                f"{folder} has {config.num_labels} labels, expected 1, the score: this is no cross-encoder"
            )
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{folder} cannot be loaded as a cross-encoder: {reason}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    if report["missing_keys"]:
        raise ModelError(
            f"{folder} is no cross-encoder: {len(report['missing_keys'])} weights are not there "
            f"(first: {min(report['missing_keys'])})"
        )
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ModelError(f"{folder}: the tokenizer has neither a padding nor an end token; name one in its files")
    if model.config.pad_token_id is None:  # decoders look for the last token that is none
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
