"""The settings of `bioemb filter`."""

from dataclasses import dataclass

from bioemb.config.shared import MAX_LENGTH, POOLING_CHOICES, require_at_least_one
from bioemb.errors import ConfigError
from bioemb.flags import flag

LOWEST_COSINE = 0.75  # kept where no rule is given


@dataclass(frozen=True)
class FilterConfig:
    """Keep the pairs whose two sides a good domain model finds alike (weak-consistency filtering)."""

    model_path: str = flag("model that scores the pairs: a folder or a hub name", output=False)
    folder_path: str = flag("folder (or file) of pairs: .json, .jsonl (.gz, .zst), .parquet", output=False)
    out_file_path: str = flag("kept pairs, as JSON lines", output=False)
    sim_threshold: float | None = flag(
        f"lowest cosine that is kept, -1 to 1 (default: {LOWEST_COSINE}, or none with --keep_share or --max_rank)", None
    )
    kind_thresholds: tuple[str, ...] = flag(
        "the lowest cosine of some kinds of pairs: title_abstract=0.7 title_passage=0.55", ()
    )
    keep_share: float | None = flag(
        "keep this share, 0 to 1, of each kind of pairs: those of the highest cosines", None
    )
    max_rank: int | None = flag(
        "keep pairs whose document is among the so many closest to its query in a pool of others (E5: 2)", None
    )
    pool_size: int | None = flag(
        "rank each pair's document among so many others of the input; `rank` is written with each pair", None
    )
    seed: int = flag("seed that chooses the pool, with the documents' texts", 0)
    key_x: str = flag("key of the document, the longer side", "document")
    key_y: str = flag("key of the query, the shorter side", "query")
    max_length: int | None = flag(MAX_LENGTH, None)
    pooling_method: str = flag("pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES)
    query_instruction: str | None = flag("text before each query (default: the model's own)", None)
    passage_instruction: str | None = flag("text before each document (default: the model's own)", None)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    bf16: bool | None = flag(
        "compute in bfloat16: faster, the last digits differ (default: where the hardware has it; `no` for float32)",
        None,
    )
    overwrite: bool = flag(
        "replace an output that was made otherwise; scores that still hold are used again", False, output=False
    )

    def __post_init__(self):
        if self.sim_threshold is not None:
            _check_cosine("sim_threshold", self.sim_threshold)
        self.thresholds_of_kinds()
        if self.keep_share is not None and not 0 < self.keep_share <= 1:
            raise ConfigError(f"keep_share is {self.keep_share}; it is a share above 0, at most 1 (all)")
        if self.max_rank is not None and self.pool_size is None:
            raise ConfigError(f"max_rank is {self.max_rank}, among how many? say --pool_size, such as 10000")
        require_at_least_one(max_rank=self.max_rank, pool_size=self.pool_size, batch_tokens=self.batch_tokens)
        if self.max_rank is not None and self.max_rank >= self.pool_size:
            raise ConfigError(
                f"max_rank is {self.max_rank} and pool_size {self.pool_size}: every pair would be kept; a rank that is "
                "to say something is far below the size of the pool"
            )
        if self.key_x == self.key_y:
            raise ConfigError(f"key_x and key_y are both {self.key_x!r}; they name the two sides of a pair")

    def thresholds_of_kinds(self) -> dict[str, float]:
        """The cosines of `kind_thresholds` by kind. Raises ConfigError."""
        result = {}
        for word in self.kind_thresholds:
            kind, _, number = word.rpartition("=")
            try:
                cosine = float(number)
            except ValueError:
                kind = ""
            if not kind or kind in result:
                raise ConfigError(f"kind_thresholds: {word!r}; expected KIND=COSINE, each kind once")
            _check_cosine(f"kind_thresholds: {kind}", cosine)
            result[kind] = cosine
        return result

    def lowest_cosine(self, kind: str) -> float | None:
        """The lowest cosine that is kept of a kind of pairs, None where cosines of any height are."""
        default = LOWEST_COSINE if self.keep_share is None and self.max_rank is None else None
        general = default if self.sim_threshold is None else self.sim_threshold
        return self.thresholds_of_kinds().get(kind, general)


def _check_cosine(name: str, value: float) -> None:
    if not -1 <= value <= 1:
        raise ConfigError(f"{name} is {value}; a cosine is from -1 to 1")
