"""Examples -> the items that a run trains on and is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from halign.conditioning.contract import Rewriting
from halign.config import RunConfig
from halign.convert import Converted, as_kind
from halign.errors import HalignError
from halign.examples import Example
from halign.items import Item, Kind
from halign.models import Policy
from halign.render import Renderer

RENDERED_AT_ONCE = 512
"""Examples rendered between two updates of the progress display."""


@dataclass(frozen=True)
class Prepared:
    """What rendering gave.

    Attributes:
        kind: what the items are; mixtures render the richest kind and bind the others from it.
        train, evaluation: items.
        renderer: with its report of what was truncated or left out.
        dropped: conversion reason -> examples it dropped.
    """

    kind: Kind
    train: list[Item]
    evaluation: list[Item]
    renderer: Renderer
    dropped: dict[str, int]


def item_kind(config: RunConfig) -> Kind:
    """The kind that serves every objective of a mixture: token objectives read the chosen response of pairs and lists.

    Raises:
        HalignError: if two objectives want items that cannot come from the same rows.
    """
    kinds = {objective.kind for objective, _ in config.objectives}
    compared = kinds - {"tokens"}
    if len(compared) > 1:
        raise HalignError(
            f"objectives {', '.join(config.objective)} need {' and '.join(sorted(compared))} at once"
        )
    return compared.pop() if compared else "tokens"


def make_renderer(policy: Policy, config: RunConfig) -> Renderer:
    """The renderer that a run uses, and that sampling from its model will use again."""
    train = config.train
    kept = ("guardrail_template", "system_role", "response_prefix")
    known = {k: v for k, v in policy.rendering.items() if k in kept}
    if train.response_prefix is not None or config.rewrites:
        known["response_prefix"] = train.response_prefix or ""
    return Renderer(
        policy.tokenizer,
        stop_ids=policy.stop_ids or None,
        roles=train.roles,
        max_length=train.max_length,
        template_args=train.template_args,
        response_body=train.response_body,
        **known,
    )


def prepare(
    policy: Policy,
    examples: Sequence[Example],
    evaluation: Sequence[Example] | None,
    config: RunConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Convert, split, render.

    Raises:
        HalignError: if the data cannot serve the objective, or nothing is left of it.
    """
    kind = item_kind(config)
    renderer = make_renderer(policy, config)
    dropped: dict[str, int] = {}
    held_out: Sequence[Example] = evaluation or ()
    if evaluation is None and config.train.eval_share:
        examples, held_out = split_conversations(examples, config.train.eval_share, config.train.seed)
    total = len(examples) + len(held_out)
    rewriting = _rewriting(config, examples)

    def convert(some: Sequence[Example]) -> Converted[Example]:
        if rewriting:
            return rewriting(some)
        return as_kind(some, kind, how=config.train.pairs, threshold=config.train.threshold)

    train_items = _render(renderer, examples, kind, convert, dropped, lambda n: progress(n, total))
    eval_items = _render(
        renderer, held_out, kind, convert, dropped, lambda n: progress(len(examples) + n, total)
    )
    if not train_items:
        raise HalignError(
            f"no items to train on: {len(examples)} examples gave none ({_why(renderer, dropped)})"
        )
    if rewriting:
        renderer.response_prefix = rewriting.asked
    return Prepared(kind, train_items, eval_items, renderer, dropped)


def _rewriting(config: RunConfig, examples: Sequence[Example]) -> Rewriting | None:
    """What rewrites the data, if the objective is a text method, settled on the training data."""
    objective = config.rewrites
    if objective is None or objective.text is None:
        return None
    return Rewriting(objective.text, config.objective_settings[objective.name], examples)


def split_conversations(
    examples: Sequence[Example], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Hold out a share of the conversations, whole ones, so that no trunk is on both sides."""
    names = sorted({e.conversation for e in examples})
    count = round(share * len(names))
    if not 0 < count < len(names):
        raise HalignError(f"eval_share={share} of {len(names)} conversations leaves one side empty")
    held = {names[i] for i in np.random.default_rng((seed, 1)).permutation(len(names))[:count]}
    return [e for e in examples if e.conversation not in held], [
        e for e in examples if e.conversation in held
    ]


def _render(
    renderer: Renderer,
    examples: Sequence[Example],
    kind: Kind,
    convert: Callable[[Sequence[Example]], Converted[Example]],
    dropped: dict[str, int],
    progress: Callable[[int], None],
) -> list[Item]:
    if not examples:
        return []
    converted = convert(examples)
    for reason, count in converted.dropped.items():
        dropped[reason] = dropped.get(reason, 0) + count
    items: list[Item] = []
    count = len(converted.examples)
    for start in range(0, count, RENDERED_AT_ONCE):
        items += renderer.render(converted.examples[start : start + RENDERED_AT_ONCE], kind)
        progress(round(min(start + RENDERED_AT_ONCE, count) / count * len(examples)))
    return items


def _why(renderer: Renderer, dropped: dict[str, int]) -> str:
    reasons = {**dropped, **renderer.report.left_out}
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "empty data"
