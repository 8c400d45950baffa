"""REINFORCE, leave one out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from halign.loops.advantages import leave_one_out
from halign.loops.contract import Loop
from halign.loops.gradient_settings import GradientSettings, Normalisation
from halign.loops.online import run_online
from halign.loops.policy_gradient import ReplyGradient


class RlooSettings(GradientSettings):
    """Settings of ``rloo``."""

    normalisation: Normalisation = Field(
        "constant", description=GradientSettings.model_fields["normalisation"].description
    )
    kl: Literal["reward", "k2", "k3"] = Field(
        "reward",
        description="where the divergence goes: into the reward (k1), or an estimator of it into the loss",
    )


class Rloo(ReplyGradient):
    r"""RLOO.

    - Advantage: the reply's reward less the mean of the other replies' to the same prompt (``leave_one_out``), the same for
      each of its tokens. The gradient is :math:`E[A \nabla\log\pi(y|x)]`, unbiased.
    - Length normalisation: none (``constant``): sums over tokens, divided by ``max_new_tokens`` whatever a reply's length.
    - KL: k1 over the whole reply, in the reward: :math:`R = r - \beta (\log\pi - \log\pi_\mathrm{ref})`. The optimum is then
      :math:`\pi_\mathrm{ref} e^{r/\beta}`, normalised.

    Where replies are learnt from more than once, ratios are clipped token by token, as in PPO, not for whole replies.

    Source: Ahmadian et al. 2024, arXiv 2402.14740.
    """

    name = "rloo"
    compares = True

    def advantages(self, rewards: np.ndarray, groups: Sequence[int]) -> np.ndarray:
        """Rewards less the others' mean."""
        return leave_one_out(rewards, groups)


LOOP = Loop(
    "rloo",
    "policy gradient whose baseline is the mean reward of the other replies to the prompt",
    RlooSettings,
    ("reward",),
    partial(run_online, Rloo),
)
