"""The settings of `bioemb filter`."""

from dataclasses import dataclass

from bioemb.config.shared import MAX_LENGTH, POOLING_CHOICES
from bioemb.errors import ConfigError
from bioemb.flags import flag


@dataclass(frozen=True)
class FilterConfig:
    """Keep the pairs whose two sides a good domain model finds alike (weak-consistency filtering)."""

    model_path: str = flag("model that scores the pairs: a folder or a hub name", output=False)
    folder_path: str = flag("folder (or file) of pairs: .json, .jsonl (.gz, .zst), .parquet", output=False)
    out_file_path: str = flag("kept pairs, as JSON lines", output=False)
    sim_threshold: float = flag("lowest cosine that is kept, from -1 to 1", 0.75)
    key_x: str = flag("key of the document, the longer side", "document")
    key_y: str = flag("key of the query, the shorter side", "query")
    max_length: int | None = flag(MAX_LENGTH, None)
    pooling_method: str = flag("pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES)
    query_instruction: str | None = flag("text before each query (default: the model's own)", None)
    passage_instruction: str | None = flag("text before each document (default: the model's own)", None)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    bf16: bool = flag("compute in bfloat16: faster, the last digits differ", False)
    overwrite: bool = flag(
        "replace an output that was made otherwise; scores that still hold are used again", False, output=False
    )

    def __post_init__(self):
        if not -1 <= self.sim_threshold <= 1:
            raise ConfigError(f"sim_threshold is {self.sim_threshold}; a cosine is from -1 to 1")
        if self.key_x == self.key_y:
            raise ConfigError(f"key_x and key_y are both {self.key_x!r}; they name the two sides of a pair")
