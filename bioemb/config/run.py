"""The settings of `bioemb run`."""

from dataclasses import dataclass

from bioemb.flags import flag


@dataclass(frozen=True)
class RunConfig:
    """Run every stage that a recipe names, each skipped when its output is complete."""

    recipe: str = flag(
        "YAML file: stages in order, each with its settings; --recipe may be left out", output=False, bare=True
    )
    root: str | None = flag(
        "folder that `{root}` stands for in the recipe (default: the recipe's own `root`)", None, output=False
    )
    until: str | None = flag("stop after this stage", None, output=False)
    overwrite: bool = flag("replace outputs that were made otherwise", False, output=False)
