"""The settings of `bioemb mine`."""

from dataclasses import dataclass
from typing import ClassVar

from bioemb.config.shared import MAX_LENGTH, POOLING_CHOICES
from bioemb.flags import flag


@dataclass(frozen=True)
class MineConfig:
    """Find hard negatives for each pair: passages that rank high for its query and are not its positive."""

    WITHOUT_EFFECT: ClassVar[dict[str, str]] = {
        "use_fp16": "say --bf16 for low precision",
        "batch_size": "batches are counted in tokens: --batch_tokens",
        "normalize_embeddings": "scores are cosines always",
        "embedder_model_class": "the model's folder says what it is",
        "devices": "all GPUs that are visible are used (CUDA_VISIBLE_DEVICES)",
        "cache_dir": "set HF_HOME",
        "trust_remote_code": "a model's own code is never run here",
        "examples_for_task": "in-context examples are not supported",
        "examples_instruction_format": "in-context examples are not supported",
    }

    model_name_or_path: str = flag(
        "model that embeds: a folder or a hub name", output=False, also=("embedder_name_or_path",)
    )
    input_file: str = flag('examples {"query","pos",..} or pairs {"query","document",..}', output=False)
    output_file: str = flag('examples {"query","pos":[..],"neg":[..]}, as JSON lines', output=False)
    range_for_sampling: str = flag(
        "ranks to sample from, `first-stop`: 0-based, stop excluded, positives counted", "10-210"
    )
    negative_number: int = flag("negatives for each query", 15)
    candidate_pool: str | None = flag(
        'passages to mine from instead of the input\'s own: {"text": ..} a line', None, output=False
    )
    sampling: str = flag("how to choose within the range", "uniform", choices=("uniform", "top", "simans"))
    relative_margin: float | None = flag("drop above positive - |positive| * this (NV-Retriever: 0.05)", None)
    absolute_margin: float | None = flag("drop above positive - this", None)
    max_score: float | None = flag("drop above this cosine", None)
    min_score: float | None = flag("drop below this cosine", None)
    on_short: str = flag(
        "when too few are left: random fills up, fewer keeps what there is, drop drops the row",
        "random",
        choices=("random", "fewer", "drop"),
    )
    seed: int = flag("seed of the sampling, keyed by the query's text", 0)
    use_gpu_for_searching: bool = flag("search on all GPUs (needs a GPU faiss)", False, output=False)
    index_factory: str = flag("faiss index; Flat is exact", "Flat", also=("faiss_index",))
    query_instruction_for_retrieval: str | None = flag("text before each query (default: the model's own)", None)
    query_instruction_format_for_retrieval: str = flag("how instruction and query are joined", "{}{}")
    passage_instruction: str | None = flag("text before each passage (default: the model's own)", None)
    embedder_query_max_length: int | None = flag(f"query: {MAX_LENGTH}", None)
    embedder_passage_max_length: int | None = flag(f"passage: {MAX_LENGTH}", None)
    pooling_method: str = flag("pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    search_batch_size: int = flag("queries searched at once", 4096, output=False)
    bf16: bool = flag("compute in bfloat16: faster, the last digits differ", False)
    overwrite: bool = flag(
        "replace an output that was made otherwise; vectors that still hold are used again", False, output=False
    )
