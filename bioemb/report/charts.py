"""The charts, drawn by matplotlib: values in, SVG for the page out. The only file that imports it.

Every chart is one panel as wide as a phone; the page sets several side by side where there is room. Nothing is told by
colour alone.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.errors import ConfigError
from bioemb.report.markup import Html, shortened
from bioemb.report.svg import COLOURS, fit_into_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, POINTS_AN_INCH = 340, 72  # of a chart, in the points that its SVG counts in
FONT, SMALL = 12.5, 11.5
LABEL_CHARACTERS = 40  # of a label of its own line
STYLE = {
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "bioemb",  # the same ids every time
    "text.parse_math": False,  # a dollar is a dollar
    "text.color": COLOURS["ink"],
    "font.size": FONT,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.labelsize": SMALL,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "ytick.left": False,
}
Role = str  # a key of COLOURS


class Series(NamedTuple):
    """Numbers with their name and colour."""

    name: str
    values: Sequence[float]
    role: Role


class Bar(NamedTuple):
    """A count, and what is said beside it."""

    label: str
    count: int
    role: Role
    said: str


class Span(NamedTuple):
    """A value between its bounds (None: there are none), under a line of words."""

    label: str
    value: float
    bounds: tuple[float, float] | None
    role: Role


class Marks(NamedTuple):
    """Points of one kind on a map."""

    name: str
    places: np.ndarray  # [n, 2]
    role: Role
    marker: str


def require_matplotlib() -> None:
    """Raises ConfigError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        message = 'the report draws its charts with matplotlib, which is not installed; pip install "bioemb[report]"'
        raise ConfigError(message) from None


def bars(name: str, title: str, counts: Sequence[Bar]) -> Html:
    """Counts as lines of one length scale, each under its label."""
    most = max([bar.count for bar in counts] + [1])

    def paint(axes: "Axes") -> None:
        axes.axis("off")
        for row, bar in enumerate(counts):
            axes.plot([0, 1], [row, row], color=COLOURS["grid"], linewidth=5, solid_capstyle="butt")
            axes.plot([0, bar.count / most], [row, row], color=COLOURS[bar.role], linewidth=5, solid_capstyle="butt")
            axes.text(0, row - 0.28, shortened(bar.label, LABEL_CHARACTERS), fontsize=SMALL)
            axes.text(1, row - 0.28, bar.said, fontsize=SMALL, horizontalalignment="right")
        axes.set_xlim(0, 1)
        axes.set_ylim(len(counts) - 0.7, -0.8)

    return _draw(name, title, 36 * len(counts) + 6, paint, (0.01, 0.01, 0.99, 0.99))


def histogram(
    name: str,
    title: str,
    edges: Sequence[float],
    series: Sequence[Series],
    limits: tuple[float, float],
    line: float | None = None,
) -> Html:
    """Shares of each series of cosines by bin, the first one filled, a line across where one is given.

    edges: one more than values; limits: of the cosines that are shown.
    """

    def paint(axes: "Axes") -> None:
        shares = [np.asarray(each.values) / max(sum(each.values), 1) for each in series]
        for number, (each, share) in enumerate(zip(series, shares, strict=True)):
            if number == 0:
                axes.stairs(share, edges, fill=True, color=COLOURS[each.role], alpha=0.22, linewidth=0)
            axes.stairs(share, edges, color=COLOURS[each.role], linewidth=1.6, linestyle="-" if number == 0 else "--")
        top = max(float(share.max()) for share in shares) * 1.25 or 1
        axes.set_ylim(0, top)
        axes.set_xlim(*limits)
        _label_peaks(axes, edges, series, shares)
        if line is not None:
            axes.axvline(line, color=COLOURS["ink"], linewidth=1.2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.locator_params("y", nbins=4)
        axes.locator_params("x", nbins=6)
        axes.set_xlabel("cosine")

    return _draw(name, title, 200, paint, (0.12, 0.21, 0.97, 0.95))


def lines(name: str, title: str, x: Sequence[float], series: Sequence[Series], x_label: str, form: str) -> Html:
    """Lines over the same steps, each named at its end, with its last value."""

    def paint(axes: "Axes") -> None:
        dotted = "o" if len(x) < 40 else None
        for each in series:
            axes.plot(x, each.values, color=COLOURS[each.role], linewidth=1.8, marker=dotted, markersize=3.2)
        ends = _spread([each.values[-1] for each in series], axes.get_ylim())
        for each, height in zip(series, ends, strict=True):
            words = f"{each.name} {each.values[-1]:{form}}".strip()
            axes.annotate(words, (1, height), (7, 0), ("axes fraction", "data"), "offset points", va="center")
        on_axis = form if form.strip(",.0123456789") == "e" or "," in form else "g"
        axes.yaxis.set_major_formatter(lambda value, _: format(value, on_axis) if value else "0")
        axes.locator_params("y", nbins=4)
        axes.locator_params("x", nbins=5, integer=True)
        axes.set_xlabel(x_label)

    longest = max(len(f"{each.name} {each.values[-1]:{form}}") for each in series)
    return _draw(name, title, 200, paint, (0.15, 0.21, 1 - 0.021 * longest - 0.03, 0.95))


def by_order(name: str, title: str, quartiles: np.ndarray, positives: Sequence[float]) -> Html:
    """Negatives by the order of their score, and the positives at the left of them.

    quartiles: [o, 3], the 25th, 50th and 75th percentile of each order; positives: the same three.
    """

    def paint(axes: "Axes") -> None:
        orders = np.arange(1, len(quartiles) + 1)
        places, all_of_it = [0, *orders], np.vstack([positives, quartiles])
        for place, (low, middle, high) in zip(places, all_of_it, strict=True):
            colour = COLOURS["blue" if place == 0 else "orange"]
            axes.plot([place, place], [low, high], color=colour, linewidth=5, alpha=0.35, solid_capstyle="round")
            axes.plot([place], [middle], "D" if place == 0 else "o", color=colour, markersize=6)
        axes.set_xlim(-0.7, len(quartiles) + 0.7)
        shown = np.linspace(1, len(orders), min(len(orders), 7)).round().astype(int).tolist()
        axes.set_xticks([0, *shown], ["pos.", *map(str, shown)])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2f}")
        axes.locator_params("y", nbins=5)
        axes.set_xlabel("positive, and negatives from the closest on")

    return _draw(name, title, 210, paint, (0.12, 0.2, 0.98, 0.96))


def intervals(name: str, title: str, spans: Sequence[Span], limits: tuple[float, float], x_label: str) -> Html:
    """Values with their intervals on one scale, zero marked, each under its label; limits: of the scale."""

    def paint(axes: "Axes") -> None:
        axes.axvline(0, color=COLOURS["muted"], linewidth=1)
        beneath = {"facecolor": COLOURS["surface"], "edgecolor": "none", "pad": 1.5}  # of the words, on the line
        for row, span in enumerate(spans):
            if span.bounds:
                axes.plot(span.bounds, [row, row], color=COLOURS[span.role], linewidth=2.2, solid_capstyle="round")
            face = COLOURS[span.role] if span.role != "muted" else COLOURS["surface"]
            axes.plot([span.value], [row], "o", color=COLOURS[span.role], markersize=7, markerfacecolor=face)
            axes.text(0, row - 0.3, span.label, fontsize=SMALL, transform=axes.get_yaxis_transform(), bbox=beneath)
        axes.set_ylim(len(spans) - 0.5, -0.85)
        axes.set_yticks([])
        axes.set_xlim(*limits)
        axes.grid(False)
        axes.locator_params("x", nbins=6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f}" if value else "0")
        axes.set_xlabel(x_label)

    height = 44 * len(spans) + 50
    return _draw(name, title, height, paint, (0.01, 45 / height, 0.97, 0.995))


def scatter(
    name: str, title: str, marks: Sequence[Marks], ties: tuple[np.ndarray, np.ndarray], limits: np.ndarray
) -> Html:
    """A map: points of several kinds, lines between what belongs together. limits: [[x0, x1], [y0, y1]]."""

    def paint(axes: "Axes") -> None:
        for start, end in zip(*ties, strict=True):
            axes.plot(*np.stack([start, end]).T, color=COLOURS["muted"], linewidth=0.6, alpha=0.55, zorder=1)
        for each in marks:
            axes.plot(
                *each.places.T, each.marker, color=COLOURS[each.role], markersize=3.6, markeredgewidth=0, zorder=2
            )
        axes.set_xlim(*limits[0])
        axes.set_ylim(*limits[1])
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set(visible=True, color=COLOURS["grid"])

    width, height = np.ptp(limits, axis=1)
    return _draw(name, title, round(WIDTH * min(max(height / width, 0.5), 1.2)), paint, (0.01, 0.01, 0.99, 0.99))


def _draw(
    name: str, title: str, height: int, paint: Callable[["Axes"], None], box: tuple[float, float, float, float]
) -> Html:
    """One panel; box: left, bottom, right and top of the axes as shares of the figure."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    left, bottom, right, top = box
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the browser has the letters that matplotlib lacks
        drawing = Figure(figsize=(WIDTH / POINTS_AN_INCH, height / POINTS_AN_INCH))
        paint(drawing.add_axes((left, bottom, right - left, top - bottom)))
        out = io.StringIO()
        drawing.savefig(out, format="svg", metadata={"Date": None})
    return fit_into_page(out.getvalue(), name, title)


def occupied(edges: Sequence[float], *counts: Sequence[float]) -> tuple[float, float]:
    """From where to where any of these histograms has something, a bin to spare; all of it where they are empty."""
    filled = np.flatnonzero(np.sum(counts, axis=0))
    first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, len(edges) - 2)
    return edges[max(first - 1, 0)], edges[min(last + 2, len(edges) - 1)]


def _label_peaks(axes: "Axes", edges: Sequence[float], series: Sequence[Series], shares: list[np.ndarray]) -> None:
    """Name each series above its highest bin; where two peaks are close the names go to both sides, above either."""
    left, right = axes.get_xlim()
    middles = np.array([(edges[int(share.argmax())] + edges[int(share.argmax()) + 1]) / 2 for share in shares])
    is_close = len(series) > 1 and np.ptp(middles) < 0.3 * (right - left)
    order = np.argsort([share @ (np.array(edges[1:]) + edges[:-1]) for share in shares], kind="stable").tolist()
    for place, index in enumerate(order):
        share, each = shares[index], series[index]
        height = max(float(one.max()) for one in shares) if is_close else float(share.max())
        middle = float(np.clip(middles[index], left + 0.14 * (right - left), right - 0.14 * (right - left)))
        x, side = (middles.mean(), ("right", "left")[place]) if is_close else (middle, "center")
        shift = {"right": -4, "left": 4, "center": 0}[side]
        axes.annotate(each.name, (x, height), (shift, 5), textcoords="offset points", ha=side, color=COLOURS[each.role])


def _spread(heights: Sequence[float], limits: tuple[float, float]) -> list[float]:
    """The heights, moved up where labels of one line each would touch."""
    gap, placed = 0.09 * (limits[1] - limits[0]), {}
    lowest = -np.inf
    for index in np.argsort(heights, kind="stable"):
        lowest = max(heights[index], lowest + gap)
        placed[int(index)] = lowest
    return [placed[index] for index in range(len(heights))]
