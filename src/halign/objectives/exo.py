"""Efficient exact optimisation, from preferences."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import Positive, log_ratios
from halign.objectives.items import Pairs

Smoothing = Annotated[float, Field(gt=0, lt=0.5)]


def exo(pairs: Pairs, *, beta: Positive = 0.1, label_smoothing: Smoothing = 1e-3) -> Tensor:
    r"""Reverse KL from the policy's choice between the two responses to the label's. (DPO's is the forward KL.)

    .. math:: q \log\frac{q}{1-\epsilon} + (1-q) \log\frac{1-q}{\epsilon}, \quad q = \sigma(\beta (D_w - D_l))

    Source: Ji et al. 2024, arXiv 2402.00856, equation 16 (EXO-pref).

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: strength of the pull to the reference, per nat (the paper's beta_pi).
        label_smoothing: probability epsilon that the label gives the rejected response, in (0, 0.5); at 0 the KL would be
            infinite.

    Returns:
        float32 [P], nats; 0 where q = 1 - epsilon, at most -log(epsilon). Like any reverse KL it is flat where the policy is
        sure of the wrong one: its gradient vanishes there, while DPO's does not.

    >>> p = Pairs(*map(torch.tensor, ([-9.0], [-9.0], [-9.0], [-9.0])))
    >>> round(float(exo(p)), 6)  # log(1/2) - (log 0.999 + log 0.001) / 2
    2.761231
    """
    chosen, rejected = log_ratios(pairs)
    logits = beta * (chosen - rejected)
    right = torch.sigmoid(logits) * (logsigmoid(logits) - math.log1p(-label_smoothing))
    wrong = torch.sigmoid(-logits) * (logsigmoid(-logits) - math.log(label_smoothing))
    return right + wrong
