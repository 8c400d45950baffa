"""What sets one policy gradient apart from another: how rewards become advantages, and which losses are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from halign.items import Item
from halign.loops.advantages import clip_scores
from halign.loops.gradient_settings import GradientSettings
from halign.loops.rollouts import Rollout
from halign.losses import Losses
from halign.objectives.clipped_policy import clipped_policy
from halign.objectives.kl_penalty import kl_penalty
from halign.objectives.registry import describe
from halign.objectives.sft import sft

Row = dict[str, Any]
Term = tuple[Callable[..., Tensor], float, dict[str, Any]]
"""A loss, its weight, its settings."""
Array = np.ndarray


class PolicyGradient:
    """One method. Subclasses say what an iteration's rollouts are worth (``credit``).

    Attributes:
        name: the word on the command line.
        memory: what is remembered from iteration to iteration; numbers by name.
    """

    name: ClassVar[str]
    compares: ClassVar[bool] = False
    """True if replies are compared with others to the same prompt, so that there have to be others."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.memory: dict[str, float] = {}

    def terms(self) -> dict[str, Term]:
        """The losses by the name they are logged under."""
        return {"policy": (clipped_policy, 1.0, {"clip": self.settings.clip})}

    def credit(self, rollouts: Sequence[Rollout]) -> Row:
        """Note on every rollout what the losses need; figures to log."""
        raise NotImplementedError

    def losses(self, pretrain_weight: float = 0.0) -> Losses:
        """The mixture that an optimiser step takes; the log-likelihood of demonstrations in it, if it is given a weight."""
        terms = self.terms()
        if pretrain_weight:
            terms["pretrain"] = (sft, pretrain_weight, {})
        described = [(describe(name, function), weight) for name, (function, weight, _) in terms.items()]
        constant = self.settings.normalisation == "constant"
        counts = {o.name: self._constant for o, _ in described if o.kind == "rollouts"} if constant else {}
        return Losses(described, {name: settings for name, (_, _, settings) in terms.items()}, counts)

    def _constant(self, item: Item) -> float:
        return float(self.settings.max_new_tokens if item.kind == "rollouts" else 0)

    def scores(self, rollouts: Sequence[Rollout]) -> Array:
        """Scores as they are learnt from, float64 [N]: cut, and less the penalty of replies that never stop."""
        s: GradientSettings = self.settings
        found = clip_scores(np.array([r.score for r in rollouts], dtype=np.float64), s.clip_rewards)
        return found - s.missing_stop_penalty * np.array([not r.finished for r in rollouts])

    def weigh(self, rollouts: Sequence[Rollout]) -> None:
        """Every reply counts the same with ``normalisation=replies``, every token otherwise."""
        for r in rollouts:
            r.weight = 1 / len(r) if self.settings.normalisation == "replies" else 1.0

    def state_tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return {f"method.{k}": torch.tensor(v, dtype=torch.float64) for k, v in self.memory.items()}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``state_tensors`` gave, taking it out of ``tensors``."""
        for key in [k for k in tensors if k.startswith("method.")]:
            self.memory[key.removeprefix("method.")] = float(tensors.pop(key))


class ReplyGradient(PolicyGradient):
    """Methods whose advantage belongs to the whole reply, and is the same for each of its tokens."""

    def terms(self) -> dict[str, Term]:
        """The policy's, and the divergence where it is no part of the reward."""
        s = self.settings
        own = super().terms()
        if s.kl != "reward" and s.beta:
            own["kl"] = (kl_penalty, s.beta, {"estimator": s.kl})
        return own

    def rewards(self, rollouts: Sequence[Rollout]) -> Array:
        """Scores, less beta times the divergence (k1) where that is part of the reward; float64 [N]."""
        s = self.settings
        scores = self.scores(rollouts)
        return scores - s.beta * np.array([r.kl for r in rollouts]) if s.kl == "reward" else scores

    def advantages(self, rewards: Array, groups: Sequence[int]) -> Array:
        """One a reply, float64 [N]."""
        raise NotImplementedError

    def credit(self, rollouts: Sequence[Rollout]) -> Row:
        """Every token gets its reply's advantage."""
        self.weigh(rollouts)
        rewards = self.rewards(rollouts)
        found = self.advantages(rewards, [r.group for r in rollouts])
        for r, advantage in zip(rollouts, found, strict=True):
            r.learnt = {"advantages": np.full(len(r), advantage)}
        return {"return": float(rewards.mean()), "advantage_std": float(found.std())}
