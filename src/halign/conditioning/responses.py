"""Every response that an example holds, good or bad, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from halign.dialogue import RAW, Dialogue, Message
from halign.examples import Conversation, Demonstration, Example, Preference, Ranking, Rating


@dataclass(frozen=True, slots=True)
class Response:
    """A response to a prompt, and the score it was given, if any."""

    prompt: Dialogue
    message: Message
    score: float | None = None


def responses(example: Example) -> Iterator[Response]:
    """The responses of an example: those of a turn, a pair, a ranking; the agent turns of a dialogue.

    >>> from halign.readers import read
    >>> pair = read([{"prompt": "2+2=", "chosen": "4", "rejected": "5"}])[0]
    >>> [r.message.content for r in responses(pair)]
    ['4', '5']
    """
    match example:
        case Preference(prompt, chosen, rejected):
            yield from (Response(prompt, m, _score(m)) for m in (chosen, rejected))
        case Ranking(prompt, replies):
            scores = example.scores or [_score(m) for m in replies]
            yield from (Response(prompt, m, s) for m, s in zip(replies, scores, strict=True))
        case Rating(prompt, reply):
            yield Response(prompt, reply, example.score)
        case Demonstration() | Conversation():
            yield from _of_turns(example)


def _of_turns(example: Demonstration | Conversation) -> Iterator[Response]:
    turns = example.turns if isinstance(example, Demonstration) else None
    for i, message in enumerate(example.dialogue.messages):
        if i == 0 or not (i in turns if turns is not None else message.role in ("assistant", RAW)):
            continue
        before = example.dialogue[:i]
        yield Response(before, message, _score(message))
        if isinstance(example, Conversation):
            yield from (Response(before, a.message, a.score) for a in example.alternatives.get(i, ()))


def _score(message: Message) -> float | None:
    score = message.extra.get("score")
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
