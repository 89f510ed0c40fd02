"""How a cost grows with the work: exponents by least squares on logarithms, and a picture of time and memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measuring import number


class Curve(NamedTuple):
    """Medians of a cost at growing sizes; nothing below the smallest number that is told from noise."""

    name: str
    unit: str  # of the sizes
    sizes: Sequence[int]
    seconds: Sequence[float]
    megabytes: Sequence[float] | None  # None: not measured


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """p of the line value = c * size^p that is closest in logarithms; None of fewer than two sizes or of no cost."""
    if len(set(sizes)) < 2 or min(values) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def last_exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """The same between the two largest sizes: where it differs, the curve bends."""
    return exponent(sizes[-2:], values[-2:])


def draw(curves: Sequence[Curve], path: Path) -> None:
    """A row for each curve, seconds on the left and megabytes on the right, both axes logarithmic, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "font.size": 8, "svg.hashsalt": "bioemb"})
    figure, axes = plt.subplots(len(curves), 2, figsize=(7, 2.1 * len(curves)), squeeze=False, layout="constrained")
    for row, curve in zip(axes, curves, strict=True):
        for axis, values, unit in zip(row, (curve.seconds, curve.megabytes), ("s", "MB"), strict=True):
            if values is None:
                axis.set_axis_off()
            else:
                draw_one(axis, curve, values, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_one(axis, curve: Curve, values: Sequence[float], unit: str) -> None:
    """The points, and the fitted line with its exponent."""
    axis.plot(curve.sizes, values, "o", color="#1f4e79", markersize=4)
    power = exponent(curve.sizes, values)
    if power is not None:
        scale = np.exp(np.mean(np.log(values)) - power * np.mean(np.log(curve.sizes)))
        axis.plot(curve.sizes, scale * np.array(curve.sizes, float) ** power, color="#c55a11", linewidth=1)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.minorticks_off()
    axis.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes])
    marks = sorted({min(values), max(values)})
    axis.set_yticks(marks, [number(value) for value in marks])
    axis.set_title(f"{curve.name}, {unit}" + (f": exponent {power:.2f}" if power is not None else ""))
    axis.set_xlabel(curve.unit)
    axis.grid(True, which="major", linewidth=0.3)
