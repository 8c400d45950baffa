"""What the base model reads: mixed-quality conversations with several agents' replies at every turn, and lists to copy.

A conversation is mostly facts, rules and a customer's words; the replies, in which rules are kept or broken, are a quarter of it.
So every turn is answered by several agents of the same mixed quality: their replies branch off one trunk, which is read once, and
they are more than half of what is read. Customers' words count too: naming one's own lamp is copying.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from halign.dialogue import Message
from halign.examples import Conversation, Demonstration, Example
from halign.worlds.care.agent import draw_choices, draw_poles, reply
from halign.worlds.care.dictation import dictations
from halign.worlds.care.facts import Facts
from halign.worlds.care.generator import KEEP, conversations
from halign.worlds.care.state import State

GUARDRAILS_IN_FORCE = (2, 6)
"""Fewest and most; one more than in the other splits, since rules are what there is to learn."""
DICTATIONS_EACH = 7
"""Lists after each of the first conversations, until none is left: a model copies early or late, and early is better."""


def corpus(count: int, *, replies: int, dictations_: int, seed: int = 0) -> Iterator[Example]:
    """Everything in reading order.

    Args:
        count: conversations, about 330 tokens each, and 95 more for each further reply to their turns.
        replies: agents that answer each turn; the first one's reply goes on.
        dictations_: lists to copy (see ``dictation``), about 70 tokens each.
    """
    lists = dictations(dictations_, seed=seed)
    for conversation in spoken(count, seed=seed):
        yield conversation
        yield from other_replies(conversation, replies - 1)
        yield from islice(lists, DICTATIONS_EACH)
    yield from lists


def spoken(count: int, *, seed: int = 0) -> Iterator[Conversation]:
    """The conversations alone."""
    return conversations(
        count, split="pretrain", seed=seed, quality="mixed", intents=(2, 3), guardrails=GUARDRAILS_IN_FORCE
    )


def other_replies(conversation: Conversation, count: int) -> Iterator[Demonstration]:
    """What ``count`` other agents of the same quality would have said at each turn: demonstrations of that turn alone."""
    dialogue, meta = conversation.dialogue, conversation.dialogue.meta
    facts = Facts.of(meta["facts"])
    rng = random.Random(f"{conversation.conversation}-others")
    for turn, described in enumerate(meta["states"]):
        state, at = State.of(described), 2 + 2 * turn
        for _ in range(count):
            poles = draw_poles(rng, state, meta["active"], meta["habits"], KEEP)
            said = Message("assistant", reply(facts, state, poles, draw_choices(rng)))
            yield Demonstration(dialogue[:at] + said, conversation.conversation, turns=(at,))
