"""Oracles for the losses: the papers' formulas as plain loops over queries and passages, and lopsided batches."""

import math

import torch
import torch.nn.functional as F

from bioemb.losses import Targets


def lopsided_batch(seed: int, queries: int = 7, size: int = 3, before: int = 4, width: int = 6):
    """Float64 unit vectors (query, passages) that want gradients, and targets with identities and teacher scores.

    `before` passages of another process come first and 2 more last; identities repeat unevenly, some are unknown.
    """
    make = torch.Generator().manual_seed(seed)
    count = before + queries * size + 2
    query = F.normalize(torch.randn(queries, width, generator=make, dtype=torch.float64), dim=1)
    passages = F.normalize(torch.randn(count, width, generator=make, dtype=torch.float64), dim=1)
    column = before + size * torch.arange(queries)
    passage_identity = torch.randint(-1, 9, (count,), generator=make)
    query_identity = passage_identity[column].clone()
    query_identity[-1] = -1
    teacher = torch.randn(queries, size, generator=make, dtype=torch.float64) * 3
    targets = Targets(column, query_identity, passage_identity, teacher, group_size=size)
    return query.requires_grad_(), passages.requires_grad_(), targets


def with_guide(targets: Targets, seed: int, width: int = 5) -> Targets:
    """The targets with a guide's vectors, drawn apart from the student's."""
    make = torch.Generator().manual_seed(1000 + seed)
    guides = [torch.randn(count, width, generator=make, dtype=torch.float64)
              for count in (len(targets.column), len(targets.passage_identity))]  # fmt: skip
    return targets._replace(query_guide=F.normalize(guides[0], dim=1), passage_guide=F.normalize(guides[1], dim=1))


def alike(one, other) -> bool:
    return int(one) >= 0 and int(one) == int(other)


def dot(one, other):
    return (one * other).sum()


def log_fraction(above, below):
    """-log(exp(above) / sum(exp(below)))"""
    return -above + torch.logsumexp(torch.stack(below), 0)


def rises(targets, margin, row, view_of_row, other, score, positive):
    """Whether a comparison lies above the positive's plus the margin, by the guide if there is one."""
    if margin is None:
        return False
    if targets.query_guide is None:
        return bool(score > positive + margin)
    mine = {"query": targets.query_guide[row], "positive": targets.passage_guide[targets.column[row]]}
    kind, index = other
    theirs = targets.query_guide[index] if kind == "query" else targets.passage_guide[index]
    limit = dot(mine["query"], mine["positive"]) + margin
    return bool(dot(mine[view_of_row], theirs) > limit)


def info_nce(query, passages, targets, temperature, margin=None, columns_of=None):
    """Queries against passages: all, or those of `columns_of(row)`."""
    losses = []
    for row, column in enumerate(targets.column.tolist()):
        positive = dot(query[row], passages[column])
        below = []
        for other in range(len(passages)) if columns_of is None else columns_of(row):
            score = dot(query[row], passages[other])
            if other != column:
                if alike(targets.query_identity[row], targets.passage_identity[other]):
                    continue
                if rises(targets, margin, row, "query", ("passage", other), score, positive):
                    continue
            below.append(score / temperature)
        losses.append(log_fraction(positive / temperature, below))
    return torch.stack(losses).mean()


def positives_to_queries(query, passages, targets, temperature, margin=None):
    losses = []
    for row, column in enumerate(targets.column.tolist()):
        positive, below = dot(query[row], passages[column]), []
        for other in range(len(query)):
            score = dot(query[other], passages[column])
            if other != row:
                if alike(targets.query_identity[row], targets.query_identity[other]):
                    continue
                if rises(targets, margin, row, "positive", ("query", other), score, positive):
                    continue
            below.append(score / temperature)
        losses.append(log_fraction(positive / temperature, below))
    return torch.stack(losses).mean()


def gte(query, passages, targets, temperature, margin=None):
    """arXiv 2308.03281, section 3.3, with hard negatives: a positive does not meet its own group."""
    losses = []
    for row, column in enumerate(targets.column.tolist()):
        positive, below = dot(query[row], passages[column]), []
        own_group = range(column, column + targets.group_size)
        comparisons = [("query", ("passage", other)) for other in range(len(passages))]
        comparisons += [("query", ("query", other)) for other in range(len(query)) if other != row]
        comparisons += [("positive", ("query", other)) for other in range(len(query))]
        comparisons += [("positive", ("passage", other)) for other in range(len(passages)) if other not in own_group]
        for view, (kind, index) in comparisons:
            mine = query[row] if view == "query" else passages[column]
            theirs = query[index] if kind == "query" else passages[index]
            identity = targets.query_identity[index] if kind == "query" else targets.passage_identity[index]
            score = dot(mine, theirs)
            is_pair = (view, kind, index) in (("query", "passage", column), ("positive", "query", row))
            if not is_pair and alike(targets.query_identity[row], identity):
                continue
            if not is_pair and rises(targets, margin, row, view, (kind, index), score, positive):
                continue
            below.append(score / temperature)
        losses.append(log_fraction(positive / temperature, below))
    return torch.stack(losses).mean()


def kl_term(query, passages, targets, temperature):
    total = 0.0
    for row, column in enumerate(targets.column.tolist()):
        scores = targets.teacher_scores[row]
        teacher = [math.exp(score) / sum(math.exp(other) for other in scores) for score in scores]
        student = [dot(query[row], passages[column + place]) / temperature for place in range(len(scores))]
        for weight, score in zip(teacher, student, strict=True):
            total = total + weight * log_fraction(score, student)
    return total / len(query)


def m3(query, passages, targets, temperature, in_batch=True):
    """Each passage of the group as positive in turn; after its turn it is out."""
    total = 0.0
    for row, column in enumerate(targets.column.tolist()):
        scores, size = targets.teacher_scores[row], targets.teacher_scores.shape[1]
        own = range(column, column + size)
        for turn in range(size):
            weight = math.exp(scores[turn]) / sum(math.exp(other) for other in scores)
            columns = [other for other in range(len(passages)) if in_batch or other in own]
            columns = [other for other in columns if other not in own[:turn]]
            columns = [other for other in columns if other in own
                       or not alike(targets.query_identity[row], targets.passage_identity[other])]  # fmt: skip
            below = [dot(query[row], passages[other]) / temperature for other in columns]
            total = total + weight * log_fraction(dot(query[row], passages[column + turn]) / temperature, below)
    return total / len(query)


def ordered_couples(scores, gold, scale):
    """CoSENT's loss of scores: every couple whose gold scores differ."""
    total = 1.0
    for high in range(len(gold)):
        for low in range(len(gold)):
            if gold[high] > gold[low]:
                total = total + torch.exp(scale * (scores[low] - scores[high]))
    return torch.log(total)


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)
