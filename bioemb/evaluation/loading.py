"""From a model folder to the model that `mteb.evaluate` takes, with a revision that changes with its vectors."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from mteb.models.model_meta import ScoringFunction

from bioemb.encoder import Encoder
from bioemb.encoding import choose_bf16
from bioemb.evaluation.encoder_adapter import EncoderForMteb
from bioemb.evaluation.scores import MODEL_FILES
from bioemb.manifest import work_key


class EncodesAsAsked(NamedTuple):
    """An encoder with a batch size and a precision."""

    encoder: Encoder
    batch_tokens: int | None
    bf16: bool

    def encode(self, texts: list[str], *, kind: str | None) -> np.ndarray:
        return self.encoder.encode(texts, kind=kind, batch_tokens=self.batch_tokens, bf16=self.bf16)


def load_model(
    path: str | Path,
    name: str | None = None,
    *,
    pooling: str = "auto",
    max_length: tuple[int | None, int | None] = (None, None),
    batch_tokens: int | None = None,
    bf16: bool = False,
) -> EncoderForMteb:
    """An encoder as mteb takes it: `mteb.evaluate(load_model("model"), mteb.get_task("BIOSSES"))`.

    path: a folder or a hub name. name: of the results, "org/model" (default: the hub's, else local/FOLDER).
    max_length: of queries and of passages, in tokens (default: the model's own). Raises ModelError and ConfigError.
    """
    encoder = Encoder.from_pretrained(path, pooling=pooling).to_best_device()
    encoder.set_max_length(*max_length)
    bf16 = choose_bf16(bf16, encoder.device)
    lengths = [encoder.max_length[kind] for kind in ("query", "passage")]
    similarity = ScoringFunction.COSINE if encoder.layout.normalize else ScoringFunction.DOT_PRODUCT
    decides = {"weights": encoder.weights_hash, "lengths": lengths, "bf16": bf16, "pooling": encoder.layout.pooling}
    if not encoder.layout.normalize:
        decides["similarity"] = similarity.value
    revision = work_key(decides)
    if name is None:
        name = f"local/{Path(path).resolve().name}" if Path(path).exists() else str(path)
    settings = {
        MODEL_FILES: encoder.weights_hash,
        **dict(zip(("query_max_len", "passage_max_len"), lengths, strict=True)),
        "pooling_method": encoder.layout.pooling,
        "bf16": bf16,
        "similarity": similarity.value,
        **{f"{kind}_prompt": text for kind, text in encoder.layout.prompts.items()},
    }
    return EncoderForMteb(EncodesAsAsked(encoder, batch_tokens, bf16), name, revision, settings, similarity)
