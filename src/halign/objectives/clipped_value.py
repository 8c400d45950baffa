"""The clipped value loss of PPO."""

from __future__ import annotations

import torch
from torch import Tensor

from halign.objectives.contract import Positive, monitored, reference_free, required
from halign.objectives.items import Rollouts


def value_figures(rollouts: Rollouts, *, clip: float | None) -> dict[str, Tensor]:
    """``value_clip_fraction``: share of tokens whose value moved further than ``clip``."""
    values, old = required(rollouts, "values", "old_values")
    return {} if clip is None else {"value_clip_fraction": ((values - old).abs() > clip).float()}


@reference_free
@monitored(value_figures)
def clipped_value(rollouts: Rollouts, *, clip: Positive | None = 0.2) -> Tensor:
    r"""Half the squared error of the critic's value, or of that value clipped to the old one's surroundings if that is larger.

    .. math:: \tfrac{1}{2} \max\left((V_t - R_t)^2,\
              (\mathrm{clip}(V_t, V_t^\mathrm{old} - \epsilon, V_t^\mathrm{old} + \epsilon) - R_t)^2\right)

    Source: OpenAI baselines' ppo2 and lm-human-preferences (Ziegler et al. 2019, arXiv 1909.08593), which InstructGPT builds on.

    Args:
        rollouts: T tokens; uses ``values``, ``old_values``, ``returns``.
        clip: epsilon, in units of the reward; None: the plain squared error.

    Returns:
        float32 [T].

    >>> one = torch.ones(1)
    >>> r = Rollouts(-one, values=0.5 * one, old_values=0 * one, returns=one)
    >>> round(float(clipped_value(r)), 4)  # clipped to .2: (.2 - 1)^2 / 2 is the larger error
    0.32
    """
    values, returns = required(rollouts, "values", "returns")
    error = (values - returns).square()
    if clip is not None:
        (old,) = required(rollouts, "old_values")
        near = old + (values - old).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return 0.5 * error
