"""The settings of `bioemb search`."""

from dataclasses import dataclass

from bioemb.config.shared import MAX_LENGTH, POOLING_CHOICES, require_at_least_one
from bioemb.flags import flag


@dataclass(frozen=True)
class SearchConfig:
    """Answer queries, typed at a prompt or given as flags, with a corpus's closest passages.

    The passages are encoded once and kept in a work folder: the next start is immediate. Queries may also come through
    a pipe, one a line. Ctrl-D leaves.
    """

    model_path: str = flag("model to search with: a folder or a hub name")
    corpus: tuple[str, ...] = flag(
        "passages: BEIR's corpus.jsonl (or its folder), pairs, examples, or text files of one passage a line; "
        ".json, .jsonl, .txt (.gz, .zst), .parquet, or folders"
    )
    query: tuple[str, ...] = flag("queries to answer, each in quotes, in place of the prompt", ())
    baseline_model_path: str | None = flag("a second model, whose answers stand beside the first one's", None)
    top: int = flag("passages to show for each query", 10)
    full: bool = flag("show passages whole, not their first 4 lines", False)
    json: bool = flag("print one JSON object a query, for programs", False)
    query_max_len: int | None = flag(f"query: {MAX_LENGTH}", None)
    passage_max_len: int | None = flag(f"passage: {MAX_LENGTH}", None)
    pooling_method: str = flag("pooling; `auto` reads it from each model folder", "auto", choices=POOLING_CHOICES)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None)
    bf16: bool | None = flag(
        "compute in bfloat16: faster, the last digits differ (default: as the vectors that are kept were made, else "
        "where the hardware has it; `no` for float32)",
        None,
    )
    work_folder: str | None = flag("where texts and vectors are kept (default: CORPUS.work)", None)

    def __post_init__(self):
        require_at_least_one(top=self.top, batch_tokens=self.batch_tokens)
