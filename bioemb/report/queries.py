"""Twenty queries with what both models find for each: those that got better, those that got worse, some others."""

from typing import TYPE_CHECKING

import numpy as np

from bioemb.report.markup import Html, details, element, join, note, number, points, quoted, table
from bioemb.report.rankings import Ranking, View, worth_showing

if TYPE_CHECKING:
    from bioemb.held_out import HeldOut

QUERY_CHARACTERS, PASSAGE_CHARACTERS = 240, 170
OPEN = 3  # queries of each kind that need no click


def queries_part(views: tuple[View, View], rankings: tuple[Ranking, Ranking], sample: "HeldOut", seed: int) -> Html:
    """How many queries got better and worse, and the ones worth showing."""
    before, after = rankings
    better, worse = (int((x).sum()) for x in (after.ranks < before.ranks, after.ranks > before.ranks))
    same = len(after.ranks) - better - worse
    rows = [
        [words, points(of(before)), points(of(after)), f"{100 * (of(after) - of(before)):+.1f}"]
        for words, of in (
            ("MRR", lambda ranking: ranking.mrr),
            ("first passage is right", lambda ranking: ranking.recall(1)),
            ("right one among the first ten", lambda ranking: ranking.recall(10)),
        )
    ]
    head = ["in points of 100", f"before ({views[0].name})", f"after ({views[1].name})", "change"]
    said = note(
        number(better), " queries got better (their passage ranks higher), ", number(worse), " worse, ", number(same),
        " stayed. Shown are the greatest gains and losses by 1 / rank, and others drawn by the seed.",
    )  # fmt: skip
    shown = worth_showing(before.ranks, after.ranks, seed)
    groups = [
        (name, [query for query in shown if test(before.ranks[query], after.ranks[query])]) for name, test in KINDS
    ]
    parts = [_group(name, group, views, rankings, sample) for name, group in groups if group]
    return join(table(head, rows), said, *parts)


KINDS = (
    ("Got better", lambda before, after: after < before),
    ("Got worse", lambda before, after: after > before),
    ("Stayed", lambda before, after: after == before),
)


def _group(
    name: str, group: list[int], views: tuple[View, View], rankings: tuple[Ranking, Ranking], sample: "HeldOut"
) -> Html:
    shown = [_query(query, views, rankings, sample) for query in group]
    more = details(f"{len(shown) - OPEN} more that {name.lower()}", *shown[OPEN:]) if len(shown) > OPEN else ""
    return join(element("h3", name), *shown[:OPEN], more)


def _query(query: int, views: tuple[View, View], rankings: tuple[Ranking, Ranking], sample: "HeldOut") -> Html:
    ranks = [ranking.ranks[query].item() for ranking in rankings]
    moved = element("span", "rank ", number(ranks[0]), " → ", number(ranks[1]), class_="score")
    asked = element("p", element("strong", quoted(sample.queries[query], QUERY_CHARACTERS)), " ", moved)
    sides = [
        element("div", element("h4", f"{when}: {view.name}"), _found(query, ranking, sample))
        for when, view, ranking in zip(("before", "after"), views, rankings, strict=True)
    ]
    return element("div", asked, element("div", *sides, class_="sides"), class_="query")


def _found(query: int, ranking: Ranking, sample: "HeldOut") -> Html:
    """The top passages, and the right one after them where it is not among them."""
    right = set(sample.positives[query].tolist())
    shown = [(place, passage) for place, passage in enumerate(ranking.top[query].tolist(), start=1) if passage >= 0]
    if ranking.ranks[query] > len(shown):
        shown.append((ranking.ranks[query].item(), ranking.right[query].item()))
    items = []
    for place, passage in shown:
        is_right = passage in right
        mark = [element("span", "right", class_="right"), " "] if is_right else []
        score = element("span", number(_cosine(ranking, query, passage), ".3f"), class_="score")
        text = quoted(sample.passages[passage], PASSAGE_CHARACTERS)
        items.append(
            element("li", *mark, score, " ", text, value=place, class_="right-passage" if is_right else "other")
        )
    return element("ol", *items)


def _cosine(ranking: Ranking, query: int, passage: int) -> float:
    return np.round(ranking.scores[query, passage], 6).item()
