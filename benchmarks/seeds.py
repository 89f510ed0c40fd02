"""How surely two packages differ where each trained several times: one bootstrap over the items and over the runs."""

from collections.abc import Sequence

import numpy as np
from measuring import REPOSITORY  # noqa: F401  (puts the repository on the path)

from bioemb.evaluation import TaskScore
from bioemb.evaluation.bootstrap import statistic

AT_ONCE = 250  # resamples; bounds memory


def differences(
    first: Sequence[TaskScore], second: Sequence[TaskScore], resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Resampled differences [r] of the mean score of the second's runs to the first's, on one task.

    first, second: the score of each run, on the same items. A resample draws the task's queries (or pairs) anew, the
    same for all runs, and as many runs of each package as there are, with replacement.
    """
    found = []
    for start in range(0, resamples, AT_ONCE):
        count = min(AT_ONCE, resamples - start)
        means = np.zeros((2, count))
        for part in range(len(first[0].parts)):
            items = len(first[0].parts[part].scores)
            weights = rng.multinomial(items, np.full(items, 1 / items), size=count)  # [r, n] times drawn
            for place, runs in enumerate((first, second)):
                scores = [statistic(run.parts[part].scores, run.parts[part].gold, weights) for run in runs]
                drawn = rng.integers(len(runs), size=(len(runs), count))
                means[place] += np.take_along_axis(np.stack(scores), drawn, axis=0).mean(axis=0)
        found.append((means[1] - means[0]) / len(first[0].parts))
    return np.concatenate(found)


def interval(differences: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.nanquantile(differences, (0.025, 0.975))
    return float(low), float(high)
