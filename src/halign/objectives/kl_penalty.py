"""Divergence from the reference on the policy's own replies: three estimators, and the ones that serve as a loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from halign.objectives.contract import required
from halign.objectives.items import Rollouts


def kl_estimates(logps: Tensor, ref_logps: Tensor) -> dict[str, Tensor]:
    r"""Schulman's estimators of KL(policy || reference) from tokens that the policy drew, with
    :math:`r = \pi_\mathrm{ref} / \pi`: k1 = -log r, k2 = (log r)^2 / 2, k3 = r - 1 - log r; nats.

    k1 and k3 are unbiased, k3 is never negative and varies less; k2 is biased.

    Source: Schulman 2020, http://joschu.net/blog/kl-approx.html.

    Args:
        logps, ref_logps: of the same tokens, any shape.
    """
    log_r = ref_logps - logps
    return {"k1": -log_r, "k2": 0.5 * log_r.square(), "k3": torch.expm1(log_r) - log_r}


def kl_penalty(rollouts: Rollouts, *, estimator: Literal["k2", "k3"] = "k3") -> Tensor:
    r"""A KL estimate per token, as a term of the loss.

    What its *gradient* does is not what its value says, because the replies stay as they were drawn. With r = pi_ref / pi:

    - ``k3`` has gradient :math:`(1 - r) \nabla\log\pi`. Its mean over what pi draws is the gradient of KL(reference || policy),
      the other direction, token by token. That is GRPO's term; its optimum is not pi_ref exp(reward / beta).
    - ``k2`` has gradient :math:`-\log r\, \nabla\log\pi`. Its mean is the gradient of each token's KL(policy || reference), given
      the tokens before; what a token's choice does to the divergence of later ones does not count.
    - ``k1`` would have gradient :math:`\nabla\log\pi`, whose mean is zero: it would do nothing. In the reward, where all of the
      divergence counts and the optimum is exact, it is the one to take (the loops' ``kl="reward"``).

    Source: Shao et al. 2024 (GRPO), arXiv 2402.03300, equation 4, for k3.

    Args:
        rollouts: T tokens; uses ``logps``, ``ref_logps``.
        estimator: which.

    Returns:
        float32 [T], nats.

    >>> r = Rollouts(torch.tensor([-1.0]), ref_logps=torch.tensor([-2.0]))
    >>> round(float(kl_penalty(r)), 4), float(kl_penalty(r, estimator="k2"))  # e^-1 - 1 + 1
    (0.3679, 0.5)
    """
    (reference,) = required(rollouts, "ref_logps")
    return kl_estimates(rollouts.logps, reference)[estimator]
