"""The models of a policy gradient, made ready: the policy to be drawn from, read and trained, the reference, the critic."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial

from accelerate import Accelerator
from torch import nn

from halign import optimizers
from halign.checkpoints import Part, random_state, set_random_state
from halign.critics import make_critic
from halign.equip import build_optimizers, equip
from halign.lanes import lanes_of
from halign.loops import gradient_log, one_trunk
from halign.loops.contract import Task
from halign.loops.policy_gradient import PolicyGradient
from halign.loops.rollouts import Collector, reference_of
from halign.render import Renderer
from halign.scoring import unwrap
from halign.stepping import Stepper


@dataclass(frozen=True)
class Models:
    """What an iteration works with.

    Attributes:
        stepper: takes optimiser steps on policy and critic.
        critic: None where the method has none.
        collector: draws replies, and reads them under policy, reference and critic.
        shared: a line that says what stands on the policy's trunk; empty where nothing does.
    """

    stepper: Stepper
    critic: nn.Module | None
    collector: Collector
    shared: str


def make_ready(
    method: PolicyGradient,
    task: Task,
    renderer: Renderer,
    accelerator: Accelerator,
    undo: contextlib.ExitStack,
) -> Models:
    """The task's models for this method; what is not to last is put back by ``undo``.

    Raises:
        HalignError: if a model cannot be trained with these settings, or the reward model makes no critic.
    """
    s, policy = task.settings, task.policy
    train = s.of_training()
    attention = unwrap(policy.model).config._attn_implementation
    share = one_trunk.can_share(policy, s)
    if share:
        one_trunk.share_reward(policy, task.reward)
    critic = _critic(task, undo, share)
    equipped = equip(policy, train, undo, critic)
    built = build_optimizers(policy.model, train)
    if critic is not None:
        rate = s.critic_learning_rate or train.learning_rate
        built += optimizers.build(critic, "adamw", learning_rate=rate or 0.0)
    losses = method.losses(getattr(s, "pretrain_weight", 0.0))
    pad = policy.tokenizer.pad_token_id or 0
    in_turn = {
        "a critic": critic is not None,
        "dropout": train.dropout,
        "lora_dropout": train.lora_dropout,
        "several ranks": accelerator.num_processes > 1,
    }
    lanes = lanes_of(policy.model, None, in_turn)
    stepper = Stepper(
        equipped.scorer, built, losses, accelerator, clip=s.gradient_clip, pad_id=pad, lanes=lanes
    )
    shared = ""
    if share:
        one_trunk.follow(task.reward, policy, accelerator.device)
        shared = one_trunk.told(policy, task.reward, critic)
    reference = reference_of(stepper, policy.model, equipped.fresh_adapters)
    packing = {
        "max_tokens": s.max_tokens,
        "flat": equipped.flat,
        "separate": equipped.separate,
        "lanes": lanes.count,
    }
    collector = Collector(policy, renderer, stepper, reference, attention, packing, s.dtype == "bf16")
    return Models(stepper, critic, collector, shared)


def _critic(task: Task, undo: contextlib.ExitStack, share: bool) -> nn.Module | None:
    s = task.settings
    train, kind = s.of_training(), getattr(s, "critic", None)
    if kind is None:
        return None
    return make_critic(
        kind,
        task.policy,
        task.reward,
        undo,
        detached=s.critic_detached,
        seed=s.seed,
        adapters=train if train.adapter_kind else None,
        share=share,
        checkpointed=s.gradient_checkpointing,
    )


def checkpointed(method: PolicyGradient, stepper: Stepper, critic: nn.Module | None) -> list[Part]:
    """What a checkpoint holds beside the policy."""
    built = stepper.optimizers
    return [
        Part(random_state, set_random_state),
        Part(method.state_tensors, method.load_state_tensors),
        *([gradient_log.module_part(critic, "critic.")] if critic is not None else []),
        Part(partial(optimizers.state_tensors, built), partial(optimizers.load_state_tensors, built)),
    ]
