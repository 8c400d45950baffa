"""What a judge is, what it says of one reply or of two, and how its verdicts are read in both orders.

A judge of one's own needs two attributes and one method:

>>> class Longer:
...     dimensions, sees_order = ("length",), False
...     def compare(self, prompts, a, b):
...         return [{"length": Verdict.A if len(x) > len(y) else Verdict.B} for x, y in zip(a, b)]
>>> [o["length"].advantage for o in both_orders(Longer(), [Dialogue.of("2+2=")], ["four"], ["4"])]
[1.0]
>>> can_compare(Longer()), can_grade(Longer())
(True, False)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from halign.dialogue import Dialogue
from halign.errors import HalignError

Trouble = Literal["unparsable", "abstained", "failed"]
"""Why there is no verdict: the answer could not be read; the judge declined to say; no answer came."""

Prompts = Sequence[Dialogue]
Replies = Sequence[str]


class Verdict(StrEnum):
    """What a judge says of two replies, A and B, on one dimension (seed 000's four bins)."""

    BOTH = "both acceptable"
    NEITHER = "neither acceptable"
    A = "A better"
    B = "B better"

    @property
    def swapped(self) -> Verdict:
        """The same verdict when the two replies change places.

        >>> Verdict.A.swapped.value, Verdict.BOTH.swapped.value
        ('B better', 'both acceptable')
        """
        return {Verdict.A: Verdict.B, Verdict.B: Verdict.A}.get(self, self)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a judge says of two replies in the order in which it saw them.

    Attributes:
        verdict: None where ``trouble`` is said.
        guardrail: the rule that was asked about; None: all of the dimension.
        why: what the judge wrote.
    """

    dimension: str
    verdict: Verdict | None
    guardrail: str | None = None
    why: str = ""
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What a judge says of one reply; fields as in ``records.GradeRecord``."""

    dimension: str
    value: float | None
    scale: tuple[float, float] = (0.0, 1.0)
    acceptable: bool | None = None
    guardrail: str | None = None
    why: str = ""
    trouble: Trouble | None = None


class Judge(Protocol):
    """Says which of two replies is better, what one is worth, or both.

    The least that a judge has is ``compare``. One that has more to say than a verdict for every pair (a reason, a verdict per
    guardrail, that it cannot tell) has ``rulings``; one that grades replies alone has ``marks`` (or ``grade``, as the rules
    have). ``can_compare`` and ``can_grade`` say what a judge can do; ``rulings_of`` and ``marks_of`` ask it.

    - ``rulings(prompts, a, b, others=None) -> list[list[Ruling]]``: ``a[i]`` answers ``prompts[i]`` and is shown first; ``b[i]``
      answers ``others[i]`` (None: the same prompt), which differs where a conversation holds each model's own earlier turns. An
      empty list means that nobody was asked.
    - ``marks(prompts, replies) -> list[list[Mark]]``.

    Attributes:
        dimensions: what it judges, such as ("adherence", "naturalness", "hallucination").
        sees_order: False if swapping the replies cannot change the verdict (exact rules, single-answer
            grades). Such a judge is asked once.
        name: what records call it; its class's name where it has none.
    """

    dimensions: tuple[str, ...]
    sees_order: bool

    def compare(
        self, prompts: Sequence[Dialogue], a: Sequence[str], b: Sequence[str]
    ) -> list[dict[str, Verdict]]:
        """One verdict per prompt and dimension; a dimension without a verdict is left out."""
        ...


class PlainVerdicts:
    """Gives ``compare`` to a judge that has ``rulings``."""

    def rulings(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[list[Ruling]]:
        raise NotImplementedError

    def compare(self, prompts: Prompts, a: Replies, b: Replies) -> list[dict[str, Verdict]]:
        """The verdicts on whole dimensions; where there is none, the dimension is left out."""
        return [verdicts(found) for found in self.rulings(prompts, a, b)]


def verdicts(rulings: Iterable[Ruling]) -> dict[str, Verdict]:
    """Dimension -> verdict, of rulings on whole dimensions."""
    return {r.dimension: r.verdict for r in rulings if r.guardrail is None and r.verdict is not None}


def can_compare(judge: Any) -> bool:
    """Whether a judge says which of two replies is better."""
    return hasattr(judge, "rulings") or hasattr(judge, "compare")


def can_grade(judge: Any) -> bool:
    """Whether a judge says what one reply is worth."""
    return hasattr(judge, "marks") or hasattr(judge, "grade")


def name_of(judge: Any) -> str:
    """What records call a judge."""
    return str(getattr(judge, "name", type(judge).__name__))


def rulings_of(
    judge: Any, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
) -> list[list[Ruling]]:
    """What a judge says of pairs, each shown in the order given.

    Raises:
        HalignError: if it cannot compare, or cannot take prompts of their own for the second replies.
    """
    if others is not None and all(p is q for p, q in zip(prompts, others, strict=True)):
        others = None
    if hasattr(judge, "rulings"):
        found = judge.rulings(prompts, a, b, others) if others is not None else judge.rulings(prompts, a, b)
    elif not hasattr(judge, "compare"):
        raise HalignError(f"judge {name_of(judge)} grades single replies and does not compare: grade with it")
    elif others is not None:
        raise HalignError(
            f"judge {name_of(judge)} compares replies to one prompt; conversations in which each model has its own earlier turns "
            "need a judge with rulings(prompts, a, b, others)"
        )
    else:
        found = [_plain(judge, one) for one in judge.compare(prompts, a, b)]
    return _counted(judge, found, len(prompts))


def _plain(judge: Any, said: Mapping[str, Verdict]) -> list[Ruling]:
    """Of a judge that only has ``compare``: a dimension of its that it leaves out is an abstention."""
    names = dict.fromkeys((*getattr(judge, "dimensions", ()), *said))
    return [Ruling(d, said.get(d), trouble=None if d in said else "abstained") for d in names]


def marks_of(judge: Any, prompts: Prompts, replies: Replies) -> list[list[Mark]]:
    """What a judge says of replies, each alone.

    Raises:
        HalignError: if it does not grade.
    """
    if hasattr(judge, "marks"):
        return _counted(judge, judge.marks(prompts, replies), len(prompts))
    if not hasattr(judge, "grade"):
        raise HalignError(f"judge {name_of(judge)} compares replies and does not grade them: compare with it")
    return _counted(judge, [g.marks for g in judge.grade(prompts, replies)], len(prompts))


def _counted(judge: Any, found: list[Any], count: int) -> list[Any]:
    if len(found) != count:
        raise HalignError(f"judge {name_of(judge)} gave {len(found)} answers to {count} questions")
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """One comparison in both orders. ``second`` is already turned back, so that A is the same reply in
    both.
    """

    first: Verdict
    second: Verdict

    @property
    def agrees(self) -> bool:
        return self.first is self.second

    def share(self, verdict: Verdict) -> float:
        """How much of this comparison goes to ``verdict``: 1, 0, or a half where the orders disagree."""
        return ((self.first is verdict) + (self.second is verdict)) / 2

    @property
    def advantage(self) -> float:
        """P(A better) - P(B better) of this comparison, in [-1, 1]; orders that disagree count half each way.

        >>> Outcome(Verdict.A, Verdict.A).advantage, Outcome(Verdict.A, Verdict.B).advantage
        (1.0, 0.0)
        >>> Outcome(Verdict.A, Verdict.BOTH).advantage
        0.5
        """
        return self.share(Verdict.A) - self.share(Verdict.B)


Key = tuple[str, str | None]
"""A dimension, and the guardrail or None."""


def both_rulings(
    judge: Any, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
) -> list[dict[Key, tuple[Ruling, Ruling]]]:
    """What a judge says with A shown first and with B shown first, in one call; the latter is turned back. A judge that
    cannot see the order is asked once, and both are the same. An order of which it says nothing counts as failed.
    """
    second = prompts if others is None else others
    if not len(prompts) == len(a) == len(b) == len(second):
        raise ValueError(f"{len(prompts)} prompts, {len(a)} and {len(b)} replies")
    if not getattr(judge, "sees_order", True):
        return [_paired(one, one) for one in rulings_of(judge, prompts, a, b, others)]
    twice = None if others is None else [*second, *prompts]
    found = rulings_of(judge, [*prompts, *second], [*a, *b], [*b, *a], twice)
    count = len(prompts)
    return [_paired(f, map(_turned, s)) for f, s in zip(found[:count], found[count:], strict=True)]


def _turned(ruling: Ruling) -> Ruling:
    verdict = None if ruling.verdict is None else ruling.verdict.swapped
    return Ruling(ruling.dimension, verdict, ruling.guardrail, ruling.why, ruling.trouble)


def _paired(first: Iterable[Ruling], second: Iterable[Ruling]) -> dict[Key, tuple[Ruling, Ruling]]:
    one = {(r.dimension, r.guardrail): r for r in first}
    other = {(r.dimension, r.guardrail): r for r in second}
    return {k: (one.get(k) or _missing(k), other.get(k) or _missing(k)) for k in one | other}


def _missing(key: Key) -> Ruling:
    return Ruling(key[0], None, key[1], trouble="failed")


def both_orders(
    judge: Judge, prompts: Sequence[Dialogue], a: Sequence[str], b: Sequence[str]
) -> list[dict[str, Outcome]]:
    """Ask the judge with A first and with B first; a judge that cannot see the order is asked once. Dimensions that lack a
    verdict in either order are left out (``records`` keeps them, with what was the trouble).
    """
    found = []
    for one in both_rulings(judge, prompts, a, b):
        outcomes: Mapping[str, tuple[Ruling, Ruling]] = {d: pair for (d, g), pair in one.items() if g is None}
        found.append(
            {d: Outcome(x.verdict, y.verdict) for d, (x, y) in outcomes.items() if x.verdict and y.verdict}
        )
    return found
