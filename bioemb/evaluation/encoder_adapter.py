"""Our encoder as mteb wants one: prompts by the side a text stands on, whole splits at once, finite vectors only."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

import numpy as np
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType
from torch.utils.data import DataLoader

from bioemb.errors import ConfigError, ModelError

Kind = Literal["query", "passage"]
KIND = {PromptType.query: "query", PromptType.document: "passage", None: None}  # None: both sides alike, no prompt


class TextEncoder(Protocol):
    """What is asked of an encoder; `bioemb.encoder.Encoder` is one."""

    def encode(self, texts: Sequence[str], *, kind: Kind | None) -> np.ndarray:
        """float32 [n, d] in input order; kind None adds no prompt."""
        ...


class EncoderForMteb(AbsEncoder):
    """An encoder that `mteb.evaluate` takes."""

    def __init__(
        self,
        encoder: TextEncoder,
        name: str,
        revision: str,
        settings: Mapping[str, Any] | None = None,
        similarity: ScoringFunction = ScoringFunction.COSINE,
    ):
        """name: as in the results, "org/model"; a folder's last two parts are taken.

        revision: whatever decides the vectors, as a hash of the weights (and of settings that are not the model's own);
        mteb returns the old score for a revision that it has seen. settings: the same in words, kept with the scores to
        tell revisions apart. similarity: of vectors, in retrieval. Raises ConfigError.
        """
        if not revision or "/" in revision:
            raise ConfigError(f"revision is {revision!r}; expected a hash of the weights, which names a folder")
        self.encoder, self.settings = encoder, dict(settings or {})
        self.mteb_model_meta = describe_model(name, revision, similarity_fn_name=similarity)

    def encode(
        self,
        inputs: DataLoader,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **_: Any,  # mteb's batch size and progress bar: the encoder has its own
    ) -> np.ndarray:
        """float32 [n, d]. Raises ModelError for vectors that are not finite: mteb would score them in retrieval."""
        texts = _texts(inputs)
        vectors = np.asarray(self.encoder.encode(texts, kind=KIND[prompt_type]), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ModelError(
                f"{self.mteb_model_meta.name} gave an array of shape {vectors.shape} for {len(texts)} texts"
            )
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            first = texts[int(np.argmin(finite))][:80]
            raise ModelError(
                f"{self.mteb_model_meta.name} gave {np.count_nonzero(~finite)} vectors that are not finite "
                f"in {task_metadata.name}, the first for: {first!r}"
            )
        return vectors


def describe_model(name: str, revision: str, **known: Any) -> ModelMeta:
    """mteb's description of a model; its folder of results is made of the name and the revision."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    if not parts:
        raise ConfigError(f"model name is {name!r}; expected a name as `org/model`")
    name = "/".join(parts[-2:]) if len(parts) > 1 else f"local/{parts[0]}"
    return ModelMeta.create_empty(overwrites={"name": name, "revision": revision, "framework": ["PyTorch"], **known})


def _texts(inputs: DataLoader) -> list[str]:
    # The whole split: the encoder sorts by length itself, which mteb's batches of 32 would prevent.
    columns = getattr(getattr(inputs, "dataset", None), "column_names", ())
    if "text" in columns:
        return list(inputs.dataset["text"])
    return [text for batch in inputs for text in batch["text"]]
