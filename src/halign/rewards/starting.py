"""What a run of a value objective starts from."""

from __future__ import annotations

from collections.abc import Sequence

from halign.config import RunConfig
from halign.errors import HalignError
from halign.examples import Example
from halign.models import Policy
from halign.rewards.data import attribute_names
from halign.rewards.facts import Facts
from halign.rewards.model import RewardModel, from_causal


def as_reward(policy: Policy, config: RunConfig, examples: Sequence[Example]) -> Policy:
    """The policy as the objective takes it: for one that reads values a reward model, made of the policy's trunk or going on.

    Raises:
        HalignError: if a reward model's outputs mean something else than the objective's, or the objective wants words of it.
    """
    if not config.reads_values:
        if isinstance(policy, RewardModel):
            raise HalignError(
                f"{', '.join(config.objective)} trains a language model, and {policy.path} is a reward model"
            )
        return policy
    wanted = wanted_facts(config, examples)
    if not isinstance(policy, RewardModel):
        return from_causal(policy, wanted, seed=config.train.seed)
    if policy.facts != wanted:
        raise HalignError(
            f"{policy.path} has the outputs {', '.join(policy.facts.labels)}, and {', '.join(config.objective)} on this data "
            f"needs {', '.join(wanted.labels)}; start from a language model, or give data that fits"
        )
    return policy


def wanted_facts(config: RunConfig, examples: Sequence[Example]) -> Facts:
    """What the outputs of a run's model mean."""
    objective = next(o for o, _ in config.objectives if o.reads_values)
    if objective.kind == "lists":
        return Facts()
    if objective.kind == "pairs":
        return Facts("pairwise")
    settings = config.objective_settings[objective.name]
    levels = settings.get("levels", 0) if settings.get("head") == "categorical" else 0
    return Facts("attributes", attribute_names(examples), levels)
