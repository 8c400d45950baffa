"""What examples offer for choice: the replies to one prompt, in levels.

At every agent turn of a Conversation that has alternatives, the prompt is the turns before it and the
message's own content is the best reply. Everything else is a list of candidates in levels: those of one
level tie, and the first level is the best. An example's weight goes to its choices. What is dropped is counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Alternative, Conversation, Demonstration, Example, Preference, Ranking, Rating


@dataclass(frozen=True)
class Candidate:
    """One reply to a prompt, with what is known of it. ``level`` 0 is the best; equal levels tie."""

    message: Message
    level: int
    score: float | None = None
    violates: str | None = None


@dataclass(frozen=True)
class Choice:
    """The replies to one prompt, best first."""

    prompt: Dialogue
    candidates: tuple[Candidate, ...]
    conversation: str
    weight: float


def grouped(examples: Iterable[Example], function: str) -> Iterator[Example | list[Rating]]:
    """The examples in order; ratings of one prompt come as one list, where the first of them stood."""
    groups: dict[tuple[object, ...], list[Rating]] = {}
    for e in examples:
        if not isinstance(e, Rating):
            yield refuse_demonstration(e, function)
            continue
        turns = tuple((m.role, *m.words) for m in e.prompt.messages)
        groups.setdefault((e.prompt.guardrails, turns), []).append(e)
    yield from groups.values()


def refuse_demonstration(e: Example, function: str) -> Example:
    if isinstance(e, Demonstration):
        raise HalignError(
            f"{function}: conversation {e.conversation!r} is a demonstration and compares nothing. Give its"
            f" agent turns"
            " 'alternatives', or train on it with sft (tokens)"
        )
    return e


def choices(e: Example | list[Rating], dropped: Counter[str], ties: bool = False) -> Iterator[Choice]:
    """The choices that an example holds. One whose candidates all tie says nothing, unless ``ties``."""
    for choice in _all_choices(e, dropped):
        if len(choice.candidates) < 2:
            dropped["prompts with one rated reply: nothing to compare it with"] += 1
        elif choice.candidates[-1].level == 0 and not ties:
            dropped["choices that tie in all replies"] += 1
        else:
            yield choice


def _all_choices(e: Example | list[Rating], dropped: Counter[str]) -> Iterator[Choice]:
    if isinstance(e, Conversation):
        for turn in sorted(e.alternatives):
            if e.alternatives[turn]:
                yield _turn_choice(e, turn)
    elif isinstance(e, Ranking):
        count_unranked(e, dropped)
        scores: Sequence[float | None] = e.scores or [None] * len(e.responses)
        rows = zip(e.responses, _levels(e.ranks), scores, strict=True)
        found = tuple(Candidate(m, level, s, m.extra.get("violates")) for m, level, s in rows)
        yield Choice(e.prompt, found, e.conversation, e.weight)
    elif isinstance(e, Preference):
        if e.preference == 0.5:
            dropped["pairs with a preference of one half"] += 1
            return
        best, worst = (e.chosen, e.rejected) if e.preference > 0.5 else (e.rejected, e.chosen)
        pair = (Candidate(best, 0), Candidate(worst, 1, violates=e.violates if worst is e.rejected else None))
        if e.preference not in (0.0, 1.0):
            dropped["soft preferences, taken as certain"] += 1
        yield Choice(e.prompt, pair, e.conversation, e.weight)
    elif isinstance(e, list):
        yield _rated_choice(e, dropped)


def count_unranked(e: Ranking, dropped: Counter[str]) -> None:
    if e.unranked:
        dropped["replies that were not ranked"] += len(e.unranked)


def _turn_choice(e: Conversation, turn: int) -> Choice:
    """The choice at one agent turn: its own content, then the alternatives, best first."""
    own = e.dialogue.messages[turn]
    score = own.extra.get("score")
    alternatives = sorted(e.alternatives[turn], key=_badness)
    values = [_badness(a) for a in alternatives]
    best = (
        [0.0]
        if alternatives[0].score is None
        else [min(values[0], -score) if score is not None else -float("inf")]
    )
    levels = _levels([*best, *values])[1:]
    rest = [Candidate(a.message, n, a.score, a.violates) for a, n in zip(alternatives, levels, strict=True)]
    bare = (
        replace(own, extra={k: v for k, v in own.extra.items() if k != "score"}) if score is not None else own
    )
    return Choice(e.dialogue[:turn], (Candidate(bare, 0, score), *rest), e.conversation, e.weight)


def _badness(a: Alternative) -> float:
    """A number that grows as the reply gets worse; 0 ties with the message's own content, but for scores."""
    if a.rank is not None:
        return a.rank - 1.0
    if a.label is not None:
        return 0.0 if a.label else 1.0
    return -(a.score or 0.0)


def _levels(values: Sequence[float]) -> list[int]:
    """Non-decreasing values as levels 0, 1, 2 ...

    >>> _levels([1, 2, 2, 4])
    [0, 1, 1, 2]
    """
    levels = [0]
    for a, b in pairwise(values):
        levels.append(levels[-1] + (b != a))
    return levels


def _rated_choice(ratings: list[Rating], dropped: Counter[str]) -> Choice:
    """Ratings of one prompt as one choice: by score if all have one, else by label. Repeats count once."""
    first = ratings[0]
    distinct = list({r.response.words: r for r in reversed(ratings)}.values())[::-1]
    dropped["replies rated more than once"] += len(ratings) - len(distinct)
    if not dropped["replies rated more than once"]:
        del dropped["replies rated more than once"]
    scored = all(r.score is not None for r in distinct)
    worth = {id(r): -(r.score or 0.0) if scored else float(not r.desirable) for r in distinct}
    ordered = sorted(distinct, key=lambda r: worth[id(r)])
    levels = _levels([worth[id(r)] for r in ordered])
    found = [
        Candidate(r.response, n, r.score if scored else None, r.response.extra.get("violates"))
        for r, n in zip(ordered, levels, strict=True)
    ]
    return Choice(first.prompt, tuple(found), first.conversation, first.weight)
