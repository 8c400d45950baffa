"""Prompts of a loop: which there are, and which an iteration draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from halign.convert import as_kind
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.examples import Demonstration, Example, prompts
from halign.items import Ids
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
    """Every distinct prompt of some examples, in order of first appearance; a conversation gives one per agent turn.

    Args:
        room: longest prompt in tokens; longer ones are left out. None: any.

    Raises:
        HalignError: if none is left.
    """
    found: dict[bytes, Prompt] = {}
    count = 0
    for conversation, dialogue in prompts(list(examples)):
        ids = renderer.prompt(dialogue)
        count += 1
        if room is None or len(ids) <= room:
            found.setdefault(ids.tobytes(), Prompt(conversation, dialogue, ids))
    if not found:
        raise HalignError(
            f"no prompts: {len(examples)} examples have {count}, none of at most {room} tokens"
            if count
            else f"no prompts: none of {len(examples)} examples has an agent's turn to be answered"
        )
    return list(found.values())


def drawn(count: int, size: int, iteration: int, seed: int) -> list[int]:
    """Which of ``count`` prompts iteration ``iteration`` (from 0) answers: passes over all of them, each in an order of its
    own; int indices, at most ``size`` of them, each once. A pure function, so that a resumed run goes on as it would have.

    >>> sorted(drawn(5, 2, 0, 7) + drawn(5, 2, 1, 7)), len(drawn(3, 8, 0, 7))
    ([0, 1, 2, 4], 3)
    """
    size = min(size, count)
    found: list[int] = []
    place = iteration * size
    while len(found) < size:
        turn, start = divmod(place, count)
        order = np.random.default_rng((seed, turn)).permutation(count).tolist()
        fresh = [i for i in order[start:] if i not in found][: size - len(found)]
        found += fresh
        place = (turn + 1) * count
    return found


def demonstrations(examples: Sequence[Example]) -> list[tuple[Dialogue, str]]:
    """(prompt, reply) of everything that the examples show to be imitated; empty where they hold prompts alone."""
    found = []
    for example in as_kind(examples, "tokens", how=None, threshold=None, soft=False).examples:
        if not isinstance(example, Demonstration):
            continue
        messages = example.dialogue.messages
        turns = example.turns
        if turns is None:
            turns = tuple(i for i, m in enumerate(messages) if m.role == "assistant")
        found += [(example.dialogue[:t], messages[t].content) for t in turns]
    return found


def fingerprint(found: Sequence[Prompt]) -> str:
    """Short hash of prompts, in order."""
    digest = hashlib.sha256()
    for prompt in found:
        digest.update(
            len(prompt.ids).to_bytes(4, "little") + np.ascontiguousarray(prompt.ids, np.int32).tobytes()
        )
    return digest.hexdigest()[:24]
