"""InfoNCE, the loss of contrastive learning (arXiv 1807.03748), exact without the [b, n] matrix.

    loss = mean_i  -log( exp(s_ic / t) / sum_j exp(s_ij / t) )        s_ij = <query_i, passage_j>,  c = column_i

j runs over all n passages but the query's false negatives: those that share its identity, and, by option, those that
score too close to or above its positive. Temperature t 0.02, the positive first in its group, and nothing else set:
the numbers of FlagEmbedding's loss.

    loss = InfoNCE(temperature=0.02)
    loss(query, passages).backward()                       # [b, d], [b * g, d]: groups one after another
    loss(query, passages, Targets(column, query_identity, passage_identity))
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioemb.errors import ConfigError
from bioemb.losses.contrasts import DIRECTIONS, Contrast, Exclusion
from bioemb.losses.row_blocks import group_scores, mean_by_rule, widened
from bioemb.losses.targets import Targets, complete_targets, group_columns
from bioemb.losses.temperature import Scale


class InfoNCE(nn.Module):
    """Cross-entropy of each query's positive among all passages, over scores divided by the temperature.

    temperature: above 0; learn_temperature: it becomes a parameter, to be given to the optimiser (`Scale`).
    in_batch: against all n passages, or only against the query's own group of `targets.group_size`.
    directions: "query", queries against passages; "both", the mean of that and positives against this process's
    queries; "gte", one softmax over query-passage, query-query, passage-query and passage-passage (arXiv 2308.03281).
    false_negative_margin: leave out passages that score above the positive's own score plus this many cosines
    (Qwen3-Embedding, arXiv 2506.05176, takes 0.1); by the guide's scores where the targets carry a guide (GISTEmbed,
    arXiv 2402.16829, takes 0).
    """

    def __init__(
        self,
        temperature: float = 0.02,
        learn_temperature: bool = False,
        in_batch: bool = True,
        directions: str = "query",
        false_negative_margin: float | None = None,
    ):
        super().__init__()
        if directions not in DIRECTIONS:
            raise ConfigError(f"directions is {directions!r}; expected one of {', '.join(DIRECTIONS)}")
        if not in_batch and directions != "query":
            raise ConfigError(
                f"directions {directions!r} compares across the batch; expected 'query' with in_batch off"
            )
        self.scale = Scale(temperature, learn_temperature)
        self.in_batch, self.directions, self.margin = in_batch, directions, false_negative_margin

    @property
    def temperature(self) -> float:
        """The temperature of now, for the log."""
        with torch.no_grad():
            return 1 / float(self.scale())

    def forward(self, query: Tensor, passages: Tensor, targets: Targets | None = None) -> Tensor:
        """query: [b, d]; passages: [n, d]; both of unit length where scores are to be cosines."""
        targets = complete_targets(query, passages, targets)
        if self.margin is None and targets.query_guide is not None:
            raise ConfigError("targets carry a guide, but false_negative_margin is None; use 0.0 for GISTEmbed's rule")
        query, passages = widened(query, passages)
        if not self.in_batch:
            return self._within_group(query, passages, targets)
        contrasts = [direction(query, passages, targets) for direction in DIRECTIONS[self.directions]]
        return sum(self._cross_entropy(contrast) for contrast in contrasts) / len(contrasts)

    def _cross_entropy(self, contrast: Contrast) -> Tensor:
        def rule(scores: Tensor, rows: slice) -> Tensor:
            if self.margin is not None:
                scores.masked_fill_(self._false_negatives(scores, contrast, rows), -torch.inf)
            return cross_entropy_(scores, contrast.kept[rows, :1])

        # The scale's gradient comes through this product: it is <vectors, their gradient>, and needs no scores.
        return mean_by_rule(rule, contrast.vectors * self.scale(), contrast.others, Exclusion(contrast))

    def _false_negatives(self, scores: Tensor, contrast: Contrast, rows: slice) -> Tensor:
        """Which scores of a block lie too high, by the guide or, without one, by themselves: bool [k, r * m]."""
        if contrast.guide is None:
            judged, margin = scores, self.margin * self.scale()
        else:
            guide = contrast.guide[rows].flatten(0, -2)
            judged, margin = (guide @ contrast.other_guide.T).view_as(scores), self.margin
        kept = contrast.kept[rows]
        return (judged > judged.gather(1, kept[:, :1]) + margin).scatter_(1, kept, False)

    def _within_group(self, query: Tensor, passages: Tensor, targets: Targets) -> Tensor:
        if targets.group_size < 2:
            raise ConfigError(
                "in-batch negatives are off and a group is its positive alone, so there is nothing to compare; "
                "raise --train_group_size to 2 or more, or turn in-batch negatives on"
            )
        columns = group_columns(targets, targets.group_size)  # [b, g]
        scores = group_scores(query * self.scale(), passages, columns)
        first = torch.zeros_like(columns[:, :1])
        out = torch.zeros_like(columns, dtype=torch.bool)
        if targets.group_sizes is not None:
            out |= torch.arange(columns.shape[1], device=out.device) >= targets.group_sizes[:, None]
        if targets.query_identity is not None:
            identity = targets.query_identity[:, None]
            out |= (targets.passage_identity[columns] == identity) & (identity >= 0)
        if self.margin is not None:
            judged, margin = scores.detach(), self.margin * self.scale()
            if targets.query_guide is not None:
                judged, margin = group_scores(targets.query_guide, targets.passage_guide, columns), self.margin
            out |= judged > judged[:, :1] + margin
        scores = scores.masked_fill(out.scatter(1, first, False), -torch.inf)
        return F.cross_entropy(scores, first[:, 0], reduction="sum") / max(1, len(query))


def cross_entropy_(scores: Tensor, positive: Tensor) -> Tensor:
    """-log softmax at the positive's position, with its gradient left in place of the scores.

    scores: [k, n], -inf for what is left out; positive: [k, 1] -> [k].
    """
    positive_score, highest = scores.gather(1, positive), scores.amax(1, keepdim=True)
    # One fused pass, in place. The exponential alone (exp_) is slow on a CPU wherever it underflows.
    torch.softmax(scores, 1, out=scores)
    log_sum_exp = highest - scores.amax(1, keepdim=True).log()  # the largest probability is exp(highest) / sum
    scores.scatter_(1, positive, scores.gather(1, positive) - 1)
    return (log_sum_exp - positive_score)[:, 0]
