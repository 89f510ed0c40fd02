"""AnglE for scored pairs: the order of CoSENT, asked of angles in complex space (arXiv 2309.12871, equations 5 to 8).

Each vector is read as d / 2 complex numbers, its first half real and its second imaginary. The angle of a pair is
taken from the quotient z / w, which unlike the cosine has no flat ends at 1 and -1:

    angle = | sum of the real and imaginary parts of z / w, over the lengths |z| / |w| |
    loss = log( 1 + sum over i, j with gold_i > gold_j of exp( scale * (angle_j - angle_i) ) )

    angle, cosent = AnglE(), CoSENT()
    def loss(query, passages, targets):                    # the paper trains with both, and with InfoNCE
        return angle(query, passages, targets) + cosent(query, passages, targets)
"""

import torch.nn.functional as F
from torch import Tensor, nn

from bioemb.losses.cosent import order_loss
from bioemb.losses.row_blocks import widened
from bioemb.losses.targets import Targets, complete_targets, teacher_scores


class AnglE(nn.Module):
    """The angle objective alone, one logarithm over all ordered couples of this process's pairs.

    scale: what the angles are multiplied by; 20 as for CoSENT.
    """

    def __init__(self, scale: float = 20.0):
        super().__init__()
        self.scale = scale

    def forward(self, query: Tensor, passages: Tensor, targets: Targets) -> Tensor:
        """query: [b, d]; passages: [n, d]; pairs and gold scores as in CoSENT."""
        targets = complete_targets(query, passages, targets)
        gold = teacher_scores(targets, "AnglE")[:, 0]
        query, passages = widened(query, passages)
        return order_loss(complex_angle(query, passages[targets.column]) * self.scale, gold)


def complex_angle(z: Tensor, w: Tensor) -> Tensor:
    """The angle score of each pair, in [0, sqrt(2)]. z, w: [b, d] -> [b]; an odd d is padded with a zero."""
    if z.shape[1] % 2:
        z, w = F.pad(z, (0, 1)), F.pad(w, (0, 1))
    (a, b), (c, d) = F.normalize(z, dim=1).chunk(2, 1), F.normalize(w, dim=1).chunk(2, 1)
    return ((a * c + b * d) + (b * c - a * d)).sum(1).abs()  # of unit length, so z / w is z times w's conjugate
