"""Anchored preference optimisation, for chosen responses that are worse than the model's."""

import torch
from torch import Tensor

from halign.objectives.contract import Positive, log_ratios
from halign.objectives.items import Pairs


def apo_down(pairs: Pairs, *, beta: Positive = 0.1) -> Tensor:
    r"""Lower both responses, the rejected one further.

    .. math:: \sigma(\beta D_w) + 1 - \sigma(\beta (D_w - D_l))

    Source: D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 8; the 1, which changes no gradient, is TRL's.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: strength of the pull to the reference, per nat.

    Returns:
        float32 [P], in [0, 2]; 1 where the policy equals the reference.

    >>> p = Pairs(*map(torch.tensor, ([-9.0], [-9.0], [-9.0], [-9.0])))
    >>> apo_down(p).tolist()
    [1.0]
    """
    chosen, rejected = log_ratios(pairs)
    return torch.sigmoid(beta * chosen) + torch.sigmoid(-beta * (chosen - rejected))
