"""Prompts of a policy gradient, as the model reads them, and what the examples answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from halign.conditioning.responses import responses
from halign.convert import to_demonstrations
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.examples import Example
from halign.items import Ids
from halign.loops.asked import asked
from halign.render import Renderer


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


def demonstrations(examples: Sequence[Example]) -> list[tuple[Dialogue, str]]:
    """(prompt, reply) of everything that the examples show to be imitated; empty where they hold prompts alone."""
    return [(r.prompt, r.message.content) for d in to_demonstrations(examples).examples for r in responses(d)]


def fingerprint(found: Sequence[Prompt]) -> str:
    """Short hash of prompts, in order."""
    digest = hashlib.sha256()
    for prompt in found:
        digest.update(
            len(prompt.ids).to_bytes(4, "little") + np.ascontiguousarray(prompt.ids, np.int32).tobytes()
        )
    return digest.hexdigest()[:24]
