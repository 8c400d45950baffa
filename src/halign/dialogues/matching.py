"""Which node of a chart a reply is: by its template first, then by the words it shares with one, else none.

A template matches if its fixed words stand in the reply in order with anything in the slots, white space, case, punctuation and
quotes aside. Where several match, the one with the most fixed words is meant. A template that is nearly all slots ("{question}")
would match everything and is never matched: ``NodeMatcher.unreadable`` names it.

Otherwise the overlap with a template is Dice's: twice the shared words over all words of both, each template's slots taking up to
``SLOT_WORDS`` words of the reply that it does not share. At or above ``least`` the closest template is meant; if others are as
close (within ``MARGIN``), all of them are returned, and which one is meant cannot be told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from halign.dialogues.chart import FlowChart

LEAST = 0.6
"""Overlap from which on a reply counts as a node's, unless told otherwise."""
MARGIN = 0.05
SLOT_WORDS = 3
FIXED = 2
"""Words that a template must have beside its slots."""

Place = tuple[str, str]
"""Task and node."""

_SLOT = re.compile(r"\{[^{}]*\}")
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


@dataclass(frozen=True)
class Match:
    """What a reply was found to be.

    Attributes:
        places: the nodes it may be: of several tasks where the same words stand in several charts; empty: none.
        how: "template" or "overlap"; "" where there is no node.
        score: the overlap; 1 for a template; of a reply that is no node's, that of the closest.
        clear: False where nodes with different words are as close.
    """

    places: tuple[Place, ...] = ()
    how: str = ""
    score: float = 0.0
    clear: bool = True


def words_of(text: str) -> list[str]:
    """Words in lower case without punctuation.

    >>> words_of("OK — it’s 'Hilton', 5 pm.")
    ['ok', "it's", 'hilton', '5', 'pm']
    """
    return _WORD.findall(text.casefold().replace("’", "'"))


@dataclass(frozen=True)
class _Template:
    places: tuple[Place, ...]
    pattern: re.Pattern[str]
    fixed: Counter[str]
    slots: int


class NodeMatcher:
    """Finds the nodes of some charts.

    Args:
        least: overlap from which on a reply counts as a node's, in (0, 1].

    Attributes:
        unreadable: nodes that cannot be recognised, since they are (nearly) all slots.
    """

    def __init__(self, charts: Iterable[FlowChart], least: float = LEAST) -> None:
        self.least = least
        by_text: dict[str, list[Place]] = {}
        for chart in charts:
            for node, text in chart.texts.items():
                by_text.setdefault(_plain(text), []).append((chart.task, node))
        made = [_template(text, tuple(places)) for text, places in by_text.items()]
        self._templates = [t for t in made if t.fixed.total() >= FIXED or not t.slots]
        self.unreadable = tuple(p for t in made if t.slots and t.fixed.total() < FIXED for p in t.places)
        self._known: dict[str, Match] = {}

    def match(self, text: str) -> Match:
        """The node that one reply is."""
        said = words_of(text)
        key = " ".join(said)
        if key not in self._known:
            self._known[key] = self._by_template(key) or self._by_overlap(said)
        return self._known[key]

    def by_template(self, text: str) -> Match | None:
        """The node whose template the reply is; None if it is none's."""
        return self._by_template(" ".join(words_of(text)))

    def _by_template(self, said: str) -> Match | None:
        fitting = [t for t in self._templates if t.pattern.fullmatch(said)]
        if not fitting:
            return None
        most = max(t.fixed.total() for t in fitting)
        best = [t for t in fitting if t.fixed.total() == most]
        return Match(_all(best), "template", 1.0, len(best) == 1)

    def _by_overlap(self, said: list[str]) -> Match:
        scores = [(_overlap(Counter(said), t), t) for t in self._templates]
        best = max((s for s, _ in scores), default=0.0)
        if best < self.least:
            return Match(score=best)
        close = [t for s, t in scores if s > best - MARGIN]
        return Match(_all(close), "overlap", best, len(close) == 1)


def _overlap(said: Counter[str], template: _Template) -> float:
    """2 |shared| / (|reply| + |template|), where slots hold words that the two do not share."""
    shared = (said & template.fixed).total()
    spare = min(said.total() - shared, SLOT_WORDS * template.slots)
    length = said.total() - spare + template.fixed.total()
    return 2 * shared / length if length else 0.0


def _all(templates: Iterable[_Template]) -> tuple[Place, ...]:
    return tuple(p for t in templates for p in t.places)


def _plain(template: str) -> str:
    """Words of a template with every slot as {}."""
    parts = [" ".join(words_of(p)) for p in _SLOT.split(template)]
    return " {} ".join(parts).strip()


def _template(text: str, places: tuple[Place, ...]) -> _Template:
    fixed = [p.split() for p in text.split("{}")]
    slots = len(fixed) - 1
    pattern = r"\S.*?".join(_fixed(words, i > 0, i < slots) for i, words in enumerate(fixed))
    return _Template(places, re.compile(pattern), Counter(w for words in fixed for w in words), slots)


def _fixed(words: list[str], slot_before: bool, slot_behind: bool) -> str:
    if not words:
        return " " if slot_before and slot_behind else ""
    return (" " if slot_before else "") + re.escape(" ".join(words)) + (" " if slot_behind else "")
