"""Which part of a rendered turn is learnt: characters of the content -> segments of the rendering.

A turn's content may say which of its characters are learnt (``Message.learn``). Its rendering is then cut there, and the segments
are encoded apart, because so they meet at inference: what is not learnt is given, what is learnt follows it.

    content     Good answer: Sure.             learn ((13, 18),)
    rendering   <think></think>Good answer: Sure.<|im_end|>
    segments    (<think></think>Good answer: , not learnt) (Sure.<|im_end|>, learnt)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from halign.dialogue import Message, Spans
from halign.errors import HalignError
from halign.items import Ids, Path


class Segment(NamedTuple):
    """A piece of a rendered turn."""

    text: str
    learnt: bool


def prefixed(message: Message, prefix: str) -> Message:
    """The message with words put before its own, which are not learnt.

    >>> prefixed(Message("assistant", "Sure."), "Good: ")
    Message(role='assistant', content='Good: Sure.', extra={}, learn=((6, 11),))
    """
    if not prefix:
        return message
    by, content = len(prefix), prefix + message.content
    spans = ((0, len(message.content)),) if message.learn is None else message.learn
    return replace(message, content=content, learn=tuple((a + by, b + by) for a, b in spans))


def segments(rest: str, body: slice, content: str, learn: Spans) -> list[Segment]:
    """The segments of what a template writes for a turn.

    Args:
        rest: the rendering, from where the prompt ends.
        body: where the content is in it. White space at its ends may be gone (templates trim).
        learn: ranges of the content.

    What the template writes before the body belongs to the first segment, what it writes after it to the last.

    Raises:
        HalignError: if the template changed the content otherwise, so that its characters cannot be found again.

    >>> segments("Good: Sure.<end>", slice(0, 11), "Good: Sure.", ((6, 11),))
    [Segment(text='Good: ', learnt=False), Segment(text='Sure.<end>', learnt=True)]
    """
    shown = rest[body]
    trimmed = content.find(shown)
    if trimmed < 0 or content[:trimmed].strip() or content[trimmed + len(shown) :].strip():
        raise HalignError(
            "cannot tell which characters of this turn are learnt: the chat template rewrites its content\n"
            f"  content   {content[:200]!r}\n  rendered  {shown[:200]!r}"
        )
    found: list[Segment] = []
    done = 0
    for place, (start, end) in enumerate(learn):
        first, after = (body.start + min(max(n - trimmed, 0), len(shown)) for n in (start, end))
        if start == 0 and place == 0:
            first = 0  # what the template writes before the content is learnt with its beginning
        if end == len(content):
            after = len(rest)  # and the end of the turn with its end
        found += [Segment(rest[done:first], False), Segment(rest[first:after], True)]
        done = after
    return [s for s in (*found, Segment(rest[done:], False)) if s.text]


def joined(
    prompt: Ids, pieces: Sequence[Segment], encode: Callable[[str], Ids], encode_end: Callable[[str], Ids]
) -> Path:
    """A path of a prompt and the segments after it. What comes before the first learnt segment belongs to the prompt.

    Args:
        encode: of a segment with others after it.
        encode_end: of the last one (cut after the end of turn).
    """
    if len(pieces) == 1 and pieces[0].learnt:
        return Path(prompt, encode_end(pieces[0].text))
    ids = [(encode if i + 1 < len(pieces) else encode_end)(s.text) for i, s in enumerate(pieces)]
    first = next((i for i, s in enumerate(pieces) if s.learnt), 0)
    given = np.concatenate([prompt, *ids[:first]]) if first else prompt
    kept = list(zip(ids[first:], pieces[first:], strict=True))
    if len(kept) == 1 and kept[0][1].learnt:
        return Path(given, kept[0][0])
    if not kept:
        return Path(given, np.empty(0, dtype=np.int32))
    mask = np.concatenate([np.full(len(i), s.learnt) for i, s in kept])
    response = np.concatenate([i for i, _ in kept])
    return Path(given, response, None if mask.all() else mask)


def with_a_prompt(path: Path) -> Path:
    """A path. With nothing before it, a response's first token cannot be predicted: it becomes the prompt."""
    if len(path.prompt):
        return path
    mask = None if path.loss_mask is None else path.loss_mask[1:]
    return Path(path.response[:1], path.response[1:], mask)
