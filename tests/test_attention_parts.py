"""The parts of a packed row: all of it once, few shapes, little filling."""

import numpy as np
import pytest
import torch

from bioemb.attention_parts import divide, rounded

HEADS = 5


@pytest.mark.parametrize("scores", [1, 3000, 100_000])
def test_parts_hold_each_text_and_put_it_back(scores):
    for seed in range(100):
        rng = np.random.default_rng(seed)
        lengths = tuple(rng.integers(1, 40, int(rng.integers(1, 30))).tolist())
        row = torch.from_numpy(rng.normal(size=(HEADS, sum(lengths), 2)))
        ends = np.cumsum(lengths)
        result = torch.full((sum(lengths), HEADS, 2), torch.nan, dtype=row.dtype)
        for part in divide(lengths, HEADS, scores):
            taken = part.take(row).unflatten(0, (-1, part.texts))  # [heads, texts, length, 2]
            first = int(np.searchsorted(ends, part.tokens.start, side="right"))
            for place, text in enumerate(range(first, first + part.texts)):
                own = row[part.heads, ends[text] - lengths[text] : ends[text]]
                assert torch.equal(taken[:, place, : lengths[text]], own)
                assert not taken[:, place, lengths[text] :].any()
            part.put(part.take(row), result)
        assert torch.equal(result, row.transpose(0, 1))


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, 16), (16, 16), (17, 32), (128, 128), (129, 144), (256, 256), (257, 288), (512, 512), (513, 576)],
)
def test_lengths_are_rounded_up_by_sixteenths_of_the_power_of_two_above(length, expected):
    assert rounded(length) == expected


def test_rounding_adds_an_eighth_at_most():
    assert all(0 <= rounded(length) - length < max(16, length / 8) for length in range(1, 9000))


def test_any_rows_have_few_shapes():
    shapes = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        lengths = sorted(rng.integers(1, 513, 12).tolist(), reverse=True) + [7] * int(rng.integers(0, 200))
        for part in divide(tuple(lengths), 12, 1 << 19):
            heads = part.heads.stop - part.heads.start
            shapes.add((heads * part.texts, part.length))
    assert len({length for _, length in shapes}) == 24
    assert len(shapes) < 80
