"""The settings of `bioemb report`."""

from dataclasses import dataclass

from bioemb.config.shared import require_at_least_one
from bioemb.errors import ConfigError
from bioemb.flags import flag


@dataclass(frozen=True)
class ReportConfig:
    """Write one HTML page about a run: funnels, cosines, training, scores, what the models find before and after."""

    run_dir: str = flag("folder of a run, as `root` in its recipe; --run_dir may be left out", output=False, bare=True)
    output_file: str | None = flag("the page (default: report.html in the run's folder)", None, output=False)
    load_models: bool = flag(
        "let the trained and the starting model encode the sample; `no` leaves that part out", True
    )
    model_path: str | None = flag("trained model (default: what the run's training wrote)", None, output=False)
    baseline_model_path: str | None = flag(
        "starting model: a folder or a hub name (default: the one that the training's manifest tells of)",
        None,
        output=False,
    )
    sample_data: str | None = flag(
        "pairs or examples to show the models (default: the training examples, which the trained model has seen)",
        None,
        output=False,
    )
    sample: int = flag("how many of them, drawn by the seed", 500)
    seed: int = flag("seed of what is drawn", 0)
    overwrite: bool = flag("replace a file that this command did not write", False, output=False)

    def __post_init__(self):
        require_at_least_one(sample=self.sample)
        if self.sample < 2:
            raise ConfigError("sample is 1; expected 2 or more, as passages are compared with each other")
