"""The examples that a mining run writes: each row with its negatives, and the counts of what was not taken."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np

from bioemb.errors import ConfigError
from bioemb.files import json_line, write_aside
from bioemb.log import Funnel, logger, progress
from bioemb.mining import NegativeRule
from bioemb.stages.mining_selection import NEAR_DUPLICATE, Choice, Chooser
from bioemb.stages.mining_tables import Tables, read_examples
from bioemb.stages.reranking import with_teacher_scores

MANY_NEAR_DUPLICATES = 0.1  # of what was drawn: the model's cosines are all high then
MANY_SHORT = 0.2  # of the rows: a margin that leaves them too few is too wide for the model


def write_examples(
    files: list[Path], chooser: Chooser, output: Path, keep_reranker_scores: bool
) -> tuple[Funnel, dict]:
    """Select block by block and write each row with its negatives; the funnel and the counts of candidates.

    Raises ConfigError, and writes nothing, where no row gets a negative and the rule does not say to keep them so.
    """
    funnel, candidates, shorts, totals = Funnel("mine: rows"), Counter(), Counter(), Counter(negatives=0)
    examples = read_examples(files)
    with write_aside(output) as out:
        for index in progress(range(chooser.blocks), "select"):
            choice = chooser.choose(index)
            selection = choice.selection
            candidates.update(selection.dropped)
            shorts.update(selection.short)
            totals["negatives"] += int((selection.ids >= 0).sum())
            if choice.confirmed:
                totals["vetoed"] += choice.confirmed.vetoed
            texts = _texts_of(chooser.tables, selection.ids)
            for row, (located, *_) in enumerate(islice(examples, len(selection.ids))):
                if selection.ids[row, 0] < 0 and chooser.rule.on_short == "drop":
                    funnel.drop("short of negatives")
                    continue
                funnel.keep()
                negative = _negatives(choice, row, texts, chooser.tables)
                if keep_reranker_scores:
                    negative = with_teacher_scores(negative, *choice.teacher_scores(row))
                out.write(json_line({**_as_example(located.record), **negative}))
        counts = {"candidates": dict(candidates), "short rows": dict(shorts), **totals}
        if not totals["negatives"] and chooser.rule.on_short != "fewer":
            raise ConfigError(no_negatives(counts, chooser.rule, chooser.tables.searched))
    _warn(counts, funnel.as_dict()["read"])
    return funnel, counts


def no_negatives(counts: dict, rule: NegativeRule, searched: int) -> str:
    """Why there is no negative at all, and what to do."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["candidates"].items())
    return (
        f"no row has a negative: of the candidates of ranks {rule.range_start}-{rule.range_stop} of {searched:,} "
        f"passages, {reasons or 'there are none'}; widen --range_for_sampling, loosen the bounds, bring a larger "
        "--candidate_pool, or write the rows without negatives by --on_short fewer"
    )


def _warn(counts: dict, rows: int) -> None:
    if not counts["negatives"]:
        logger.warning("no row has a negative; they are written without, as --on_short fewer says")
    near = counts["candidates"].get(NEAR_DUPLICATE, 0)
    drawn = near + counts["negatives"]
    if near > MANY_NEAR_DUPLICATES * drawn:
        logger.warning(
            "%.0f %% of what was drawn was taken for near-duplicates of a positive: where a model's cosines are all "
            "high, raise --max_positive_similarity, or say none",
            100 * near / drawn,
        )
    short, above = sum(counts["short rows"].values()), counts["candidates"].get("above relative margin", 0)
    if short > MANY_SHORT * rows and above > sum(counts["candidates"].values()) / 2:
        logger.warning(
            "%.0f %% of the rows are short of negatives, most candidates being above the margin: where a model's "
            "cosines are all high, lower --relative_margin, or say none",
            100 * short / rows,
        )


def _negatives(choice: Choice, row: int, texts: dict[int, str], tables: Tables) -> dict:
    """What mining adds to a row of the block."""
    chosen = choice.selection.ids[row] >= 0
    ids = choice.selection.ids[row][chosen].tolist()
    return {
        "neg": [texts[number] for number in ids],
        "pos_scores": _rounded(choice.positive_scores[row]),
        "neg_scores": _rounded(choice.selection.scores[row][chosen]),
        "pos_ids": choice.positives[row],
        "neg_ids": ids,
        "neg_identities": [_identity(tables, number) for number in ids],
    }


def _as_example(record: dict) -> dict:
    """The row with its positives under `pos`, a pair's document too; all else as it came."""
    positives = record["pos"] if "pos" in record else [record["document"]]
    replaced = ("query", "pos", "document", "pos_cosines", "neg_cosines")  # the cosines are of other negatives
    others = {key: value for key, value in record.items() if key not in replaced}
    return {"query": record["query"], "pos": positives, **others}


def _texts_of(tables: Tables, ids: np.ndarray) -> dict[int, str]:
    wanted = np.unique(ids[ids >= 0])
    return dict(zip(wanted.tolist(), tables.passages[wanted]["text"], strict=True)) if len(wanted) else {}


def _identity(tables: Tables, passage: int) -> int:
    """The passage's article, or its text's hash where no article is known."""
    known = tables.identities.get(passage)
    return tables.exclusions.passage_texts[passage].item() if known is None else known


def _rounded(scores: np.ndarray) -> list[float]:
    return [round(float(score), 6) for score in scores]
