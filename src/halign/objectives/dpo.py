"""Direct preference optimisation."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import FlipRate, Positive, log_ratios, logistic_loss, only_with
from halign.objectives.items import Pairs

Alpha = Annotated[float, Field(gt=0, lt=1)]

BEND = 30.0
"""Exponents above this many nats go on as the tangent: e^30 squared still fits float32, as the norm of a gradient needs."""


@only_with("alpha", divergence="alpha")
def dpo(
    pairs: Pairs,
    *,
    beta: Positive = 0.1,
    label_smoothing: FlipRate = 0.0,
    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = "reverse_kl",
    alpha: Alpha = 0.5,
) -> Tensor:
    r"""Logistic loss on the difference of implicit rewards.

    .. math:: -(1-\epsilon) \log\sigma(\beta (g(D_w) - g(D_l))) - \epsilon \log\sigma(-\beta (g(D_w) - g(D_l))),
              \quad D = \log\pi(y|x) - \log\pi_\mathrm{ref}(y|x)

    where g is the identity, or for another divergence f between policy and reference :math:`f'(e^D)` up to a constant:
    :math:`1 - e^{-D}` (forward KL), :math:`\log 2 + \log\sigma(D)` (JS), :math:`(1 - e^{-\alpha D}) / \alpha` (alpha).

    Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7; the smoothed form (conservative DPO, for labels that are wrong
    with probability epsilon) is from Mitchell's note on it; the divergences from Wang et al. 2023, arXiv 2309.16240.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: strength of the pull to the reference, per nat.
        label_smoothing: probability epsilon that a label is flipped, in [0, 0.5).
        divergence: what keeps the policy near the reference. Exponentials (``forward_kl``, ``alpha``) saturate where -D, or
            -alpha D, is above 30 nats: there g goes on as a straight line, so that its slope stays at e^30.
        alpha: in (0, 1), for ``divergence="alpha"`` only, where it lies between the reverse KL (to 0) and the forward (to 1),
            as in the paper. TRL's ``f_alpha_divergence_coef`` is 1 - alpha.

    Returns:
        float32 [P], nats; ln 2 where the policy equals the reference.

    >>> p = Pairs(*map(torch.tensor, ([-10.0], [-12.0], [-11.0], [-11.0])))
    >>> round(float(dpo(p, beta=0.5)), 6)  # -log sigmoid(0.5 * (1 - -1)) = log(1 + e^-1)
    0.313262
    """
    chosen, rejected = (_reward(d, divergence, alpha) for d in log_ratios(pairs))
    return logistic_loss(beta * (chosen - rejected), label_smoothing)


def _reward(log_ratio: Tensor, divergence: str, alpha: float) -> Tensor:
    """f'(e^D), up to a constant."""
    if divergence == "reverse_kl":
        return log_ratio
    if divergence == "js":
        return logsigmoid(log_ratio)
    rate = 1.0 if divergence == "forward_kl" else alpha
    exponent = -rate * log_ratio
    inside = exponent.clamp(max=BEND)
    return -(torch.expm1(inside) + inside.exp() * (exponent - inside)) / rate
