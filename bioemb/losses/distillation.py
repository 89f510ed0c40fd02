"""Learning from a teacher's scores of each query's group, a re-ranker's as a rule: `targets.teacher_scores` [b, g].

Below, s_ij is the query's score with the j-th passage of its own group and u_ij the teacher's, j = 0 the positive.

    loss = KLDistillation(temperature=0.02)
    loss(query, passages, Targets(column, teacher_scores=scores)).backward()   # [b, d], [n, d], scores [b, g]
"""

import torch
from torch import Tensor, nn

from bioemb.errors import ConfigError
from bioemb.losses.info_nce import InfoNCE
from bioemb.losses.masks import SameIdentity
from bioemb.losses.row_blocks import Excluded, group_scores, mean_over_queries, widened
from bioemb.losses.targets import Targets, complete_targets, group_columns, require_groups, teacher_scores
from bioemb.losses.temperature import Scale


class KLDistillation(nn.Module):
    """InfoNCE, plus the cross-entropy of the student's distribution over the group to the teacher's.

        loss = InfoNCE + mean_i sum_j -softmax(u_i / v)_j log softmax(s_i / t)_j

    It differs from the Kullback-Leibler divergence (arXiv 2010.11386) by the teacher's entropy, a constant: the same
    gradient. With the teacher's temperature v at 1, the numbers of FlagEmbedding's `kl_div`.
    """

    def __init__(
        self,
        temperature: float = 0.02,
        learn_temperature: bool = False,
        in_batch: bool = True,
        teacher_temperature: float = 1.0,
    ):
        super().__init__()
        self.info_nce = InfoNCE(temperature, learn_temperature, in_batch)
        self.teacher_temperature = _above_zero(teacher_temperature)

    def forward(self, query: Tensor, passages: Tensor, targets: Targets) -> Tensor:
        """query: [b, d]; passages: [n, d]."""
        targets = complete_targets(query, passages, targets)
        query, passages = widened(query, passages)
        teacher = teacher_scores(targets, "KLDistillation", at_least=2).to(query)
        require_groups(targets, teacher.shape[1], len(passages))
        targets = targets._replace(group_size=teacher.shape[1])
        student = group_scores(query * self.info_nce.scale(), passages, group_columns(targets, teacher.shape[1]))
        distance = -((teacher / self.teacher_temperature).softmax(1) * student.log_softmax(1)).sum(1)  # [b]
        return distance.sum() / max(1, len(query)) + self.info_nce(query, passages, targets)


class M3Distillation(nn.Module):
    """Every passage of the group as a positive in its turn, weighted by the teacher (FlagEmbedding's `m3_kd_loss`).

        loss = mean_i sum_j softmax(u_i / v)_j * -log( exp(s_ij / t) / sum_k exp(s_ik / t) )

    k runs over all n passages but the first j of query i's own group. With in-batch off it runs over the group only.
    Passages of the query's identity outside its group are left out; inside, the teacher's word holds.
    v: the teacher's temperature, 1 in FlagEmbedding.
    """

    def __init__(
        self,
        temperature: float = 0.02,
        learn_temperature: bool = False,
        in_batch: bool = True,
        teacher_temperature: float = 1.0,
    ):
        super().__init__()
        self.scale = Scale(temperature, learn_temperature)
        self.in_batch, self.teacher_temperature = in_batch, _above_zero(teacher_temperature)

    def forward(self, query: Tensor, passages: Tensor, targets: Targets) -> Tensor:
        """query: [b, d]; passages: [n, d]."""
        targets = complete_targets(query, passages, targets)
        query, passages = widened(query, passages)
        teacher = teacher_scores(targets, "M3Distillation", at_least=2).to(query)
        require_groups(targets, teacher.shape[1], len(passages))
        weights = (teacher / self.teacher_temperature).softmax(1)
        own = group_columns(targets, weights.shape[1])
        scaled = query * self.scale()
        if not self.in_batch:
            rest = torch.full_like(weights[:, :1], torch.finfo(weights.dtype).min)
            losses = _weighted_turns(group_scores(scaled, passages, own), rest, weights)
            return losses.sum() / max(1, len(query))

        def loss(scores: Tensor, rows: slice) -> Tensor:
            others = scores.scatter(1, own[rows], torch.finfo(scores.dtype).min)  # finite: all may be masked
            return _weighted_turns(scores.gather(1, own[rows]), others.logsumexp(1, keepdim=True), weights[rows])

        return mean_over_queries(loss, scaled, passages, _outside_own_group(targets, own))


def _above_zero(teacher_temperature: float) -> float:
    if not teacher_temperature > 0:
        raise ConfigError(f"teacher_temperature is {teacher_temperature}; expected more than 0, usually 1")
    return teacher_temperature


def _weighted_turns(group: Tensor, rest: Tensor, weights: Tensor) -> Tensor:
    """Loss [b] of a group's scores [b, g], given the log-sum-exp [b, 1] of the scores outside the group."""
    later = torch.cat([rest, group.flip(1)], 1).logcumsumexp(1)[:, 1:].flip(1)  # over j, j + 1, ..., and the rest
    return (weights * (later - group)).sum(1)


def _outside_own_group(targets: Targets, own: Tensor) -> Excluded | None:
    """False negatives by identity, all but those of the query's own group, for `mean_over_queries`."""
    if targets.query_identity is None:
        return None
    same = SameIdentity(targets.query_identity, targets.passage_identity)

    def excluded(rows: slice) -> tuple[Tensor, Tensor]:
        row, column = same.pairs(rows)
        outside = (column[:, None] != own[rows][row]).all(1)
        return row[outside], column[outside]

    return excluded


class MarginMSE(nn.Module):
    """The positive's lead over each negative of its group is to be the teacher's (arXiv 2010.02666).

        loss = mean over i and j > 0 of ( (s_i0 - s_ij) * scale - (u_i0 - u_ij) )^2

    scale: 1 for a teacher that gives cosines; more for a re-ranker's logits, which cosines cannot reach.
    """

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, query: Tensor, passages: Tensor, targets: Targets) -> Tensor:
        """query: [b, d]; passages: [n, d]."""
        targets = complete_targets(query, passages, targets)
        teacher = teacher_scores(targets, "MarginMSE", at_least=2)
        require_groups(targets, teacher.shape[1], len(passages))
        student = group_scores(query, passages, group_columns(targets, teacher.shape[1])) * self.scale
        difference = (student[:, :1] - student[:, 1:]) - (teacher[:, :1] - teacher[:, 1:]).to(student)  # [b, g - 1]
        return difference.square().sum() / max(1, difference.numel())
