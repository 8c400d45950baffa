"""What a user may ask of a translation so that a reply can be seen to do it: shorter, another word first, a word left out, one
sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

_WORD = re.compile(r"[^\W\d_]+")
_LEAST_WORDS = 4
"""Of a translation that rules direct: words that white space divides; texts of other scripts have fewer."""
_LONG = 4
"""Letters, at least, of a word that a direction names."""


@dataclass(frozen=True)
class Direction:
    """What the user asks for.

    Attributes:
        kept: whether a translation keeps it; None where no rule can say.
        keys: of the reply that it was, where the writer made it up.
    """

    kind: str
    text: str
    kept: Callable[[str], bool] | None = None
    keys: tuple[str, ...] = ()


def by_rule(translation: str, used: Collection[str], random: Random) -> Direction | None:
    """A direction of a kind that was not used, which the translation does not keep; None if there is none.

    >>> found = by_rule("Far, yet near. We are close.", {"length", "beginning", "word"}, Random(0))
    >>> found.text, found.kept("Far yet near, we are close.")
    ('Make it a single sentence.', True)
    """
    if len(translation.split()) < _LEAST_WORDS:
        return None
    found = [make(translation, random) for make in _RULES]
    fit = [d for d in found if d and d.kind not in used and d.kept is not None and not d.kept(translation)]
    return random.choice(fit) if fit else None


def _shorter(translation: str, random: Random) -> Direction:
    most = len(translation.split()) * 2 // 3
    return Direction("length", f"Shorten it to {most} words or less.", lambda said: len(said.split()) <= most)


def _begins(translation: str, random: Random) -> Direction | None:
    words = _words(translation)
    others = [w for w in words[1:] if len(w) >= _LONG]
    if not others:
        return None
    word = random.choice(others)
    return Direction(
        "beginning", f"Start with '{word}'.", lambda said: _folded(said)[:1] == [word.casefold()]
    )


def _without(translation: str, random: Random) -> Direction | None:
    words = [w for w in _words(translation) if len(w) >= _LONG]
    if not words:
        return None
    word = random.choice(words)
    return Direction(
        "word", f"Say it without the word '{word}'.", lambda said: word.casefold() not in _folded(said)
    )


def _sentence(translation: str, random: Random) -> Direction:
    return Direction("one sentence", "Make it a single sentence.", lambda said: _sentences(said) == 1)


_RULES = (_shorter, _begins, _without, _sentence)


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _folded(text: str) -> list[str]:
    return [w.casefold() for w in _words(text)]


def _sentences(text: str) -> int:
    return len([s for s in re.split(r"[.!?]+(?:\s+|$)", text.strip()) if s])
