"""Rewards that are zero on average where people wrote the responses: a bias kept with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from halign.conditioning.responses import responses
from halign.convert import to_demonstrations
from halign.errors import HalignError
from halign.examples import Example
from halign.rewards.model import RewardModel


def centred_on(model: RewardModel, examples: Iterable[Example], **options: Any) -> RewardModel:
    """The same reward model with the bias that makes the mean reward of demonstrations zero.

    Comparisons leave a reward's zero open; reinforcement learning does not. The bias belongs to ``Facts``: ``save`` keeps it in
    ``halign_reward.json``, and ``score``, ``rewards`` and all that stands on them add it. The weights stay as they are.

    Source: Ouyang et al. 2022 (InstructGPT), arXiv 2203.02155, section 3.5: "we normalize the reward model using a bias so that
    the labeler demonstrations achieve a mean score of 0 before doing RL".

    Args:
        model: a model with one number as its output.
        examples: what is imitated of them counts (``convert.to_demonstrations``): every agent turn of a dialogue, the best
            response of a comparison, responses rated good. Each response counts once, whatever its weight.
        options: of ``RewardModel.score`` (``max_tokens``, ``dtype``).

    Raises:
        HalignError: if the model gives attributes or compares, or there are no demonstrations.
    """
    if model.facts.kind != "reward":
        raise HalignError(
            f"centring: {model.path} has the outputs {', '.join(model.facts.labels)}; only a model with one reward has a bias"
        )
    shown = to_demonstrations(examples).examples
    asked = [(r.prompt, r.message) for d in shown for r in responses(d)]
    if not asked:
        raise HalignError(
            "centring: the data has no demonstrations; give conversations, comparisons or responses rated good"
        )
    mean = float(model.score(asked, **options).double().mean())
    return dataclasses.replace(model, facts=dataclasses.replace(model.facts, bias=model.facts.bias - mean))
