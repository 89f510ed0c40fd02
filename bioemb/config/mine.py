"""The settings of `bioemb mine`."""

import math
from dataclasses import dataclass
from typing import ClassVar

from bioemb.config.shared import MAX_LENGTH, POOLING_CHOICES, RERANKER_MAX_LENGTH, require_at_least_one
from bioemb.errors import ConfigError
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
        "ranks to sample from, `first-stop`: 0-based, stop excluded, positives counted; it ends with the passages",
        "10-210",
    )
    negative_number: int = flag("negatives for each query", 15)
    candidate_pool: str | None = flag(
        'passages to mine from instead of the input\'s own: {"text": ..} a line', None, output=False
    )
    sampling: str = flag("how to choose within the range", "uniform", choices=("uniform", "top", "simans"))
    relative_margin: float | None = flag(
        "drop above positive - |positive| * this (NV-Retriever: 0.05), most likely a positive that nobody marked; "
        "`none` keeps them, as FlagEmbedding's hn_mine",
        0.1,
    )
    absolute_margin: float | None = flag("drop above positive - this", None)
    max_positive_similarity: float | None = flag(
        "drop what nearly copies a positive: passages whose cosine with one is at least this; `none` keeps them", 0.95
    )
    max_score: float | None = flag("drop above this cosine", None)
    min_score: float | None = flag("drop below this cosine", None)
    on_short: str = flag(
        "when too few are left: random fills up within the same bounds, fewer keeps what there is, drop drops the row",
        "random",
        choices=("random", "fewer", "drop"),
    )
    seed: int = flag("seed of the sampling, keyed by the query's text", 0)
    use_gpu_for_searching: bool = flag("search on all GPUs (needs a GPU faiss)", False, output=False)
    index_factory: str = flag("faiss index, as IVF4096,Flat or HNSW32; Flat is exact", "Flat", also=("faiss_index",))
    index_parameters: str = flag("faiss search parameters, as nprobe=64 or efSearch=128", "")
    min_recall: float = flag(
        "stop where an index that is not exact finds less than this share of the true neighbours", 0.9, output=False
    )
    query_instruction_for_retrieval: str | None = flag("text before each query (default: the model's own)", None)
    query_instruction_format_for_retrieval: str = flag("how instruction and query are joined", "{}{}")
    passage_instruction: str | None = flag("text before each passage (default: the model's own)", None)
    embedder_query_max_length: int | None = flag(f"query: {MAX_LENGTH}", None)
    embedder_passage_max_length: int | None = flag(f"passage: {MAX_LENGTH}", None)
    pooling_method: str = flag("pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES)
    reranker_name_or_path: str | None = flag(
        "cross-encoder that judges what is drawn: a folder or a hub name", None, output=False
    )
    reranker_margin: float | None = flag(
        "drop what the reranker does not put below the positive by this, in its raw scores, and draw another", None
    )
    keep_reranker_scores: bool = flag(
        "pos_scores and neg_scores are the reranker's, to learn from; the cosines become pos_cosines, neg_cosines",
        False,
    )
    reranker_max_length: int | None = flag(RERANKER_MAX_LENGTH, None)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    search_batch_size: int = flag("queries searched at once", 4096, output=False)
    bf16: bool | None = flag(
        "compute in bfloat16: faster, the last digits differ (default: where the hardware has it; `no` for float32)",
        None,
    )
    overwrite: bool = flag(
        "replace an output that was made otherwise; vectors that still hold are used again", False, output=False
    )

    def __post_init__(self):
        asked = self.reranker_margin is not None or self.keep_reranker_scores
        if asked and self.reranker_name_or_path is None:
            raise ConfigError("--reranker_margin and --keep_reranker_scores need --reranker_name_or_path")
        if self.reranker_name_or_path is not None and not asked:
            raise ConfigError("nothing is asked of the reranker: --reranker_margin or --keep_reranker_scores")
        if self.reranker_margin is not None and not math.isfinite(self.reranker_margin):
            raise ConfigError(f"reranker_margin is {self.reranker_margin}; expected a number, in the reranker's scores")
        if self.query_instruction_format_for_retrieval != "{}{}" and self.query_instruction_for_retrieval is None:
            raise ConfigError(
                "--query_instruction_format_for_retrieval says how an instruction is joined to a query, and none is "
                "given: add --query_instruction_for_retrieval, or leave it out"
            )
        if self.index_parameters and self.index_factory == "Flat":
            raise ConfigError(
                f"--index_parameters {self.index_parameters} says how an index that is not exact searches, and Flat is "
                "exact: name one, such as --index_factory IVF4096,Flat, or leave the parameters out"
            )
        for name in ("min_recall", "max_positive_similarity"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"--{name} is {value}; it is from 0 to 1")
        require_at_least_one(batch_tokens=self.batch_tokens, search_batch_size=self.search_batch_size)
