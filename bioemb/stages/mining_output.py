"""The examples that a mining run writes: each row with its negatives, and the counts of what was not taken.

Each process chooses for a stretch of the blocks of rows and writes what comes of each, a part, into the folder of work;
the first puts the parts together. An interrupted run goes on with the parts that are missing.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from bioemb.blocks import wait_until_there
from bioemb.errors import ConfigError
from bioemb.files import json_line, write_aside, write_json
from bioemb.log import Funnel, logger, progress
from bioemb.mining import NegativeRule
from bioemb.processes import on_all, on_first, stretch
from bioemb.stages.mining_selection import NEAR_DUPLICATE, Choice, Chooser
from bioemb.stages.mining_tables import Tables, read_examples
from bioemb.stages.reranking import with_teacher_scores

MANY_NEAR_DUPLICATES = 0.1  # of what was drawn: the model's cosines are all high then
MANY_SHORT = 0.2  # of the rows: a margin that leaves them too few is too wide for the model
COPIED = 1 << 20  # bytes at once


def write_examples(
    files: list[Path], chooser: Chooser, folder: Path, output: Path, keep_reranker_scores: bool
) -> tuple[Funnel, dict]:
    """Choose block by block and write each row with its negatives; the funnel and the counts of candidates.

    folder: for the parts, until they are the output. Raises ConfigError, and writes nothing, where no row gets a
    negative and the rule does not say to keep them so.
    """
    parts = Parts(folder, chooser.blocks)
    mine = stretch(on_first(parts.missing))
    on_all(lambda: _write_parts(parts, mine, files, chooser, keep_reranker_scores))
    on_all(lambda: wait_until_there(parts.missing, parts.counts))
    return on_first(lambda: _join(parts, output, chooser.rule, chooser.tables.searched))


class Parts:
    """What becomes of each block of rows: its lines, and then its counts, which say that the part is whole."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count

    def lines(self, index: int) -> Path:
        return self.folder / f"part-{index:06d}.jsonl"

    def counts(self, index: int) -> Path:
        return self.folder / f"part-{index:06d}.json"

    def missing(self) -> list[int]:
        """Those that are not whole."""
        return [index for index in range(self.count) if not self.counts(index).exists()]


def _write_parts(
    parts: Parts, indices: list[int], files: list[Path], chooser: Chooser, keep_reranker_scores: bool
) -> None:
    """Choose for some blocks, by rising number, and write their parts."""
    examples, begin = read_examples(files), 0
    for index in progress(indices, "select"):
        span = chooser.vectors.queries.span(index)
        rows = [located.record for located, *_ in islice(examples, span.start - begin, span.stop - begin)]
        begin, choice, funnel = span.stop, chooser.choose(index), Funnel("")
        with write_aside(parts.lines(index)) as out:
            out.writelines(_lines(rows, choice, chooser, funnel, keep_reranker_scores))
        counts = {
            "rows": funnel.as_dict(),
            "candidates": choice.selection.dropped,
            "short rows": choice.selection.short,
            "totals": {"negatives": int((choice.selection.ids >= 0).sum())},
        }
        if choice.confirmed:
            counts["totals"]["vetoed"] = choice.confirmed.vetoed
        write_json(parts.counts(index), counts)


def _lines(
    rows: list[dict], choice: Choice, chooser: Chooser, funnel: Funnel, keep_reranker_scores: bool
) -> Iterator[str]:
    """The rows of a block with their negatives, as lines; the funnel counts them."""
    tables, ids = chooser.tables, choice.selection.ids
    wanted = np.unique(ids[ids >= 0])
    texts = dict(zip(wanted.tolist(), tables.passages[wanted]["text"] if len(wanted) else (), strict=True))
    identities = dict(zip(wanted.tolist(), _identities(tables, wanted).tolist(), strict=True))
    for row, record in enumerate(rows):
        if ids[row, 0] < 0 and chooser.rule.on_short == "drop":
            funnel.drop("short of negatives")
            continue
        funnel.keep()
        negative = _negatives(choice, row, texts, identities)
        if keep_reranker_scores:
            negative = with_teacher_scores(negative, *choice.teacher_scores(row))
        yield json_line({**_as_example(record), **negative})


def _join(parts: Parts, output: Path, rule: NegativeRule, searched: int) -> tuple[Funnel, dict]:
    """Put the parts together, in order, and delete each once it is copied; the sums of their counts."""
    funnel, candidates, shorts, totals = Funnel("mine: rows"), Counter(), Counter(), Counter()
    for index in range(parts.count):
        of_part = json.loads(parts.counts(index).read_text(encoding="utf-8"))
        funnel.add(of_part["rows"])
        candidates.update(of_part["candidates"])
        shorts.update(of_part["short rows"])
        totals.update(of_part["totals"])
    counts = {"candidates": dict(candidates), "short rows": dict(shorts), **totals}
    if not totals["negatives"] and rule.on_short != "fewer":
        raise ConfigError(no_negatives(counts, rule, searched))
    with write_aside(output) as out:
        for index in progress(range(parts.count), "write"):
            with open(parts.lines(index), "rb") as lines:
                shutil.copyfileobj(lines, out.buffer, COPIED)
            parts.counts(index).unlink()  # first: without them the part is none
            parts.lines(index).unlink()
    shutil.rmtree(parts.folder)
    _warn(counts, funnel.read)
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


def _negatives(choice: Choice, row: int, texts: dict[int, str], identities: dict[int, int]) -> dict:
    """What mining adds to a row of the block."""
    chosen = choice.selection.ids[row] >= 0
    ids = choice.selection.ids[row][chosen].tolist()
    return {
        "neg": [texts[number] for number in ids],
        "pos_scores": _rounded(choice.positive_scores[row]),
        "neg_scores": _rounded(choice.selection.scores[row][chosen]),
        "pos_ids": choice.positives[row],
        "neg_ids": ids,
        "neg_identities": [identities[number] for number in ids],
    }


def _as_example(record: dict) -> dict:
    """The row with its positives under `pos`, a pair's document too; all else as it came."""
    positives = record["pos"] if "pos" in record else [record["document"]]
    replaced = ("query", "pos", "document", "pos_cosines", "neg_cosines")  # the cosines are of other negatives
    others = {key: value for key, value in record.items() if key not in replaced}
    return {"query": record["query"], "pos": positives, **others}


def _identities(tables: Tables, passages: np.ndarray) -> np.ndarray:
    """The article of each passage [n], or its text's hash where no article is known: int64 [n]."""
    known, is_known = tables.identities.of(passages)
    return np.where(is_known, known, tables.exclusions.passage_texts[passages])


def _rounded(scores: np.ndarray) -> list[float]:
    return [round(float(score), 6) for score in scores]
