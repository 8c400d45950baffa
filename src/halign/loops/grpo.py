"""Group relative policy optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from halign.loops.advantages import Scale, group_relative
from halign.loops.contract import Loop
from halign.loops.gradient_settings import GradientSettings, Normalisation
from halign.loops.online import run_online
from halign.loops.policy_gradient import ReplyGradient


class GrpoSettings(GradientSettings):
    """Settings of ``grpo``."""

    beta: float = Field(0.04, ge=0, description="weight of the KL divergence from the reference, per nat")
    normalisation: Normalisation = Field(
        "replies", description=GradientSettings.model_fields["normalisation"].description
    )
    scale: Scale = Field(
        "group",
        description="what advantages are divided by: the group's standard deviation, the batch's, or nothing",
    )
    kl: Literal["k3", "k2", "reward"] = Field(
        "k3", description="where the divergence goes: an estimator of it into the loss, or k1 into the reward"
    )


class Grpo(ReplyGradient):
    r"""GRPO.

    - Advantage: the reply's reward less the mean of its group's, over the group's standard deviation (``group_relative``),
      the same
      for each of its tokens. ``scale=none`` leaves the division out (Dr. GRPO), and with it the preference for prompts whose
      replies differ little; ``scale=batch`` divides by the iteration's.
    - Length normalisation: a reply's mean over its tokens (``replies``), then the mean over replies; so a token of a long
      reply counts less. ``normalisation=constant`` takes Dr. GRPO's constant instead.
    - KL: beta times the k3 estimator, in the loss; see ``halign.objectives.kl_penalty`` for what its gradient does. With
      ``kl=reward``, ``scale=none`` and ``normalisation=constant`` the optimum is that of ``rloo``; with the division or with
      k3 in the loss it is another.

    Source: Shao et al. 2024, arXiv 2402.03300, equation 3; the options from Liu et al. 2025, arXiv 2503.20783.
    """

    name = "grpo"
    compares = True

    def advantages(self, rewards: np.ndarray, groups: Sequence[int]) -> np.ndarray:
        """Rewards relative to the group's."""
        return group_relative(rewards, groups, scale=self.settings.scale)


LOOP = Loop(
    "grpo",
    "policy gradient whose advantage is the reward's place in its group of replies",
    GrpoSettings,
    ("reward",),
    partial(run_online, Grpo),
)
