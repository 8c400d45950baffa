"""Examples -> the items that a run trains on and is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from halign.conditioning.contract import Rewriting
from halign.config import RunConfig
from halign.convert import Converted, as_kind
from halign.errors import HalignError
from halign.examples import Example
from halign.items import Item, Kind
from halign.models import Policy
from halign.render import Renderer
from halign.rewards.data import converted as valued
from halign.rewards.model import RewardModel

RENDERED_AT_ONCE = 512
"""Examples rendered between two updates of the progress display."""


@dataclass(frozen=True)
class Prepared:
    """What rendering gave.

    Attributes:
        train, evaluation: items, of every kind that the objectives take.
        renderer: with its report of what was truncated or left out.
        dropped: conversion reason -> examples it dropped.
    """

    train: list[Item]
    evaluation: list[Item]
    renderer: Renderer
    dropped: dict[str, int]


def item_kinds(config: RunConfig) -> list[Kind]:
    """The kinds of items that the objectives of a mixture take."""
    return list(dict.fromkeys(objective.kind for objective, _ in config.objectives))


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
    renderer = make_renderer(policy, config)
    dropped: dict[str, int] = {}
    held_out: Sequence[Example] = evaluation or ()
    if evaluation is None and config.train.eval_share:
        examples, held_out = split_conversations(examples, config.train.eval_share, config.train.seed)
    total = len(examples) + len(held_out)
    rewriting = _rewriting(config, examples)

    def convert(some: Sequence[Example], kind: Kind) -> Converted[Example]:
        if isinstance(policy, RewardModel):
            return valued(some, kind, policy.facts, config.train.pairs if kind == "pairs" else None)
        return rewriting(some) if rewriting else _converted(some, kind, config)

    def render(some: Sequence[Example], before: int) -> list[Item]:
        kinds = item_kinds(config)
        return _render(renderer, some, kinds, convert, dropped, lambda n: progress(before + n, total))

    train_items, eval_items = render(examples, 0), render(held_out, len(examples))
    if not train_items:
        raise HalignError(
            f"no items to train on: {len(examples)} examples gave none ({_why(renderer, dropped)})"
        )
    if rewriting:
        renderer.response_prefix = rewriting.asked
    return Prepared(train_items, eval_items, renderer, dropped)


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
    kinds: Sequence[Kind],
    convert: Callable[[Sequence[Example], Kind], Converted[Example]],
    dropped: dict[str, int],
    progress: Callable[[int], None],
) -> list[Item]:
    """Items of every kind that the mixture takes, those of one conversation in the order of its turns."""
    if not examples:
        return []
    made: dict[Kind, list[Item]] = {}
    for number, kind in enumerate(kinds):
        converted = convert(examples, kind)
        if kind != "tokens" or len(kinds) == 1:  # beside others, "the rest is not imitated" would mislead
            for reason, count in converted.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        made[kind] = []
        count = len(converted.examples)
        for start in range(0, count, RENDERED_AT_ONCE):
            made[kind] += renderer.render(converted.examples[start : start + RENDERED_AT_ONCE], kind)
            share = min(start + RENDERED_AT_ONCE, count) / count
            progress(round((number + share) / len(kinds) * len(examples)))
    if len(kinds) == 1:
        return made[kinds[0]]
    demonstrations = made.pop("tokens", None)
    compared = [item for items in made.values() for item in items]
    return _by_turn(compared if demonstrations is None else with_demonstrations(compared, demonstrations))


def _converted(examples: Sequence[Example], kind: Kind, config: RunConfig) -> Converted[Example]:
    how = config.train.pairs if kind in ("pairs", "singles") else None
    threshold = config.train.threshold if kind == "singles" else None
    soft = all(o.reads_preference for o, _ in config.objectives if o.kind == kind)
    return as_kind(examples, kind, how=how, threshold=threshold, soft=soft)


def with_demonstrations(compared: Sequence[Item], demonstrations: Sequence[Item]) -> list[Item]:
    """Items to compare and, beside them, what a token objective imitates: every demonstration once.

    A demonstration that is the first response of a compared item is read off that item (``imitate``), which costs nothing;
    the others, such as the turns of a conversation that have no alternatives, become items of their own.
    """
    missing: dict[tuple[str, bytes], Item] = {}
    for d in sorted(demonstrations, key=lambda d: d.weight):
        missing[_said(d)] = d  # of equal ones the heaviest
    found = []
    for item in compared:
        imitated = missing.get(_said(item))
        imitate = imitated is not None and imitated.weight == item.weight
        if imitate:
            del missing[_said(item)]
        found.append(replace(item, values={**item.values, "imitate": imitate}))
    return found + list(missing.values())


def _said(item: Item) -> tuple[str, bytes]:
    """A response in its place: conversation, and the tokens of prompt and response."""
    return item.conversation, item.paths[0].ids.tobytes()


def _by_turn(items: Sequence[Item]) -> list[Item]:
    """Sorted by conversation, in the order of first appearance, then by turn, so that what shares a trunk shares a step."""
    first: dict[str, int] = {}
    for item in items:
        first.setdefault(item.conversation, len(first))
    return sorted(items, key=lambda item: (first[item.conversation], item.turn))


def _why(renderer: Renderer, dropped: dict[str, int]) -> str:
    reasons = {**dropped, **renderer.report.left_out}
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "empty data"
