"""What the filter says of each kind of pairs: distributions, what was kept, and pairs on the threshold's two sides."""

from bisect import insort
from typing import NamedTuple

import numpy as np

from bioemb.files import Located
from bioemb.mining.consistency import ConsistencyRule, is_consistent
from bioemb.mining.score_statistics import CosineCounts, RankCounts, area_under_curve
from bioemb.records import same_text_key

EXAMPLES = 3  # nearest to the threshold, on each side
SHOWN_CHARACTERS = 300


class Judged(NamedTuple):
    """A block of pairs of one kind, with their scores and what became of them."""

    rows: list[Located]
    cosines: np.ndarray  # float32 [b, 2]: of the pairs, of shuffled ones; nan where a side is empty
    ranks: np.ndarray | None  # int64 [b]
    kept: np.ndarray  # bool [b]


class KindStatistics:
    """Counts of one kind of pairs, block by block; memory does not grow with them."""

    def __init__(self, rule: ConsistencyRule, keys: tuple[str, str]):
        """keys: of the query and of the document in each record."""
        self.rule, self.keys = rule, keys
        self.own, self.shuffled, self.ranks = CosineCounts(), CosineCounts(), RankCounts()
        self.kept = self.identical = self.contained = 0
        self.above: list[tuple[float, int, dict]] = []  # the nearest: distance from the threshold, number, example
        self.below: list[tuple[float, int, dict]] = []
        self.seen = 0

    @property
    def threshold(self) -> float | None:
        """The cosine that the rules amount to; None where any will do."""
        given = [self.rule.min_cosine, self.rule.best and self.rule.best.cosine]
        return max((cosine for cosine in given if cosine is not None), default=None)

    def add(self, judged: Judged) -> None:
        """Count a block, and keep what lies nearest to the threshold."""
        full = np.flatnonzero(~np.isnan(judged.cosines[:, 0]))
        self.own.add(judged.cosines[full, 0])
        self.shuffled.add(judged.cosines[full, 1])
        if judged.ranks is not None:
            self.ranks.add(judged.ranks[full])
        self.kept += int(np.count_nonzero(judged.kept))
        for row in full.tolist():
            one, other = (same_text_key(judged.rows[row].record[key]) for key in self.keys)
            self.identical += one == other
            self.contained += one != other and (one in other or other in one)
        if self.threshold is not None:
            self._keep_nearest(judged, full)
        self.seen += len(judged.rows)

    def as_dict(self) -> dict:
        """All of it, ready for JSON."""
        statistics = {**self.own.as_dict(), "shuffled": self.shuffled.as_dict()}
        statistics["auc"] = area_under_curve(self.own, self.shuffled)
        if self.ranks.total:
            statistics["ranks"] = self.ranks.as_dict()
        return {
            **statistics,
            "threshold": self.threshold,
            "kept": self.kept,
            "identical_texts": self.identical,
            "one_text_in_the_other": self.contained,
            "examples": {side: [example for *_, example in getattr(self, side)] for side in ("above", "below")},
        }

    def _keep_nearest(self, judged: Judged, full: np.ndarray) -> None:
        scores = judged.cosines[full, 0]
        is_above = is_consistent(scores, min_cosine=self.threshold)
        distances = np.abs(scores.astype(np.float64) - self.threshold)
        for nearest, here in ((self.above, np.flatnonzero(is_above)), (self.below, np.flatnonzero(~is_above))):
            for place in here[np.argsort(distances[here], kind="stable")[:EXAMPLES]].tolist():
                row = int(full[place])
                insort(nearest, (distances[place].item(), self.seen + row, self._example(judged, row)))
            del nearest[EXAMPLES:]

    def _example(self, judged: Judged, row: int) -> dict:
        rank = {} if judged.ranks is None else {"rank": int(judged.ranks[row])}
        query, document = (judged.rows[row].record[key][:SHOWN_CHARACTERS] for key in self.keys)
        return {"cos_sim": round(judged.cosines[row, 0].item(), 6), **rank, "query": query, "document": document}


def statistics_table(statistics: dict[str, dict]) -> str:
    """A line for each kind: its cosines, shuffled pairs', how well the model tells them apart, and what was kept."""
    lines = [
        f"{'cosines':<20}{'5 %':>8}{'25 %':>8}{'median':>8}{'75 %':>8}   shuffled: {'median':>8}{'99 %':>8}{'AUC':>8}"
        f"{'threshold':>12}{'kept':>8}"
    ]
    for name, of in statistics.items():
        own, shuffled = of["percentiles"], of["shuffled"]["percentiles"]
        values = "".join(f"{own[p]:>8.3f}" for p in ("5", "25", "50", "75"))
        threshold = "any" if of["threshold"] is None else f"{of['threshold']:.3f}"
        lines.append(
            f"{name:<20}{values}{'':13}{shuffled['50']:>8.3f}{shuffled['99']:>8.3f}{of['auc']:>8.3f}"
            f"{threshold:>12}{of['kept'] / of['count']:>8.1%}"
        )
    ranked = {name: of["ranks"] for name, of in statistics.items() if "ranks" in of}
    if ranked:
        lines.append(
            f"{'ranks at most':<20}" + "".join(f"{rank:>8}" for rank in next(iter(ranked.values()))["kept_share"])
        )
    lines += [
        f"{name:<20}" + "".join(f"{share:>8.1%}" for share in of["kept_share"].values()) for name, of in ranked.items()
    ]
    return "\n".join(lines)
