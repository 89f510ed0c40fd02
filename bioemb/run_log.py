"""The log of a training run: a line of `metrics.jsonl`, a word to the tracker and one to the user for each number."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bioemb.files import write_aside
from bioemb.log import logger

if TYPE_CHECKING:
    from accelerate import Accelerator


class RunLog:
    """Writes `OUT/metrics.jsonl` on the first process; `total` is the number of the run's steps."""

    def __init__(self, folder: str | Path, accelerator: "Accelerator", total: int):
        self.path, self.accelerator, self.total = Path(folder) / "metrics.jsonl", accelerator, total

    def add_step(self, step: int, values: dict[str, float]) -> None:
        """What the steps since the last line came to; the values that are said aloud are among it."""
        self._write(step, values)
        words = [values[name] for name in ("loss", "learning_rate", "tokens_per_second", "peak_memory_mb")]
        logger.info("step %d/%d  loss %.4f  rate %.2e  %d tokens/s  %d MB", step, self.total, *words)

    def add_scores(self, step: int, scores: dict[str, float]) -> None:
        """Scores on held-out queries after this step."""
        self._write(step, {f"eval_{name}": score for name, score in scores.items()})
        words = "  ".join(f"{name} {score:.4f}" for name, score in scores.items())
        logger.info("step %d/%d  held out: %s", step, self.total, words)

    def scores_at(self, step: int) -> dict[str, float]:
        """What `add_scores` was given for this step; nothing where it was not."""
        found = [line for line in map(json.loads, self._lines()) if line["step"] == step]
        return {name.removeprefix("eval_"): x for line in found for name, x in line.items() if name.startswith("eval_")}

    def cut_after(self, step: int) -> None:
        """Forget what stands behind this step, which will be made again."""
        if self.accelerator.is_main_process and self.path.exists():
            with write_aside(self.path) as out:
                out.writelines(line for line in self._lines() if json.loads(line)["step"] <= step)

    def _lines(self) -> list[str]:
        """What was written; without a last line that a full disk or a kill cut off."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        return [line for line in lines if line.endswith("\n")]

    def _write(self, step: int, values: dict[str, float]) -> None:
        self.accelerator.log(values, step=step)
        if self.accelerator.is_main_process:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as out:
                out.write(json.dumps({"step": step, **values}) + "\n")
