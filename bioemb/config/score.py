"""The settings of `bioemb score`."""

from dataclasses import dataclass
from typing import ClassVar

from bioemb.config.shared import RERANKER_MAX_LENGTH, require_at_least_one
from bioemb.flags import flag


@dataclass(frozen=True)
class ScoreConfig:
    """Add a cross-encoder's scores to examples, for a student to learn from (knowledge distillation)."""

    WITHOUT_EFFECT: ClassVar[dict[str, str]] = {
        "use_fp16": "scores are computed in float32",
        "use_bf16": "scores are computed in float32",
        "reranker_batch_size": "batches are counted in tokens: --batch_tokens",
        "reranker_query_max_length": "the longer of the two texts is cut: --reranker_max_length",
        "reranker_model_class": "the model's folder says what it is",
        "devices": "each process takes one GPU: accelerate launch",
        "cache_dir": "set HF_HOME",
        "trust_remote_code": "a model's own code is never run here",
    }

    reranker_name_or_path: str = flag("cross-encoder that scores: a folder or a hub name", output=False)
    input_file: str = flag('examples {"query","pos",..} or pairs {"query","document",..}', output=False)
    output_file: str = flag("the same with pos_scores and neg_scores, as JSON lines", output=False)
    reranker_max_length: int | None = flag(RERANKER_MAX_LENGTH, None)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    overwrite: bool = flag("replace an output that was made otherwise", False, output=False)

    def __post_init__(self):
        require_at_least_one(batch_tokens=self.batch_tokens)
