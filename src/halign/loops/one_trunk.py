"""Policy, reference, reward and critic on one trunk, where adapters are what is trained (``halign.adapters.sharing``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from halign.adapters.build import has_adapters
from halign.adapters.sharing import share_trunk, shared_bytes
from halign.loops.gradient_settings import GradientSettings
from halign.models import Policy
from halign.rewards.protocol import LearnedReward


def can_share(policy: Policy, settings: GradientSettings) -> bool:
    """True if the policy's own weights stay as they are and may serve others: it has adapters, or is about to get some."""
    adapted = has_adapters(policy.model) or settings.of_training().adapter_kind is not None
    return adapted and settings.shared_trunk == "auto"


def share_reward(policy: Policy, reward: Any) -> None:
    """Let a learned reward use the policy's trunk weights, where they are the same and its own are frozen; others stay as they
    are. A policy that is about to get adapters has its weights frozen now, as it would then."""
    if not has_adapters(policy.model):
        policy.model.requires_grad_(False)
    if isinstance(reward, LearnedReward):
        share_trunk(reward.model.model, policy.model)


def follow(reward: Any, policy: Policy, device: torch.device) -> None:
    """Take the rest of a reward model to the device where the trunk went that it shares with the policy."""
    if isinstance(reward, LearnedReward) and shared_bytes(reward.model.model, policy.model)[0]:
        nn.Module.to(reward.model.model, device)


def told(policy: Policy, reward: Any, critic: nn.Module | None) -> str:
    """A line that says what the policy's weights serve; empty where there is nobody to share them.

    A trunk that is not shared is said too: that of a reward model that was trained in full, or on another base.
    """
    others: dict[str, nn.Module] = {}
    if isinstance(reward, LearnedReward):
        others["reward"] = reward.model.model
    if critic is not None and hasattr(critic, "scorer"):
        others["critic"] = critic
    words = []
    for name, model in others.items():
        shared, whole = shared_bytes(model, policy.model)
        megabytes = f"{shared / 1e6:.1f} of {whole / 1e6:.1f} MB"
        words.append(f"{name} {megabytes}" if shared else f"{name} nothing, other weights or no adapters")
    return f"shared with the policy's trunk: {'; '.join(words)}" if words else ""
