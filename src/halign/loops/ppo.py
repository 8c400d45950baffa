"""Proximal policy optimisation, as InstructGPT describes it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from halign.critics import CriticKind
from halign.loops.advantages import explained_variance, gae, token_rewards, whiten
from halign.loops.contract import Loop
from halign.loops.gradient_settings import GradientSettings
from halign.loops.online import run_online
from halign.loops.policy_gradient import PolicyGradient, Row, Term
from halign.loops.rollouts import Rollout
from halign.objectives.clipped_value import clipped_value

HORIZON_ERROR = 0.2
"""Largest relative error of the divergence that Ziegler's controller answers to."""


class PpoSettings(GradientSettings):
    """Settings of ``ppo``."""

    minibatches: int = Field(
        4, ge=1, description="optimiser steps that an iteration's prompts are spread over"
    )
    target_kl: float | None = Field(
        None,
        gt=0,
        description="nats a reply that beta is adapted to keep the divergence at; unset: beta stays",
    )
    kl_horizon: float = Field(10_000, gt=0, description="replies over which beta is adapted (with target_kl)")
    discount: float = Field(1.0, gt=0, le=1, description="of later rewards, per token")
    gae_lambda: float = Field(
        0.95, ge=0, le=1, description="how far advantages look past the critic: 1 to the end"
    )
    critic: CriticKind = Field(
        "head",
        description="head: a linear layer on the policy's own trunk; separate: a model of its own, started from the reward model "
        "where the reward is one, else from the policy (with adapters of its own, where the policy gets some)",
    )
    critic_detached: bool = Field(
        True, description="the critic's loss leaves the policy's trunk alone (critic=head)"
    )
    critic_learning_rate: float | None = Field(
        None, gt=0, description="of the critic's own weights; unset: learning_rate"
    )
    value_weight: float = Field(0.1, gt=0, description="of the critic's loss")
    value_clip: float | None = Field(
        0.2,
        gt=0,
        description="how far a value may leave the old one, in units of the reward; null: as far as it likes",
    )
    whiten_rewards: bool = Field(
        False, description="scale an iteration's token rewards to variance 1 (the mean stays)"
    )
    whiten_advantages: bool = Field(True, description="an iteration's advantages get mean 0 and variance 1")
    shift_rewards: bool = Field(
        False, description="take off the mean score of the examples' own replies, so that they would get 0"
    )
    pretrain_weight: float = Field(
        0.0,
        ge=0,
        description="PPO-ptx: weight of the mean log-likelihood per token of demonstrations, mixed into every step "
        "(27.8 in the paper)",
    )
    pretrain_data: str | None = Field(
        None, description="file or data set of those demonstrations; unset: the responses in the examples"
    )
    pretrain_items: int | None = Field(
        None, ge=1, description="demonstrations in a step; unset: as many as replies"
    )

    def effects(self) -> dict[str, tuple[bool, str]]:
        """See ``GradientSettings``."""
        mixed = (bool(self.pretrain_weight), "it needs pretrain_weight")
        return {
            **super().effects(),
            "kl_horizon": (self.target_kl is not None, "it needs target_kl"),
            "critic_detached": (self.critic == "head", "only critic=head shares the trunk"),
            "pretrain_data": mixed,
            "pretrain_items": mixed,
            "target_kl": (bool(self.beta), "beta=0 stays 0, whatever it is multiplied by"),
        }


def adapted(beta: float, kl: float, *, target: float, replies: int, horizon: float) -> float:
    r"""Ziegler's controller of the KL coefficient: :math:`\beta (1 + e\, n / H)` with the error
    :math:`e = \mathrm{clip}(\mathrm{KL} / \mathrm{target} - 1, -0.2, 0.2)`.

    Source: Ziegler et al. 2019, arXiv 1909.08593, section 2.2.

    Args:
        kl: mean divergence of a reply, nats.
        replies: n, how many it was measured on.
        horizon: H.

    >>> adapted(0.1, 9.0, target=6.0, replies=100, horizon=1000), adapted(0.1, 5.7, target=6.0, replies=100, horizon=1000)
    (0.10200000000000001, 0.0995)
    """
    error = min(max(kl / target - 1, -HORIZON_ERROR), HORIZON_ERROR)
    return beta * (1 + error * replies / horizon)


class Ppo(PolicyGradient):
    r"""PPO with a critic.

    - Reward: each token's :math:`-\beta (\log\pi - \log\pi_\mathrm{ref})` (k1), and the score on the last token; optionally
      shifted so that demonstrations have mean 0, then cut, less a penalty for replies that never stop, whitened.
    - Advantage: GAE over the reply's tokens with the critic's values, whitened over the iteration.
    - Length normalisation: the mean over all tokens of a step (``tokens``).
    - Losses: clipped policy loss, clipped value loss, and with ``pretrain_weight`` the log-likelihood of demonstrations
      (PPO-ptx), a mean over their tokens.

    The critic's zero is where the mean of the first iteration's returns lies. Without it, the values of a critic that starts at 0
    are wrong by the same amount everywhere, and GAE makes a slope along the reply of that (late tokens good, early ones bad),
    which moves the policy and earns nothing.

    Departs from InstructGPT in that several replies to a prompt are usual (``samples``; they share a trie), and where a
    critic on the policy's trunk is taken (``critic=head``, the default), which InstructGPT keeps apart.

    Source: Ouyang et al. 2022, arXiv 2203.02155, appendix C.4; Ziegler et al. 2019, arXiv 1909.08593, and their code.
    """

    name = "ppo"

    @property
    def beta(self) -> float:
        """The KL coefficient as it is now."""
        return self.memory.get("beta", self.settings.beta)

    def terms(self) -> dict[str, Term]:
        """Policy and critic."""
        s = self.settings
        return {**super().terms(), "value": (clipped_value, s.value_weight, {"clip": s.value_clip})}

    def credit(self, rollouts: Sequence[Rollout]) -> Row:
        """Advantages and returns; adapts beta for the next iteration."""
        s, beta = self.settings, self.beta
        self.weigh(rollouts)
        scores = self.scores(rollouts)
        rewards = [
            token_rewards(r.logps, r.ref_logps, score, beta)
            for r, score in zip(rollouts, scores, strict=True)
        ]
        total = float(np.mean([r.sum() for r in rewards]))
        if s.whiten_rewards:
            rewards = whiten(rewards, shift_mean=False)
        raw = [_values(r) for r in rollouts]
        zero = self.memory.setdefault("critic_zero", _gap(rewards, raw, s.discount))
        values = [v + zero for v in raw]
        pairs = [
            gae(r, v, discount=s.discount, gae_lambda=s.gae_lambda)
            for r, v in zip(rewards, values, strict=True)
        ]
        advantages = [a for a, _ in pairs]
        spread = float(np.concatenate(advantages).std())
        if s.whiten_advantages:
            advantages = whiten(advantages)
        for r, a, (_, returns) in zip(rollouts, advantages, pairs, strict=True):
            r.learnt = {"advantages": a, "returns": returns - zero}
        if s.target_kl is not None:
            kl = float(np.mean([r.kl for r in rollouts]))
            self.memory["beta"] = adapted(
                beta, kl, target=s.target_kl, replies=len(rollouts), horizon=s.kl_horizon
            )
        explained = explained_variance(np.concatenate(values), np.concatenate([r for _, r in pairs]))
        return {"return": total, "advantage_std": spread, "explained_variance": explained, "beta": beta}


def _gap(rewards: Sequence[Any], values: Sequence[Any], discount: float) -> float:
    """Mean over all tokens of what came (the discounted sum of later rewards) less what the critic said."""
    nothing = [np.zeros(len(r)) for r in rewards]
    came = [gae(r, n, discount=discount, gae_lambda=1.0)[1] for r, n in zip(rewards, nothing, strict=True)]
    return float((np.concatenate(came) - np.concatenate(values)).mean())


def _values(rollout: Rollout) -> Any:
    if rollout.values is None:
        raise ValueError("ppo needs a critic's values, and the rollout has none")
    return rollout.values.astype(np.float64)


LOOP = Loop(
    "ppo",
    "RLHF: a critic, clipped updates, and a KL penalty on every token",
    PpoSettings,
    ("reward",),
    partial(run_online, Ppo),
)
