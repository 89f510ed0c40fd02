"""The charts: what is drawn is as long, as high and where the numbers say, in the page's colours and under its ids."""

import re

import numpy as np
import pytest

from bioemb.report.charts import Bar, Marks, Series, Span, bars, histogram, intervals, lines, occupied, scatter
from bioemb.report.markup import Html, element, join, number, points, shortened
from bioemb.report.svg import fit_into_page


def paths(svg: str, colour: str) -> list[np.ndarray]:
    """The points [n, 2] of every line drawn in this colour."""
    found = re.findall(r'<path d="([^"]*)"[^>]*style="[^"]*stroke: var\(--' + colour, svg)
    return [np.array(re.findall(r"[ML] (\S+) (\S+)", path), float) for path in found]


def test_bars_are_as_long_as_their_counts():
    counts = [Bar("read", 200, "muted", "200"), Bar("$x$ <b>", 50, "orange", "50"), Bar("kept", 150, "blue", "150")]
    svg = bars("a", "A", counts)
    (read,), (dropped,), (kept,) = (paths(svg, role) for role in ("muted", "orange", "blue"))
    length = [np.ptp(one[:, 0]) for one in (read, dropped, kept)]
    assert length[1] / length[0] == pytest.approx(0.25, abs=0.001)
    assert length[2] / length[0] == pytest.approx(0.75, abs=0.001)
    assert ">$x$ &lt;b&gt;</text>" in svg


def test_intervals_stand_on_one_scale_with_zero():
    svg = intervals("a", "A", [Span("x", 5.0, (-5.0, 15.0), "blue")], (-20.0, 20.0), "points")
    (interval,) = (one for one in paths(svg, "blue") if len(one) == 2)
    (zero,) = (one for one in paths(svg, "muted") if len(one) == 2 and np.ptp(one[:, 0]) == 0)
    left, right = interval[:, 0]
    assert (right - zero[0, 0]) / (zero[0, 0] - left) == pytest.approx(3, abs=0.01)  # from -5 to 15


def test_lines_go_through_their_values():
    svg = lines("a", "A", [0, 10, 30], [Series("loss", [4.0, 1.0, 2.03456], "blue")], "step", ".5f")
    (line,) = (one for one in paths(svg, "blue") if len(one) == 3)
    heights = line[:, 1].max() - line[:, 1]  # in SVG the ordinate falls
    assert heights / heights.max() * 3 + 1 == pytest.approx([4, 1, 2.03], abs=0.01)
    assert (line[:, 0] - line[0, 0]) / np.ptp(line[:, 0]) * 30 == pytest.approx([0, 10, 30], abs=0.1)
    assert ">loss 2.03456</text>" in svg


def test_histograms_show_shares_of_their_own_series():
    edges = [0.0, 0.25, 0.5, 0.75, 1.0]
    series = [Series("own", [1, 3, 0, 0], "blue"), Series("other", [0, 0, 50, 50], "orange")]
    svg = histogram("a", "A", edges, series, (0.0, 1.0))
    tops = [one[:, 1].max() - one[:, 1].min() for role in ("blue", "orange") for one in paths(svg, role)]
    assert tops[0] / tops[1] == pytest.approx(0.75 / 0.5, abs=0.01)


def test_what_is_occupied_has_a_bin_to_spare():
    edges = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert occupied(edges, [0, 0, 2, 0, 0], [0, 0, 0, 1, 0]) == (0.2, 1.0)
    assert occupied(edges, [0] * 5) == (0.0, 1.0)


def test_every_point_is_on_the_map():
    places = np.random.default_rng(0).normal(size=(9, 2))
    marks = [Marks("queries", places, "orange", "s")]
    svg = scatter("a", "A", marks, (places, places + 0.1), np.array([[-4.0, 4.0], [-4.0, 4.0]]))
    assert len(re.findall(r"<use [^>]*var\(--orange\)", svg)) == 9 and len(paths(svg, "muted")) >= 9


def test_ids_carry_the_chart_s_name_and_colours_are_the_page_s():
    svg = '<?xml?><svg width="9pt" viewBox="0 0 9 9" x="1"><style>*{}</style><path id="p" style="fill: #0a0b04"/>'
    svg += '<use xlink:href="#p" x="1.23456"/><g clip-path="url(#c)"/><text>1.23456 #0a0b04 href="#p"</text></svg>'
    assert fit_into_page(svg, "n", "T <b>") == (
        '<svg class="chart" id="n" role="img" viewBox="0 0 9 9"><title>T &lt;b&gt;</title>'
        '<path id="n-p" style="fill: var(--blue)"/><use href="#n-p" x="1.23"/><g clip-path="url(#n-c)"/>'
        '<text>1.23456 #0a0b04 href="#p"</text></svg>'
    )


def test_only_markup_is_markup():
    assert join("<a>", Html("<b>")) == "&lt;a&gt;<b>"
    assert element("p", "1 < 2", class_='"x"') == '<p class="&quot;x&quot;">1 &lt; 2</p>'
    assert number(1234.5678, ",.1f") == '<data value="1234.5678">1,234.6</data>'
    assert points(0.12345, "+.1f") == '<data value="0.12345">+12.3</data>' and number(None) == "–"
    assert shortened("a  b\n" + "c" * 50, 10) == "a b cccccc"[:9] + "…" and shortened("a\x00b", 9) == "a\ufffdb"
