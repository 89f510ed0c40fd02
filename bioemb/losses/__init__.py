"""Losses: one idea, one file, one paper. Each is a callable `loss(query [b, d], passages [n, d], targets) -> scalar`.

Torch only: a loss knows nothing of processes, tokens or files. `docs/extending-losses.md` shows how to write one.
"""

from bioemb.losses.angle import AnglE
from bioemb.losses.cosent import CoSENT
from bioemb.losses.distillation import KLDistillation, M3Distillation, MarginMSE
from bioemb.losses.info_nce import InfoNCE
from bioemb.losses.masks import not_negative
from bioemb.losses.matryoshka import MatryoshkaLoss
from bioemb.losses.row_blocks import mean_over_queries
from bioemb.losses.targets import Loss, Targets
from bioemb.losses.triplet import TripletMargin

__all__ = [
    "AnglE",
    "CoSENT",
    "InfoNCE",
    "KLDistillation",
    "Loss",
    "M3Distillation",
    "MarginMSE",
    "MatryoshkaLoss",
    "Targets",
    "TripletMargin",
    "mean_over_queries",
    "not_negative",
]
