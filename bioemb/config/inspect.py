"""The settings of `bioemb inspect`."""

from dataclasses import dataclass

from bioemb.errors import ConfigError
from bioemb.flags import flag


@dataclass(frozen=True)
class InspectConfig:
    """Show what files of pairs or examples hold: counts, lengths, years, licences, duplicates, some to read."""

    input_path: tuple[str, ...] = flag(
        "pairs or examples: .json, .jsonl (.gz, .zst), .parquet, or folders; may stand without --input_path",
        bare=True,
    )
    examples: int = flag("examples to show of each kind, cut to 200 characters", 2)
    json: bool = flag("print one JSON object, for programs", False)

    def __post_init__(self):
        if self.examples < 0:
            raise ConfigError(f"examples is {self.examples}; expected 0 or more")
