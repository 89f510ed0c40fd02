"""The settings of `bioemb compare`."""

from dataclasses import dataclass

from bioemb.errors import ConfigError
from bioemb.flags import flag


@dataclass(frozen=True)
class CompareConfig:
    """Set saved scores side by side as `evaluate` does, without running or loading a model."""

    save_folder: tuple[str, ...] = flag("--save_folder of evaluations; may stand without the flag", bare=True)
    model: tuple[str, ...] = flag(
        "names of models to show, as `minilm`, `local/minilm` or `minilm@3f9a` with a revision (default: all)", ()
    )
    baseline: str | None = flag(
        "the model that the others are compared with (default: the first --model, or that of the last evaluation; "
        "BM25 only where it was that)",
        None,
    )
    task: tuple[str, ...] = flag("tasks to show (default: all)", (), also=("tasks",))
    json: bool = flag("print one JSON object, for programs", False)
    markdown: bool = flag("print a Markdown table", False)

    def __post_init__(self):
        if self.json and self.markdown:
            raise ConfigError("json and markdown exclude each other; choose one")
