"""Which passages are no negatives of a query: its positive, and those that share its identity."""

import torch
from torch import Tensor

from bioemb.errors import ConfigError
from bioemb.losses.targets import Targets


def not_negative(targets: Targets, passages: int | None = None) -> Tensor:
    """True where a passage is the query's positive or a false negative, for a dense loss to mask: bool [b, n].

    passages: n, needed only where the targets carry no identities. An identity below 0 matches nothing.
    """
    column, identity = targets.column, targets.passage_identity
    if identity is not None and targets.query_identity is not None:
        query_identity = targets.query_identity[:, None]
        mask = (query_identity == identity) & (query_identity >= 0)
    elif passages is not None:
        mask = torch.zeros(len(column), passages, dtype=torch.bool, device=column.device)
    else:
        raise ConfigError(
            "not_negative cannot tell the number of passages from targets without identities; "
            "pass it: not_negative(targets, len(passages))"
        )
    return mask.scatter(1, column[:, None], True)


class SameIdentity:
    """Finds the columns that carry a row's identity by binary search: O(n log n) once, and never a [b, n] comparison.

    row_identity: [b]; column_identity: [n]; below 0: unknown, matches nothing.
    """

    def __init__(self, row_identity: Tensor, column_identity: Tensor):
        ordered, self.order = column_identity.sort()
        row_identity = row_identity.contiguous()
        self.first = torch.searchsorted(ordered, row_identity)
        count = torch.searchsorted(ordered, row_identity, right=True) - self.first
        self.count = count.masked_fill(row_identity < 0, 0)

    def pairs(self, rows: slice) -> tuple[Tensor, Tensor]:
        """(row, column) of every match in a slice of the rows, row counted from the slice's start: two [matches]."""
        first, count = self.first[rows], self.count[rows]
        row = torch.arange(len(count), device=count.device).repeat_interleave(count)
        matches_before = count.cumsum(0) - count
        rank = torch.arange(len(row), device=row.device) - matches_before[row]  # which of its row's matches
        return row, self.order[first[row] + rank]
