"""The hinge loss on implicit rewards."""

import torch
from torch import Tensor

from halign.objectives.contract import Positive, log_ratios
from halign.objectives.items import Pairs


def hinge(pairs: Pairs, *, beta: Positive = 0.05) -> Tensor:
    r"""Once the implicit rewards are one apart the pair is done with, and its gradient is zero.

    .. math:: \max(0, 1 - \beta (D_w - D_l))

    Source: hinge-norm of Liu et al. 2023, arXiv 2309.06657 (statistical rejection sampling, RSO), its gamma being beta here: a
    SLiC whose log-probabilities are normalised by the reference.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: per nat; a pair is done with at a gap of 1 / beta (20 nats at 0.05).

    Returns:
        float32 [P]; 1 where the policy equals the reference.

    >>> pairs = Pairs(*map(torch.tensor, ([-6.0], [-12.0], [-10.0], [-10.0])))
    >>> round(float(hinge(pairs)), 6)  # 1 - 0.05 * (4 - -2)
    0.7
    """
    chosen, rejected = log_ratios(pairs)
    return torch.relu(1 - beta * (chosen - rejected))
