"""What a loss is told besides vectors: where each positive stands, and what must not count as a negative.

A loss is any callable `loss(query [b, d], passages [n, d], targets) -> scalar`: the mean over the b queries.
b are this process's queries; the n passages may be everyone's, and `column` already carries the offset.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bioemb.errors import ConfigError


class Targets(NamedTuple):
    """The positives' columns and what else is known of a batch; `Targets(column)` is enough for most losses.

    column: [b], where each query's positive stands among the n passages; its group follows it there.
    query_identity, passage_identity: [b] and [n]; equal identity, other column: a false negative. Below 0: unknown.
    teacher_scores: [b, g], a teacher's score of each passage of the group; of a scored pair, its gold score [b, 1].
    group_size: passages per query (g), the positive included; where groups differ the longest, and
    group_sizes: [b], of each; a group of one has its positive alone, and its negatives from the batch.
    query_guide, passage_guide: [b, e] and [n, e], unit vectors of a guide that judges which negatives are false.
    """

    column: Tensor
    query_identity: Tensor | None = None
    passage_identity: Tensor | None = None
    teacher_scores: Tensor | None = None
    group_size: int = 1
    query_guide: Tensor | None = None
    passage_guide: Tensor | None = None
    group_sizes: Tensor | None = None


Loss = Callable[[Tensor, Tensor, Targets], Tensor]


def complete_targets(query: Tensor, passages: Tensor, targets: Targets | None) -> Targets:
    """The targets after a check of all shapes; without targets, query i's group is the i-th of n // b passages."""
    queries, count = len(query), len(passages)
    if query.dim() != 2 or passages.dim() != 2 or query.shape[1] != passages.shape[1]:
        shapes = f"query {list(query.shape)} and passages {list(passages.shape)}"
        raise ConfigError(f"a loss got {shapes}; expected [b, d] and [n, d] of the same d")
    if targets is None:
        if not queries or not count or count % queries:
            raise ConfigError(
                f"{count} passages for {queries} queries: without targets, expected the same number of passages "
                "for every query, its positive first; pass Targets(column) where that is not so"
            )
        size = count // queries
        return Targets(torch.arange(0, count, size, device=query.device), group_size=size)
    _check_lengths(targets, queries, count)
    return targets


def _check_lengths(targets: Targets, queries: int, passages: int) -> None:
    by_query = ("column", "query_identity", "teacher_scores", "query_guide", "group_sizes")
    by_passage = ("passage_identity", "passage_guide")
    for names, expected, what in ((by_query, queries, "queries"), (by_passage, passages, "passages")):
        for name in names:
            value = getattr(targets, name)
            if value is not None and len(value) != expected:
                raise ConfigError(
                    f"targets.{name} has {len(value)} rows; expected {expected}, one for each of the {what}"
                )
    require_groups(targets, targets.group_size, passages)
    for pair in (("query_identity", "passage_identity"), ("query_guide", "passage_guide")):
        given = [name for name in pair if getattr(targets, name) is not None]
        if len(given) == 1:
            raise ConfigError(f"targets carry {given[0]} alone; expected both {pair[0]} and {pair[1]}, or neither")


def require_groups(targets: Targets, size: int, passages: int) -> None:
    """Refuse groups of `size` that end beyond the passages. Raises ConfigError; a GPU would have to be waited for."""
    if targets.column.device.type == "cpu":
        _check_columns(targets._replace(group_size=size), passages)


def _check_columns(targets: Targets, passages: int) -> None:
    column, sizes = targets.column, targets.group_sizes
    if column.dtype not in (torch.int64, torch.int32) or column.dim() != 1:
        raise ConfigError(f"targets.column is {column.dtype} {list(column.shape)}; expected whole numbers [b]")
    last = column + (targets.group_size if sizes is None else sizes) - 1
    if len(column) and not (int(column.min()) >= 0 and int(last.max()) < passages):
        row = int(torch.argmax(((column < 0) | (last >= passages)).int()))
        raise ConfigError(
            f"targets.column of query {row} is {int(column[row])}, and its group ends at {int(last[row])}; expected "
            f"places among the {passages} passages, from 0"
        )


def group_columns(targets: Targets, size: int) -> Tensor:
    """Columns of each query's own group, its positive first: [b, size]; a shorter group's last stands for the rest."""
    place = torch.arange(size, device=targets.column.device)
    if targets.group_sizes is not None:
        place = torch.minimum(place, targets.group_sizes[:, None] - 1)
    return targets.column[:, None] + place


def teacher_scores(targets: Targets, loss: str, at_least: int = 1) -> Tensor:
    """The teacher's scores [b, g], or a ConfigError that says where the named loss gets them from."""
    scores = targets.teacher_scores
    if scores is None:
        raise ConfigError(
            f"{loss} learns from scores and got none: give every example `pos_scores` (and `neg_scores` where it has "
            "`neg`) and train with --knowledge_distillation, or set targets.teacher_scores"
        )
    if scores.dim() != 2 or scores.shape[1] < at_least:
        raise ConfigError(
            f"{loss} got teacher_scores {list(scores.shape)}; expected [b, g] with g at least {at_least}"
            + ("; raise --train_group_size, one passage has nothing to compare" if at_least > 1 else "")
        )
    if targets.group_sizes is not None and (targets.group_sizes < scores.shape[1]).any():
        raise ConfigError(f"{loss} compares {scores.shape[1]} passages of every group, and some groups have fewer")
    if targets.group_size > 1 and targets.group_size != scores.shape[1]:
        raise ConfigError(
            f"{loss} got {scores.shape[1]} teacher_scores per query for groups of {targets.group_size} passages; "
            "expected one score for each passage of the group"
        )
    return scores
