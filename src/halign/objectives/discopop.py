"""The loss that a language model found: DiscoPOP."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import Positive, log_ratios
from halign.objectives.items import Pairs

Temperature = Annotated[float, Field(gt=0, le=1)]


def discopop(pairs: Pairs, *, beta: Positive = 0.1, temperature: Temperature = 0.05) -> Tensor:
    r"""Logistic loss where the pair is the wrong way round, exponential loss where it is right, and a blend between.

    .. math:: -(1 - m) \log\sigma(h) + m e^{-h}, \quad m = \sigma(h / \tau), \quad h = \beta (D_w - D_l)

    Source: Lu et al. 2024, arXiv 2406.08414, equation 5 (log-ratio modulated loss).

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: strength of the pull to the reference, per nat.
        temperature: width tau of the blend, in units of h, in (0, 1]; above 1 the exponential would outgrow its weight and wrong
            pairs would explode.

    Returns:
        float32 [P], nats; (1 + ln 2) / 2 where the policy equals the reference. Not convex, as the paper notes: at a temperature
        of 0.05 there is a hump at h = 0.07 and a valley at h = -0.12, into which h slides from 0.

    >>> p = Pairs(*map(torch.tensor, ([-9.0], [-9.0], [-9.0], [-9.0])))
    >>> round(float(discopop(p)), 6)
    0.846574
    """
    chosen, rejected = log_ratios(pairs)
    logits = beta * (chosen - rejected)
    exponential = torch.exp(logsigmoid(logits / temperature) - logits)  # one exponent, which cannot overflow
    return exponential - torch.sigmoid(-logits / temperature) * logsigmoid(logits)
