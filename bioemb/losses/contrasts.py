"""Who competes with a query's positive: the softmaxes that a contrastive loss is made of.

A contrast is one softmax per example, over the scores of r vectors of the example with m others. The directions are
functions that make contrasts of a batch; `InfoNCE` gives each its cross-entropy.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bioemb.losses.masks import SameIdentity
from bioemb.losses.targets import Targets, group_columns


class Contrast(NamedTuple):
    """One softmax per example over its r * m scores, the first vector's m before the second's. Positions count there.

    vectors: [b, d] or [b, r, d]; others: [m, d]; kept: [b, any], positions that no mask may take, the positive first.
    identity, other_identity: [b] and [m]; equal ones are not contrasted. excluded: [b, any], more positions left out.
    guide, other_guide: a guide's vectors, shaped like vectors and others.
    """

    vectors: Tensor
    others: Tensor
    kept: Tensor
    identity: Tensor | None = None
    other_identity: Tensor | None = None
    excluded: Tensor | None = None
    guide: Tensor | None = None
    other_guide: Tensor | None = None


def query_to_passages(query: Tensor, passages: Tensor, targets: Targets) -> Contrast:
    """Each query against all n passages."""
    return Contrast(
        query, passages, targets.column[:, None], targets.query_identity, targets.passage_identity,
        guide=targets.query_guide, other_guide=targets.passage_guide,
    )  # fmt: skip


def positive_to_queries(query: Tensor, passages: Tensor, targets: Targets) -> Contrast:
    """Each query's positive against the b queries of this process."""
    own = torch.arange(len(query), device=query.device)[:, None]
    guide = None if targets.passage_guide is None else targets.passage_guide[targets.column]
    return Contrast(
        passages[targets.column], query, own, targets.query_identity, targets.query_identity,
        guide=guide, other_guide=targets.query_guide,
    )  # fmt: skip


def four_way(query: Tensor, passages: Tensor, targets: Targets) -> Contrast:
    """Each query and its positive, in one softmax, against all n passages and the b queries (GTE, arXiv 2308.03281).

    A query does not meet itself and a positive does not meet its own group. As in the paper, the pair itself counts
    twice below the fraction: as query to positive and as positive to query.
    """
    row, width = torch.arange(len(query), device=query.device)[:, None], len(passages) + len(query)
    own_query = len(passages) + row  # [b, 1], among a vector's m scores
    own_group = group_columns(targets, targets.group_size)
    identities = None
    if targets.passage_identity is not None:
        identities = torch.cat([targets.passage_identity, targets.query_identity])
    guide = other_guide = None
    if targets.passage_guide is not None:
        guide = torch.stack([targets.query_guide, targets.passage_guide[targets.column]], 1)
        other_guide = torch.cat([targets.passage_guide, targets.query_guide])
    return Contrast(
        vectors=torch.stack([query, passages[targets.column]], 1),  # [b, 2, d]
        others=torch.cat([passages, query]),  # [n + b, d]
        kept=torch.cat([targets.column[:, None], width + own_query], 1),
        identity=targets.query_identity,
        other_identity=identities,
        excluded=torch.cat([own_query, width + own_group], 1),
        guide=guide,
        other_guide=other_guide,
    )


DIRECTIONS = {
    "query": (query_to_passages,),
    "both": (query_to_passages, positive_to_queries),
    "gte": (four_way,),
}


class Exclusion:
    """The scores of a contrast that take no part, as (row, position) pairs for one slice of rows after another."""

    def __init__(self, contrast: Contrast):
        self.kept, self.excluded, self.width = contrast.kept, contrast.excluded, len(contrast.others)
        self.views = contrast.vectors.shape[1:-1].numel()
        self.same = None
        if contrast.identity is not None:
            self.same = SameIdentity(contrast.identity, contrast.other_identity)

    def __call__(self, rows: slice) -> tuple[Tensor, Tensor]:
        kept = self.kept[rows]
        row = position = kept.new_empty(0)
        if self.same is not None:
            row, position = self.same.pairs(rows)
            row = row.repeat(self.views)
            position = torch.cat([position + view * self.width for view in range(self.views)])
            free = (position[:, None] != kept[row]).all(1)
            row, position = row[free], position[free]
        if self.excluded is not None:
            fixed = self.excluded[rows]
            fixed_row = torch.arange(len(fixed), device=row.device).repeat_interleave(fixed.shape[1])
            row, position = torch.cat([row, fixed_row]), torch.cat([position, fixed.flatten()])
        return row, position
