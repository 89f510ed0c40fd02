"""The settings of `bioemb average`."""

from dataclasses import dataclass
from math import inf

from bioemb.errors import ConfigError
from bioemb.flags import flag


@dataclass(frozen=True)
class AverageConfig:
    """Average the weights of several trainings from one start, of other seeds or settings, into one encoder."""

    model_path: tuple[str, ...] = flag(
        "the trained encoders, two or more: folders or hub names; the first one's tokenizer, pooling, prompts and "
        "length are the result's",
        output=False,
    )
    output_dir: str = flag("folder of the averaged encoder", output=False)
    weights: tuple[float, ...] = flag("what each counts, in any unit (default: all the same)", ())
    overwrite: bool = flag("replace what is in the output folder", False, output=False)

    def __post_init__(self):
        if len(self.model_path) < 2:
            raise ConfigError(f"--model_path names {len(self.model_path)} model; an average is of two or more")
        if self.weights and len(self.weights) != len(self.model_path):
            raise ConfigError(f"{len(self.weights)} --weights for {len(self.model_path)} models; give one for each")
        if any(not 0 < weight < inf for weight in self.weights):
            raise ConfigError(f"--weights are {' '.join(map(str, self.weights))}; expected numbers above 0")
