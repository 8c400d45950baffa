"""The clipped policy loss of PPO, which the other policy gradients share."""

from __future__ import annotations

import torch
from torch import Tensor

from halign.objectives.contract import Positive, monitored, reference_free, required
from halign.objectives.items import Rollouts


def update_figures(rollouts: Rollouts, *, clip: float) -> dict[str, Tensor]:
    """How far the policy is from the one that drew the replies, per token: ``clip_fraction`` (ratios outside 1 +- clip),
    ``update_kl`` (the k3 estimate of KL(old || new), nats) and ``ratio_max`` (the largest ratio)."""
    log_ratio = rollouts.logps.detach() - required(rollouts, "old_logps")[0]
    ratio = log_ratio.exp()
    return {
        "clip_fraction": ((ratio - 1).abs() > clip).float(),
        "update_kl": torch.expm1(log_ratio) - log_ratio,
        "ratio_max": ratio,
    }


@reference_free
@monitored(update_figures)
def clipped_policy(rollouts: Rollouts, *, clip: Positive = 0.2) -> Tensor:
    r"""Advantage times the ratio to the policy that drew the token, pessimistically clipped.

    .. math:: -\min(\rho_t A_t,\ \mathrm{clip}(\rho_t, 1 - \epsilon, 1 + \epsilon) A_t),
              \quad \rho_t = \pi(y_t \mid s_t) / \pi_\mathrm{old}(y_t \mid s_t)

    In the first update after drawing the ratio is 1, and the gradient is the policy gradient :math:`-A_t \nabla\log\pi`. What the
    mean is taken over (tokens, replies, a constant) is the loop's ``normalisation``.

    Source: Schulman et al. 2017, arXiv 1707.06347, equation 7.

    Args:
        rollouts: T tokens; uses ``logps``, ``old_logps``, ``advantages``.
        clip: epsilon.

    Returns:
        float32 [T], in units of the advantage.

    >>> r = Rollouts(*(torch.tensor([x, x]) for x in (-1.0,)), old_logps=torch.tensor([-2.0, -2.0]),
    ...              advantages=torch.tensor([1.0, -1.0]))
    >>> clipped_policy(r).tolist()  # the ratio is e: the gain is cut at 1.2, the loss is not
    [-1.2000000476837158, 2.7182817459106445]
    """
    old, advantages = required(rollouts, "old_logps", "advantages")
    ratio = (rollouts.logps - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
