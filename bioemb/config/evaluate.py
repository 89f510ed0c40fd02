"""The settings of `bioemb evaluate`."""

from dataclasses import dataclass

from bioemb.config.shared import MAX_LENGTH, POOLING_CHOICES
from bioemb.flags import flag


@dataclass(frozen=True)
class EvaluateConfig:
    """Score models with mteb, on the hub's data or on local files, against a starting model and BM25."""

    model_path: tuple[str, ...] = flag("models to evaluate: folders or hub names", output=False)
    save_folder: str = flag("folder of the results, in mteb's layout", "results", output=False)
    task: tuple[str, ...] = flag(
        "mteb task names, names of --local_data, or `bioemb-medical` (default: all of --local_data, else BIOSSES)",
        (),
        also=("tasks",),
    )
    local_data: str | None = flag(
        "folder with TASK.jsonl (STS) or TASK/corpus.jsonl, queries.jsonl, qrels/test.tsv", None, output=False
    )
    baseline_model_path: tuple[str, ...] = flag(
        "models to compare with, the first one the starting model", (), output=False
    )
    bm25: bool = flag("also score BM25 on the retrieval tasks", False)
    query_max_len: int | None = flag(f"query: {MAX_LENGTH}", None)
    passage_max_len: int | None = flag(f"passage: {MAX_LENGTH}", None)
    pooling_method: str = flag("pooling; `auto` reads it from each model folder", "auto", choices=POOLING_CHOICES)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    bf16: bool = flag(
        "compute in bfloat16: faster, the last digits differ (default: float32, so that scores do not depend on the "
        "hardware)",
        False,
    )
    update_card: bool = flag(
        "write the scores into the README.md of each --model_path that bioemb trained", True, output=False
    )
    overwrite: bool = flag("evaluate again what is in the save folder", False, output=False)
