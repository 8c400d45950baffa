"""Chain of hindsight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from halign.conditioning.contract import asks
from halign.convert import Converted, to_rankings
from halign.dialogue import Message, called
from halign.errors import HalignError
from halign.examples import Demonstration, Example, Ranking


@asks(lambda settings: settings["good"])
def hindsight(
    examples: Sequence[Example],
    *,
    good: str = "A helpful answer:\n",
    bad: str = "An unhelpful answer:\n",
    better: str = "A better answer:\n",
    separator: str = "\n\n",
    order: Literal["both", "worst_first", "best_first"] = "both",
    order_seed: int = 0,
) -> Converted[Demonstration]:
    r"""Learn all responses to a prompt in one sequence, each after words on how good it is; then ask for a helpful one.

    .. math:: -\sum_{k} \log \pi(y_k \mid x, m_1, y_1, \dots, m_{k-1}, y_{k-1}, m_k)

    m_k is the feedback in words. Only the responses are learnt; the end of the turn after the last of them. Two responses
    stand in either order, drawn per chain; more stand from the worst to the best, so that the best is never learnt without the
    others before it, as it will be asked for: pairs steer better (docs/log.md). Of responses that tie, the first stays. The
    random masking of past tokens that belongs to the method is a setting of the run, ``past_masking=[0,0.05]``; it is off
    unless asked for.

    Source: arXiv 2302.02676.

    Args:
        examples: pairs, rankings, ratings of one prompt, or conversations with alternatives.
        good, bad, better: before the best response, the worst, and those in between. The finished model is asked with ``good``.
        separator: between a response and the next words.
        order: of two responses.
        order_seed: for the draw.

    Returns:
        one demonstration per prompt.

    Raises:
        HalignError: for demonstrations, which compare nothing.

    >>> from halign.readers import read
    >>> data = read([{"prompt": [{"role": "user", "content": "2+2?"}], "chosen": "4", "rejected": "5"}])
    >>> turn = hindsight(data, order="worst_first").examples[0].dialogue.messages[-1]
    >>> turn.content, [turn.content[a:b] for a, b in turn.learn]
    ('An unhelpful answer:\n5\n\nA helpful answer:\n4', ['5', '4'])
    """
    if len({good, bad, better}) < 3:
        raise HalignError("hindsight: good, bad and better have to be different words")
    for e in examples:
        if isinstance(e, Demonstration):
            raise HalignError(
                f"hindsight needs at least two ranked responses, and conversation {e.conversation!r} has one of each turn: give "
                "its agent turns 'alternatives', or rows 'chosen' and 'rejected', or 'responses' with a rank or score"
            )
    ranked, found = to_rankings(examples)
    dropped = Counter(found)
    rng = np.random.default_rng((order_seed, 0x636F68))
    made = []
    for e in ranked:
        chain = _levels(e)[::-1]
        if len(chain) < 2:
            dropped["choices that tie in all replies"] += 1
            continue
        dropped["responses that tie with another of their chain"] += len(e.responses) - len(chain)
        marks = [bad, *[better] * (len(chain) - 2), good]
        turn_round = rng.random() < 0.5 if order == "both" else order == "best_first"
        links = list(zip(marks, chain, strict=True))
        if turn_round and len(links) == 2:
            links.reverse()
        turn = _chained(links, separator)
        made.append(Demonstration(e.prompt + turn, e.conversation, (len(e.prompt),), e.weight))
    return Converted(made, {reason: n for reason, n in dropped.items() if n})


def _levels(e: Ranking) -> list[Message]:
    """The first response of every rank, best first."""
    return list(dict(reversed(list(zip(e.ranks, e.responses, strict=True)))).values())[::-1]


def _chained(links: Sequence[tuple[str, Message]], separator: str) -> Message:
    """One turn that says all of it and learns the responses."""
    text, learn = "", []
    for mark, response in links:
        if called(response):
            raise HalignError(
                f"hindsight: one turn cannot hold several responses that call tools ({called(response)[0]}); drop those rows"
            )
        text += (separator if text else "") + mark
        learn.append((len(text), len(text) + len(response.content)))
        text += response.content
    return replace(links[0][1], content=text, extra={}, learn=tuple(learn))
