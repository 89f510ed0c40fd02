"""A packed row in parts for attention: scores of a part stay in a core's cache, and parts have few shapes.

oneDNN makes code for each shape of a product that it meets, and keeps it. With a shape for each length and number of
texts, memory would grow with the variety of a corpus. So texts of similar lengths go together, in powers of two, each
filled up with zeros to the same length; and rows are filled up themselves.
"""

from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 16  # tokens; beyond 128 an eighth of the power of two below


class Part(NamedTuple):
    """Some texts and heads: `texts` of at most `length` tokens each, one after the other in the row."""

    tokens: slice  # of the row
    heads: slice
    texts: int
    length: int
    spread: Tensor | None  # [texts * length] which token stands there, their number for none; None: each its own
    places: Tensor | None  # of each token among texts * length
    shortest: int
    beyond: Tensor | None  # bool [texts, 1, length - shortest]: which places from `shortest` on have no token

    def take(self, x: Tensor) -> Tensor:
        """Of x [all heads, T, width] this part: [heads * texts, length, width], zeros where there is no token."""
        own = x[self.heads, self.tokens]
        if self.texts == 1:
            return F.pad(own, (0, 0, 0, self.length - own.shape[1])).contiguous()
        own = own.transpose(0, 1)
        if self.spread is not None:
            own = torch.cat([own, own.new_zeros(1, *own.shape[1:])]).index_select(0, self.spread)
        return own.unflatten(0, (self.texts, self.length)).permute(2, 0, 1, 3).flatten(0, 1)

    def put(self, values: Tensor, result: Tensor) -> None:
        """Values [heads * texts, length, width] to their place in result [T, all heads, width]."""
        values = values.reshape(-1, self.texts * self.length, values.shape[2])
        own = values if self.places is None else values.index_select(1, self.places)
        result[self.tokens, self.heads] = own.transpose(0, 1)

    def mask(self, scores: Tensor) -> None:
        """Minus infinity to the scores [heads * texts, length, length] of keys without a token."""
        if self.beyond is not None:
            tails = scores.unflatten(0, (-1, self.texts))[..., self.shortest :]
            tails.masked_fill_(self.beyond, -torch.inf)

    def added(self, dtype: torch.dtype) -> Tensor | None:
        """What is to be added to scores to the same end, [1, texts, length, length]; None: nothing."""
        if self.beyond is None:
            return None
        tails = torch.zeros(self.beyond.shape, dtype=dtype).masked_fill_(self.beyond, -torch.inf)
        return F.pad(tails, (self.shortest, 0)).expand(-1, self.length, -1)[None]


@lru_cache(maxsize=64)  # of the rows in work: their layers divide them alike
def divide(lengths: tuple[int, ...], heads: int, scores: int) -> tuple[Part, ...]:
    """Parts of a row of texts of these lengths; scores: how many of them may be in work at once."""
    parts, start, first = [], 0, 0
    for length, run in groupby(lengths, rounded):
        matrices = max(1, scores // (length * length))  # of one head and one text
        last = first + len(list(run))
        while first < last:
            texts = power_of_two(min(last - first, max(1, matrices // heads)))
            own = lengths[first : first + texts]
            for head in range(0, heads, matrices):
                some = slice(head, min(heads, head + matrices))
                parts.append(Part(slice(start, start + sum(own)), some, texts, length, *_filling(own, length)))
            start, first = start + sum(own), first + texts
    return tuple(parts)


def rounded(length: int) -> int:
    """The length that a text's scores are computed at."""
    step = max(STEP, 1 << (length - 1).bit_length() >> 4)
    return -(-length // step) * step


def power_of_two(limit: int) -> int:
    """The largest one that is not above the limit."""
    return 1 << limit.bit_length() - 1


def _filling(lengths: tuple[int, ...], length: int) -> tuple[Tensor | None, Tensor | None, int, Tensor | None]:
    """Spread, places, shortest and beyond of a part."""
    shortest = min(lengths)
    if shortest == length:
        return None, None, shortest, None
    missing = torch.arange(length) >= torch.tensor(lengths)[:, None]  # [texts, length]
    places = (~missing).flatten().nonzero()[:, 0]
    spread = torch.full((missing.numel(),), len(places))
    spread[places] = torch.arange(len(places))
    return spread, places, shortest, missing[:, None, shortest:]
