"""Prompts of a policy gradient, as the model reads them, and what the examples answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from halign.conditioning.responses import responses
from halign.convert import as_kind, to_demonstrations
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.examples import Example
from halign.items import Ids, Item
from halign.loops.asked import asked, of_round
from halign.render import Renderer

EVALUATION_SEED = 0x6576616C
"""Held-out prompts are answered with the same draws every time, so that evaluations differ by the policy alone."""
PRETRAIN_SEED = 0x707478


@dataclass(frozen=True)
class Prompt:
    """Something to answer.

    Attributes:
        ids: as the model reads it, generation prompt included; int32 [p].
    """

    conversation: str
    dialogue: Dialogue
    ids: Ids


def find_prompts(examples: Sequence[Example], renderer: Renderer, room: int | None = None) -> list[Prompt]:
    """Every distinct prompt of some examples (``asked``), in order of first appearance; prompts of different conversations that
    the model reads alike are one.

    Args:
        room: longest prompt in tokens; longer ones are left out. None: any.

    Raises:
        HalignError: if none is left.
    """
    found: dict[bytes, Prompt] = {}
    every = asked(examples)
    for one in every:
        ids = renderer.prompt(one.prompt)
        if room is None or len(ids) <= room:
            found.setdefault(ids.tobytes(), Prompt(one.conversation, one.prompt, ids))
    if not found:
        raise HalignError(
            f"no prompts: {len(examples)} examples have {len(every)}, none of at most {room} tokens"
        )
    return list(found.values())


def held_out(found: Sequence[Prompt], wanted: int) -> list[Prompt]:
    """Prompts to be evaluated on: so many of them at most, always the same, in order."""
    return [found[i] for i in sorted(of_round(len(found), wanted, 1, EVALUATION_SEED))]


def demonstrations(examples: Sequence[Example]) -> list[tuple[Dialogue, str]]:
    """(prompt, reply) of everything that the examples show to be imitated; empty where they hold prompts alone."""
    return [(r.prompt, r.message.content) for d in to_demonstrations(examples).examples for r in responses(d)]


def to_pretrain(examples: Sequence[Any], data: str | None, renderer: Renderer, seed: int) -> list[Item]:
    """Demonstrations for PPO-ptx, those of a file or data set where one is named, in an order of their own.

    Raises:
        HalignError: if there are none.
    """
    if data:
        from halign.readers import read

        examples = list(read(data))
    items = renderer.render(as_kind(examples, "tokens").examples, "tokens")
    if not items:
        raise HalignError(
            "pretrain_weight needs demonstrations: give examples with responses, or pretrain_data"
        )
    return [items[i] for i in np.random.default_rng((seed, PRETRAIN_SEED)).permutation(len(items))]


def fingerprint(found: Sequence[Prompt]) -> str:
    """Short hash of prompts, in order."""
    digest = hashlib.sha256()
    for prompt in found:
        digest.update(
            len(prompt.ids).to_bytes(4, "little") + np.ascontiguousarray(prompt.ids, np.int32).tobytes()
        )
    return digest.hexdigest()[:24]
