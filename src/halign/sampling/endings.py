"""The text of a reply: where stop strings end it, and how much of it is certain while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

_INCOMPLETE = "\ufffd"  # what a decoder writes for bytes that are no whole character (yet)


def cut(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first place where one of the strings stands.

    >>> cut("one. Two.\\nthree", ["\\n", "Two"])
    'one. '
    """
    places = [place for place in (text.find(s) for s in stop) if place >= 0]
    return text[: min(places)] if places else text


class Reader:
    """Reads replies' ids.

    Args:
        decode: ids of a whole reply -> what it says (``Renderer.decode_response``).
        stop: strings that end a reply.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self.decode, self.stop = decode, tuple(stop)

    def ends(self, ids: Sequence[int]) -> bool:
        """True if a stop string stands in the reply."""
        text = self.decode(ids)
        return any(s in text for s in self.stop)

    def text(self, ids: Sequence[int]) -> str:
        """A whole reply as a reader sees it: cut before a stop string, without space around it."""
        return cut(self.decode(ids), self.stop).strip()

    def sure(self, ids: Sequence[int]) -> str:
        """What ``text`` will surely begin with, however the reply goes on, as far as its tokens' texts hang on their neighbours
        only: neither the last token, nor space at the end, nor an incomplete character, nor what may become a stop string.
        """
        before, now = self.decode(ids[:-1]), self.decode(ids)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(before, now, strict=False))
        text = "".join(a for a, _ in same).rstrip(_INCOMPLETE)
        text = text[: len(text) - max((_overlap(text, s) for s in self.stop), default=0)]
        return text.strip()


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of ``text`` with which ``stop`` begins, at most all but one of it.

    >>> _overlap("wait #", "##"), _overlap("wait", "##")
    (1, 0)
    """
    return next((k for k in range(len(stop) - 1, 0, -1) if text.endswith(stop[:k])), 0)
