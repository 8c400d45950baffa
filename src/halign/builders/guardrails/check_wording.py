"""Checks of wording: what must and must not stand in a reply, and how long it may be."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from halign.builders.guardrails.contract import Turn, Verdict
from halign.builders.guardrails.lexicon import NEGATION, content, like, sentences, words

LINK = re.compile(r"\bhttps?://\S+|\bwww\.\S+|\b[\w-]+\.(com|org|net|io|co\.uk)\b(/\S*)?", re.I)
NUMBER = re.compile(r"\d")
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]|[:;]-?[)(DP]")
FILLER = (
    "I would like to add that we care a great deal about every customer who gets in touch with us.",
    "There is much more that could be said about this, and I could go on at some length.",
    "As you may know, our company has been doing this for many years, and we are proud of it.",
    "Let me explain all of this once more in other words, so that nothing at all is left out.",
)
Mark = Literal["emoji", "exclamation", "question", "link", "number"]
MARKS: dict[str, re.Pattern[str]] = {
    "emoji": EMOJI,
    "exclamation": re.compile("!"),
    "question": re.compile(r"\?"),
    "link": LINK,
    "number": NUMBER,
}
_LAST_STOP = re.compile(r"\.(?=\s|$)(?!.*\.(?:\s|$))", re.DOTALL)
ADDED = {
    "emoji": "😊",
    "exclamation": "Great!!!",
    "question": "Does that make sense?",
    "link": "See https://www.example.com/help.",
    "number": "The number is 48210.",
}


@dataclass(frozen=True)
class NeverSays:
    """These words or phrases never stand in a reply."""

    phrases: tuple[str, ...]
    everywhere: bool = True
    kind: ClassVar[str] = "never_says"
    forbids: ClassVar[bool] = True

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Phrases are compared as whole words, letters' case aside."""
        said = f" {' '.join(words(reply))} "
        found = any(f" {' '.join(words(p))} " in said for p in self.phrases if words(p))
        return Verdict.BROKEN if found else Verdict.KEPT

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply with one of them added."""
        phrase = draws.choice(self.phrases)
        return [f"{turn.good} As we say here: {phrase}."]


@dataclass(frozen=True)
class NeverOffers:
    """A thing is never offered, promised, mentioned ...

    Attributes:
        verb: what must not be done with it, as in "offer".
    """

    thing: str
    verb: str = "mention"
    everywhere: bool = True
    kind: ClassVar[str] = "never_offers"
    forbids: ClassVar[bool] = True

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Broken by a sentence that names the thing and denies nothing."""
        wanted = content(self.thing)
        for s in sentences(reply):
            if wanted and wanted <= content(s):
                return Verdict.OPEN if NEGATION.search(s) else Verdict.BROKEN
        return Verdict.KEPT

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply with an offer behind it, and the offer alone."""
        lines = {
            "offer": f"I can also offer you {self.thing}.",
            "promise": f"And I promise you {self.thing}.",
            "recommend": f"I would also recommend {self.thing}.",
            "mention": f"By the way, let us talk about {self.thing}.",
        }
        added = lines.get(self.verb, f"And I will gladly {self.verb} {self.thing}.")
        return [f"{turn.good} {added}", added]


@dataclass(frozen=True)
class Marks:
    """Something stands in every reply (or in none): an emoji, an exclamation or question mark, a link, a number.

    Attributes:
        wanted: False if it must not stand there.
        everywhere: False if only replies are meant at whose place the agent's own had it.
    """

    mark: Mark
    wanted: bool = True
    everywhere: bool = True
    kind: ClassVar[str] = "marks"

    @property
    def forbids(self) -> bool:
        """True if the mark must not stand there."""
        return not self.wanted

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Open where it is wanted only on an occasion, and the reply that stood there did without."""
        pattern = MARKS[self.mark]
        if not self.everywhere and not pattern.search(turn.good):
            return Verdict.OPEN
        return Verdict.KEPT if bool(pattern.search(reply)) == self.wanted else Verdict.BROKEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply with it added, an exclamation mark for the last full stop if it has one; or less the sentences that have it,
        or less the marks themselves."""
        if not self.wanted:
            swapped = _LAST_STOP.sub("!", turn.good) if self.mark == "exclamation" else turn.good
            return [
                *([swapped] if swapped != turn.good else []),
                f"{turn.good} {ADDED[self.mark]}",
            ]
        pattern = MARKS[self.mark]
        rest = " ".join(s for s in sentences(turn.good) if not pattern.search(s))
        bare = pattern.sub("", turn.good).strip()
        return [
            *([rest] if rest else []),
            *([bare] if len(words(bare)) > 2 and self.mark != "number" else []),
            "I see.",
        ]


@dataclass(frozen=True)
class Longest:
    """A reply has at most so many words, sentences or characters."""

    most: int
    unit: Literal["words", "sentences", "characters"] = "words"
    everywhere: bool = True
    kind: ClassVar[str] = "longest"
    forbids: ClassVar[bool] = True

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Words are separated by white space."""
        length = {"words": len(reply.split()), "sentences": len(sentences(reply)), "characters": len(reply)}
        return Verdict.KEPT if length[self.unit] <= self.most else Verdict.BROKEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply with more and more behind it, until it is too long by a tenth."""
        said = turn.good
        order = draws.sample(FILLER, len(FILLER))
        for i in range(1000):
            if Longest(round(self.most * 1.1), self.unit).judge(turn, said) is Verdict.BROKEN:
                break
            said = f"{said} {order[i % len(order)]}"
        return [said]


@dataclass(frozen=True)
class OneQuestion:
    """One question at a time."""

    everywhere: bool = False
    kind: ClassVar[str] = "one_question"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Open without any question."""
        count = reply.count("?")
        return Verdict.OPEN if not count else Verdict.KEPT if count == 1 else Verdict.BROKEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply with more questions behind it."""
        return [f"{turn.good} And what is your name? And your date of birth? And your address?"]


@dataclass(frozen=True)
class Says:
    """A line that is said word for word in every reply."""

    line: str
    everywhere: bool = True
    kind: ClassVar[str] = "says"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Kept if one sentence, or the reply, is the line."""
        said = like(reply, self.line) or " ".join(words(self.line)) in " ".join(words(reply))
        return Verdict.KEPT if said else Verdict.BROKEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply less the line."""
        rest = " ".join(s for s in sentences(turn.good) if not like(s, self.line))
        return [*([rest] if rest else []), "I see."]
