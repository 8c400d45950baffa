"""Checks of conduct: greeting, apologising, thanking, offering more help, asking for details, asking before acting."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import ClassVar

from halign.builders.guardrails import lexicon
from halign.builders.guardrails.contract import Turn, Verdict
from halign.builders.guardrails.lexicon import asks_for, sentences, speaks_of, yours

BLUNT = ("What do you want?", "State your request.", "Yes?")
CURT = ("Goodbye.", "That is all. Bye.")
ACTED = (
    "All done, I have completed that for you.",
    "I went ahead and it has been processed already.",
    "I've taken care of everything, it is all set.",
)


def _without(text: str, pattern: re.Pattern[str]) -> str:
    """The text less the sentences in which the pattern stands."""
    return " ".join(s for s in sentences(text) if not pattern.search(s))


@dataclass(frozen=True)
class Greets:
    """The first reply greets."""

    everywhere: bool = False
    kind: ClassVar[str] = "greets"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Open after the first reply."""
        if turn.agent:
            return Verdict.OPEN
        return Verdict.KEPT if lexicon.GREETING.search(reply) else Verdict.BROKEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply without its greeting, if anything is left, and blunt openings."""
        bare = _without(turn.good, lexicon.GREETING)
        return [*([bare] if bare else []), *draws.sample(BLUNT, len(BLUNT))]


@dataclass(frozen=True)
class OffersMore:
    """Before the conversation ends, the agent asks whether there is anything else."""

    everywhere: bool = False
    kind: ClassVar[str] = "offers_more"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Broken by a farewell before it was asked."""
        if lexicon.MORE.search(reply) and "?" in reply:
            return Verdict.KEPT
        asked = any(lexicon.MORE.search(a) for a in turn.agent)
        return Verdict.BROKEN if lexicon.FAREWELL.search(reply) and not asked else Verdict.OPEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply with a farewell in place of the question, and curt farewells."""
        rest = _without(turn.good, lexicon.MORE)
        return [*([f"{rest} Goodbye."] if rest else []), *draws.sample(CURT, len(CURT))]


@dataclass(frozen=True)
class Apologises:
    """Bad news comes with an apology."""

    everywhere: bool = False
    kind: ClassVar[str] = "apologises"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Open unless the reply that stood there brings bad news."""
        if not lexicon.BAD_NEWS.search(turn.good):
            return Verdict.OPEN
        return Verdict.KEPT if lexicon.APOLOGY.search(reply) else Verdict.BROKEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The same news without the apology, and blunt ones."""
        news = re.sub(
            r"\b(I('m| am) (so |very |really )?sorry|sorry|my apologies|(I|we) apologi[sz]e)\b( (about|for) that)?[ ,.;]*(but )?",
            "",
            turn.good,
            flags=re.I,
        ).strip()
        return [
            news[:1].upper() + news[1:],
            "No, that is not possible.",
            "That cannot be done. You should have known.",
        ]


@dataclass(frozen=True)
class Thanks:
    """The agent thanks the customer for what was given."""

    everywhere: bool = False
    kind: ClassVar[str] = "thanks"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Open unless the reply that stood there thanks."""
        if not lexicon.THANKS.search(turn.good):
            return Verdict.OPEN
        return Verdict.KEPT if lexicon.THANKS.search(reply) else Verdict.BROKEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """The reply without its thanks, and a curt one."""
        bare = _without(turn.good, lexicon.THANKS)
        return [*([bare] if bare else []), "Noted."]


@dataclass(frozen=True)
class Asks:
    """The agent asks for a detail."""

    thing: str
    everywhere: bool = False
    kind: ClassVar[str] = "asks"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Broken by a reply that says it will do without; silence breaks nothing, since the detail may be asked for later."""
        if asks_for(reply, self.thing):
            return Verdict.KEPT
        refused = any(lexicon.NO_NEED.search(s) and speaks_of(s, self.thing) for s in sentences(reply))
        return Verdict.BROKEN if refused else Verdict.OPEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """Replies that go on without it."""
        thing = yours(self.thing)
        lines = [
            f"I do not need {thing}, we can go on without it.",
            f"We can skip {thing}. I have started already.",
            f"There is no need for {thing}, I have gone ahead.",
        ]
        return draws.sample(lines, len(lines))


@dataclass(frozen=True)
class AsksBefore:
    """The agent asks for a detail before it acts."""

    thing: str
    action: str
    everywhere: bool = False
    kind: ClassVar[str] = "asks_before"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Broken by acting, in words, while the detail was neither asked for nor given."""
        if asks_for(reply, self.thing):
            return Verdict.KEPT
        given = any(speaks_of(m.content, self.thing, 1.0) for m in turn.before if m.role == "user")
        asked = any(asks_for(a, self.thing) for a in turn.agent)
        acts = any(lexicon.DONE.search(s) and speaks_of(s, self.action) for s in sentences(reply))
        return Verdict.BROKEN if acts and not asked and not given else Verdict.OPEN

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """Replies that have acted already."""
        lines = [
            f"That has been done already, as you wished: {self.action}.",
            f"I have gone ahead without asking for {yours(self.thing)}: {self.action}.",
        ]
        return draws.sample(lines, len(lines))


@dataclass(frozen=True)
class Confirms:
    """The agent has the customer confirm before it acts."""

    everywhere: bool = False
    kind: ClassVar[str] = "confirms"
    forbids: ClassVar[bool] = False

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Broken by saying that it is done, before anything was confirmed."""
        if lexicon.CHECKING.search(reply) and "?" in reply:
            return Verdict.KEPT
        before = any(lexicon.CHECKING.search(a) and "?" in a for a in turn.agent)
        return (
            Verdict.BROKEN if lexicon.DONE.search(reply) and "?" not in reply and not before else Verdict.OPEN
        )

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """Replies that say it is done."""
        return draws.sample(ACTED, len(ACTED))
