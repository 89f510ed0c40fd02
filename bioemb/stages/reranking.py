"""A cross-encoder's word on what `bioemb mine` draws: negatives that it vetoes, and its scores for a student to learn.

Scores are kept in a file for each block of rows: an interrupted run goes on, and another rule or margin has only those
pairs scored that were not drawn before.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.cross_encoder import CrossEncoder
from bioemb.log import progress
from bioemb.mining.confirmation import Confirmed, select_confirmed

if TYPE_CHECKING:
    from datasets import Dataset

SCORED_AT_ONCE = 4096  # pairs between two writes: what an interruption costs
SCORED = np.dtype([("key", "<i8"), ("score", "<f4")])
VETOED = "vetoed by the reranker"  # the reason that candidates are counted under


class Reranking(NamedTuple):
    """The second scorer, what it decides, and where its scores are kept."""

    cross_encoder: CrossEncoder
    margin: float | None  # None: nothing is vetoed
    folder: Path
    batch_tokens: int | None = None

    def confirm(self, index: int, first: int, rows: dict, select: Callable, passages: "Dataset") -> Confirmed:
        """The confirmed selection of a block of rows, the first of which has this number.

        rows: their "query" and "positives"; select: as `select_confirmed` takes it.
        """
        kept = ScoredPairs(self.folder / f"block-{index:06d}.npy")

        def score(places: np.ndarray, ids: np.ndarray) -> np.ndarray:
            keys = (places + first) << 32 | ids  # a search takes fewer than 2**32 passages
            missing = np.unique(keys[~kept.has(keys)])
            for start in progress(range(0, len(missing), SCORED_AT_ONCE), f"rerank block {index}"):
                some = missing[start : start + SCORED_AT_ONCE]
                queries = [rows["query"][place] for place in ((some >> 32) - first).tolist()]
                texts = passages[some & (2**32 - 1)]["text"]
                pairs = list(zip(queries, texts, strict=True))
                kept.add(some, self.cross_encoder.scores(pairs, self.batch_tokens))
            return kept.of(keys)

        return select_confirmed(select, score, rows["positives"], self.margin)


def with_teacher_scores(row: dict, positive_scores: list[float], negative_scores: list[float]) -> dict:
    """The row with these as `pos_scores` and `neg_scores`.

    Cosines of a miner that stood there become `pos_cosines` and `neg_cosines`, unless the row has these already.
    """
    scored = dict(row)
    for side, scores in (("pos", positive_scores), ("neg", negative_scores)):
        if f"{side}_scores" in row:
            scored.setdefault(f"{side}_cosines", row[f"{side}_scores"])
        scored[f"{side}_scores"] = [round(score, 6) for score in scores]
    return scored


class ScoredPairs:
    """Scores by key in one file, which is replaced, whole, whenever some are added."""

    def __init__(self, path: Path):
        self.path = path
        self.table = np.load(path, allow_pickle=False) if path.exists() else np.empty(0, SCORED)  # keys rising

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Which of the keys [n] have a score: bool [n]."""
        return np.isin(keys, self.table["key"])

    def of(self, keys: np.ndarray) -> np.ndarray:
        """The scores of keys [n], each of which has one: float32 [n]."""
        return self.table["score"][np.searchsorted(self.table["key"], keys)]

    def add(self, keys: np.ndarray, scores: np.ndarray) -> None:
        """Keep the scores [n] of new keys [n]."""
        new = np.empty(len(keys), SCORED)
        new["key"], new["score"] = keys, scores
        table = np.concatenate([self.table, new])
        self.table = table[np.argsort(table["key"], kind="stable")]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.npy")
        try:
            np.save(aside, self.table, allow_pickle=False)
            aside.replace(self.path)
        finally:
            aside.unlink(missing_ok=True)
