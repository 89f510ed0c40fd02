"""The settings of `bioemb demo`."""

from dataclasses import dataclass

from bioemb.flags import flag


@dataclass(frozen=True)
class DemoConfig:
    """Run the whole path offline on a small generated corpus with a small fresh encoder."""

    output_dir: str = flag("folder for everything the demonstration makes", "demo", output=False)
    records: int = flag("generated PubMed records", 4000)
    seed: int = flag("seed of the corpus, the encoder and the training", 0)
    overwrite: bool = flag("start over", False, output=False)
