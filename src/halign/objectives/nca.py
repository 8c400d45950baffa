"""Noise contrastive alignment, from pairs."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import Positive, log_ratios
from halign.objectives.items import Pairs


def nca(pairs: Pairs, *, beta: Positive = 0.1) -> Tensor:
    r"""Tell the chosen response from samples of the reference; absolute rewards, so the chosen one's does not fall.

    .. math:: -\log\sigma(r_w) - \tfrac12 \log\sigma(-r_w) - \tfrac12 \log\sigma(-r_l), \quad r = \beta D

    Source: Chen et al. 2024, arXiv 2402.05369, the NCA loss for K = 2 responses of which one has all the weight.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: strength of the pull to the reference, per nat.

    Returns:
        float32 [P], nats; 2 ln 2 where the policy equals the reference. The best r_w is ln 2, not infinity.

    >>> import torch
    >>> p = Pairs(*map(torch.tensor, ([-9.0], [-9.0], [-9.0], [-9.0])))
    >>> round(float(nca(p)), 6)
    1.386294
    """
    chosen, rejected = log_ratios(pairs)
    noise = logsigmoid(-beta * chosen) + logsigmoid(-beta * rejected)
    return -logsigmoid(beta * chosen) - noise / 2
