"""From a batch to what a loss is told of it: positives' columns, identities, scores and a guide's vectors."""

import numpy as np
import torch
from torch import Tensor

from bioemb.data.collator import Batch
from bioemb.distributed import gather
from bioemb.encoder import Encoder
from bioemb.encoding import encode_ids
from bioemb.losses import Targets


def make_targets(
    batch: Batch, group_size: int, device: torch.device, guide: Encoder | None = None, bf16: bool = False
) -> Targets:
    """The targets of a batch against its own passages. guide: a frozen encoder that judges false negatives."""

    def tensor(values: np.ndarray | None) -> Tensor | None:
        return None if values is None else torch.from_numpy(values).to(device)

    sizes = batch.group_sizes
    return Targets(
        column=tensor(np.cumsum(sizes) - sizes),
        query_identity=tensor(batch.query_identity),
        passage_identity=tensor(batch.passage_identity),
        teacher_scores=tensor(batch.teacher_scores),
        group_size=group_size,
        query_guide=encode_ids(guide, batch.guide_queries, bf16=bf16) if guide else None,
        passage_guide=encode_ids(guide, batch.guide_passages, bf16=bf16) if guide else None,
        group_sizes=None if (sizes == group_size).all() else tensor(sizes),
    )


def across_processes(passages: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    """All processes' passages [n, d], and the targets of this process's queries among them."""
    passages, start = gather(passages)
    identity, _ = gather(targets.passage_identity)
    targets = targets._replace(column=targets.column + start, passage_identity=identity)
    if targets.passage_guide is not None:
        targets = targets._replace(passage_guide=gather(targets.passage_guide)[0])
    return passages, targets
