"""The worked example of docs/extending-losses.md runs as printed, its own assertions included."""

import re
from pathlib import Path

import torch
from naive_losses import lopsided_batch

from bioemb.losses import TripletMargin, not_negative

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending-losses.md"


def test_the_pages_code_runs_and_its_example_is_the_librarys_triplet():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    for seed in range(3):
        query, passages, targets = lopsided_batch(seed)
        taught = names["MarginLoss"]()(query, passages, targets)
        assert torch.allclose(taught, TripletMargin()(query, passages, targets))


def test_the_shortest_extension_runs_as_the_design_shows_it():
    class MarginLoss(torch.nn.Module):
        def forward(self, query, passages, targets):
            scores = query @ passages.T
            positive = scores.gather(1, targets.column[:, None])
            rivals = scores.masked_fill(not_negative(targets), -1)
            return (rivals.max(1).values - positive[:, 0] + 0.2).clamp(min=0).mean()

    query, passages, targets = lopsided_batch(1)
    assert torch.allclose(MarginLoss()(query, passages, targets), TripletMargin()(query, passages, targets))
