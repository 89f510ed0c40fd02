"""How often a 95 % interval of the bootstrap holds the truth, plain and expanded, by simulation.

    python benchmarks/coverage.py

A naive loop over seeded samples. Minutes on one core.
"""

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np

from bioemb.evaluation.bootstrap import TAIL, expanded_tail, weighted_spearman

SAMPLES, RESAMPLES = 2000, 1000  # of means; of correlations a quarter and a half of them
CORRELATIONS = (0.0, 0.5, 0.85)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| of | n | plain | expanded |\n|---|---:|---:|---:|")
    for n in (10, 30, 100):
        report(n, SAMPLES, means(n))
    for n in (20, 30):
        report(n, SAMPLES // 4, correlations(n))


def means(n: int) -> Iterator[tuple[str, float, np.ndarray]]:
    """(distribution, its mean, resampled means [r]) of each sample."""
    for seed in range(SAMPLES):
        rng = np.random.default_rng([n, seed])
        weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        yield "normal mean", 0.0, weights @ rng.normal(size=n) / n
        yield "exponential mean", 1.0, weights @ rng.exponential(size=n) / n
        yield "lognormal mean", np.exp(0.5), weights @ rng.lognormal(size=n) / n


def correlations(n: int) -> Iterator[tuple[str, float, np.ndarray]]:
    """(correlation of normal pairs, its Spearman's rho, resampled ones [r]) of each sample."""
    for r in CORRELATIONS:
        for seed in range(SAMPLES // 4):
            rng = np.random.default_rng([n, seed])
            x, noise = rng.normal(size=(2, n))
            weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES // 2)
            found = weighted_spearman(x, r * x + np.sqrt(1 - r * r) * noise, weights)
            yield f"Spearman's correlation of {r}", 6 / np.pi * np.arcsin(r / 2), found


def report(n: int, samples: int, drawn: Iterator[tuple[str, float, np.ndarray]]) -> None:
    """Print the share of samples whose interval holds the truth, a row for each name."""
    held: Counter[tuple[str, str]] = Counter()
    names: dict[str, None] = {}
    for name, truth, resampled in drawn:
        names[name] = None
        for kind, tail in (("plain", TAIL), ("expanded", expanded_tail([n]))):
            low, high = np.nanquantile(resampled, (tail, 1 - tail))
            held[name, kind] += int(low <= truth <= high)
    for name in names:
        print(
            f"| {name} | {n} | {held[name, 'plain'] / samples:.3f} | {held[name, 'expanded'] / samples:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
