"""REINFORCE with a running mean as its baseline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from halign.loops.advantages import running_baseline
from halign.loops.contract import Loop
from halign.loops.gradient_settings import GradientSettings, Normalisation
from halign.loops.online import run_online
from halign.loops.policy_gradient import ReplyGradient


class ReinforceSettings(GradientSettings):
    """Settings of ``reinforce``."""

    normalisation: Normalisation = Field(
        "constant", description=GradientSettings.model_fields["normalisation"].description
    )
    kl: Literal["reward", "k2", "k3"] = Field(
        "reward",
        description="where the divergence goes: into the reward (k1), or an estimator of it into the loss",
    )
    baseline_decay: float = Field(
        0.9, ge=0, le=1, description="how much an earlier iteration's mean reward counts; 1: all alike"
    )


class Reinforce(ReplyGradient):
    r"""REINFORCE.

    - Advantage: the reply's reward less the running mean of earlier iterations' rewards (``running_baseline``), the same for
      each of its tokens. The gradient is :math:`E[A \nabla\log\pi(y|x)]`, unbiased.
    - Length normalisation: none (``constant``): sums over tokens, divided by ``max_new_tokens`` whatever a reply's length.
    - KL: k1 over the whole reply, in the reward: :math:`R = r - \beta (\log\pi - \log\pi_\mathrm{ref})`. The optimum is then
      :math:`\pi_\mathrm{ref} e^{r/\beta}`, normalised.

    Source: Williams 1992.
    """

    name = "reinforce"

    def advantages(self, rewards: np.ndarray, groups: Sequence[int]) -> np.ndarray:
        """Rewards less the baseline; remembers this iteration's for the next."""
        before = (self.memory.get("baseline_sum", 0.0), self.memory.get("baseline_weight", 0.0))
        found, (total, weight) = running_baseline(rewards, before, decay=self.settings.baseline_decay)
        self.memory |= {"baseline_sum": total, "baseline_weight": weight}
        return found


LOOP = Loop(
    "reinforce",
    "policy gradient with a running mean reward as its baseline",
    ReinforceSettings,
    ("reward",),
    partial(run_online, Reinforce),
)
