"""Which prompts a loop asks, and in which round."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Conversation, Demonstration, Example, Preference, Ranking, Rating
from halign.readers.write import about


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of the data.

    Attributes:
        own: what the data answers: the turn itself, the preferred or best response, one that was rated good; None where it has no
            answer, or only a bad one.
    """

    prompt: Dialogue
    conversation: str
    own: Message | None = None


def asked(examples: Sequence[Example], *, answered: bool = False) -> list[Asked]:
    """The distinct prompts of examples, in order: of a dialogue, the turns before each agent turn (or before each of its
    ``turns``), and the whole where it ends with somebody else's turn.

    Args:
        answered: only those with an answer in the data.

    Raises:
        HalignError: if there is none.
    """
    found: dict[object, Asked] = {}
    for example in examples:
        for one in _of(example):
            words = tuple((m.role, *m.words) for m in one.prompt.messages)
            key = (one.conversation, one.prompt.guardrails, words)
            if key not in found or found[key].own is None:
                found[key] = one
    kept = [one for one in found.values() if one.own is not None or not answered]
    if not kept:
        lacking = f"none of {len(found)} prompts has a response" if found else "no prompts"
        raise HalignError(f"examples: {lacking}; give demonstrations or conversations")
    return kept


def _of(e: Example) -> Iterator[Asked]:
    match e:
        case Demonstration() | Conversation():
            turns = e.dialogue.messages
            for i, message in enumerate(turns):
                learnt = message.role == "assistant" or e.dialogue.is_raw
                if isinstance(e, Demonstration) and e.turns is not None:
                    learnt = i in e.turns
                if i and learnt:
                    yield Asked(e.dialogue[:i], e.conversation, message)
            if turns and turns[-1].role not in ("assistant", "raw"):
                yield Asked(e.dialogue, e.conversation)
        case Preference():
            yield Asked(e.prompt, e.conversation, e.chosen if e.preference >= 0.5 else e.rejected)
        case Ranking():
            yield Asked(e.prompt, e.conversation, e.responses[0] if e.responses else None)
        case Rating():
            yield Asked(e.prompt, e.conversation, e.response if e.desirable else None)


def of_round(count: int, wanted: int | None, number: int, seed: int) -> list[int]:
    """Places of the prompts of round ``number`` (from 1), of ``count``; none comes again before all have had their turn, and none
    twice in one round. The same for the same seed, whatever was asked before.

    >>> first, second = of_round(5, 3, 1, seed=0), of_round(5, 3, 2, seed=0)
    >>> sorted({*first, *second}), len({*second})
    ([0, 1, 2, 3, 4], 3)
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    waiting: list[int] = []
    turn = 0
    chosen: list[int] = []
    for _ in range(number):
        if len(waiting) < wanted:
            fresh = np.random.default_rng((seed, turn)).permutation(count).tolist()
            turn += 1
            due = {*waiting}
            waiting += [i for i in fresh if i not in due] + [i for i in fresh if i in due]
        chosen, waiting = waiting[:wanted], waiting[wanted:]
    return chosen


def row(one: Asked) -> dict[str, Any]:
    """A prompt as ``halign sample`` writes it."""
    return {
        "conversation": one.conversation,
        "guardrails": list(one.prompt.guardrails),
        "prompt": [m.to_dict() for m in one.prompt.messages],
    }


def fingerprint(prompts: Sequence[Asked]) -> str:
    """Short hash of prompts and answers, in order."""
    digest = hashlib.sha256()
    for one in prompts:
        own = one.own.to_dict() if one.own else None
        words = [row(one), about(one.prompt), own]
        digest.update(json.dumps(words, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:24]
