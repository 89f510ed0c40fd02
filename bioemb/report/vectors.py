"""The sample as both models see it: alignment, uniformity, cosines of right and of other pairs, and a map."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.report.charts import Marks, Series, histogram, occupied, scatter
from bioemb.report.geometry import alignment, plane_of, uniformity
from bioemb.report.markup import Html, element, figure, grid, join, note, number, table
from bioemb.report.rankings import View

if TYPE_CHECKING:
    from bioemb.held_out import HeldOut

MAPPED = 150  # queries on the map, with their passages
EDGES = np.linspace(-1, 1, 41).round(2).tolist()
FRAME = 0.04  # around the map, of its width


class Measures(NamedTuple):
    """Of one model on the sample; lower is better."""

    alignment: float
    uniformity_of_queries: float
    uniformity_of_passages: float


def measure(view: View, sample: "HeldOut") -> Measures:
    """Alignment over all pairs of a query and a positive, uniformity of both sides."""
    queries, passages = pairs_of(sample)
    aligned = alignment(view.queries[queries], view.passages[passages])
    return Measures(aligned, uniformity(view.queries), uniformity(view.passages))


def pairs_of(sample: "HeldOut") -> tuple[np.ndarray, np.ndarray]:
    """(query, passage) of all pairs that belong together, two arrays."""
    queries = np.repeat(np.arange(len(sample.positives)), [len(of) for of in sample.positives])
    return queries, np.concatenate(sample.positives)


def measures_part(views: tuple[View, View], measures: tuple[Measures, Measures], sample: "HeldOut") -> Html:
    """The table of both models' measures, and a histogram of cosines of each."""
    names = {"alignment": "alignment: how far a query is from its passage"}
    names |= {
        f"uniformity_of_{side}": f"uniformity of {side}: how evenly they spread" for side in ("queries", "passages")
    }
    before, after = (of._asdict() for of in measures)
    rows = [
        [words, number(before[key], ".3f"), number(after[key], ".3f"), f"{after[key] - before[key]:+.3f}"]
        for key, words in names.items()
    ]
    said = note(
        "Alignment is the mean squared distance of pairs that belong together, uniformity the logarithm of the mean "
        "of exp(-2 d²) over all others (Wang & Isola, arXiv 2005.10242); of both, lower is better."
    )
    head = ["", f"before ({views[0].name})", f"after ({views[1].name})", "change"]
    return join(table(head, rows), said, grid(*_cosines(views, sample)))


def cosines_of(view: View, sample: "HeldOut") -> tuple[list[int], list[int]]:
    """How many cosines fall into each bin of EDGES: of pairs that belong together, and of pairs that do not."""
    queries, passages = pairs_of(sample)
    others = np.roll(passages, 1)
    is_other = ~_share(sample, queries, others)
    right = (view.queries[queries] * view.passages[passages]).sum(axis=1)
    wrong = (view.queries[queries] * view.passages[others]).sum(axis=1)[is_other]
    return tuple(np.histogram(cosines.clip(-1, 1), EDGES)[0].tolist() for cosines in (right, wrong))


def _cosines(views: tuple[View, View], sample: "HeldOut") -> list[Html]:
    counts = [cosines_of(view, sample) for view in views]
    limits = occupied(EDGES, *(of for both in counts for of in both))
    charts = []
    for when, view, (right, wrong) in zip(("before", "after"), views, counts, strict=True):
        series = [Series("right pairs", right, "blue"), Series("other pairs", wrong, "orange")]
        chart = histogram(f"cosines-{when}", f"Cosines {when} training", EDGES, series, limits)
        charts.append(figure(join(f"Cosines {when}", element("small", view.name)), chart))
    return charts


def _share(sample: "HeldOut", queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Whether each passage is the query's positive or shares its identity: no pair to compare with."""
    return np.array(
        [
            passage in sample.positives[query] or passage in sample.excluded[query]
            for query, passage in zip(queries, passages, strict=True)
        ]
    )


def map_part(views: tuple[View, View], sample: "HeldOut") -> Html:
    """The first MAPPED queries and their passages on a plane, before and after."""
    queries = np.arange(min(MAPPED, len(sample.queries)))
    passages = np.array([sample.positives[query][0] for query in queries])
    stacked = [np.vstack([view.queries[queries], view.passages[passages]]) for view in views]
    is_shared = stacked[0].shape[1] == stacked[1].shape[1]
    planes = [plane_of(np.vstack(stacked))] * 2 if is_shared else [plane_of(one) for one in stacked]
    places = [plane.places(one) for plane, one in zip(planes, stacked, strict=True)]
    limits = _limits(np.vstack(places))
    charts = []
    for place, when in enumerate(("before", "after")):
        share = planes[place].share(stacked[place])
        small = element("small", f"{views[place].name}; the plane shows {share:.0%} of the spread")
        charts.append(figure(join(f"Map {when}", small), _map(f"map-{place}", when, places[place], limits)))
    said = note(
        element("span", "queries", class_="key-orange"),
        " and ",
        element("span", "their passages", class_="key-blue"),
        f", {len(queries)} of each, a line between the two. ",
        _in_words(is_shared),
    )
    return join(said, grid(*charts))


def _in_words(is_shared: bool) -> str:
    if is_shared:
        return (
            "Both maps have the same axes and scale: the first two principal components of the vectors of both models "
            "together. Neighbours on a map need not be neighbours in all dimensions."
        )
    return (
        "The models' vectors differ in width, so each map has the first two principal components of its own model: "
        "places on one say nothing about places on the other."
    )


def _map(name: str, when: str, places: np.ndarray, limits: np.ndarray) -> Html:
    queries, passages = np.split(places, 2)
    marks = [Marks("passages", passages, "blue", "o"), Marks("queries", queries, "orange", "s")]
    return scatter(name, f"Queries and passages {when} training", marks, (queries, passages), limits)


def _limits(places: np.ndarray) -> np.ndarray:
    low, high = places.min(axis=0), places.max(axis=0)
    frame = FRAME * max(float((high - low).max()), 1e-6)
    return np.stack([low - frame, high + frame], axis=1)
