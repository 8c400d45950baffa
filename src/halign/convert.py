"""Examples of one kind -> examples of another, with a record of what was dropped.

>>> from halign.readers import read
>>> ranked = read([{"prompt": "Q", "responses": [
...     {"content": "good", "rank": 1}, {"content": "poor", "rank": 2}, {"content": "bad", "rank": 3}]}])
>>> pairs, dropped = to_pairs(ranked, how="all")
>>> [(p.chosen.content, p.rejected.content) for p in pairs]
[('good', 'poor'), ('good', 'bad'), ('poor', 'bad')]
>>> len(to_pairs(ranked, how="best_rest").examples), len(to_pairs(ranked, how="adjacent").examples)
(2, 2)

What an example offers for choice is in ``choices``: replies to one prompt in levels. Pairs take

- ``best_rest``: each of the best with each that is worse;
- ``all``: each with each that is worse;
- ``adjacent``: each with each of the next level down.

An example's weight goes to everything made of it. What is dropped is counted by reason, never silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from halign.choices import Candidate, Choice, choices, count_unranked, grouped, refuse_demonstration
from halign.dialogue import Message
from halign.errors import HalignError
from halign.examples import Conversation, Demonstration, Example, Preference, Ranking, Rating
from halign.items import Kind

HOWS = ("best_rest", "all", "adjacent")
KINDS: tuple[Kind, ...] = ("pairs", "lists", "singles", "tokens")

T = TypeVar("T", covariant=True)


class Converted(NamedTuple, Generic[T]):
    """What a conversion made, and how many it dropped, by reason."""

    examples: Sequence[T]
    dropped: dict[str, int]


def to_pairs(
    examples: Iterable[Example], how: str = "best_rest", *, soft: bool = True
) -> Converted[Preference]:
    """Preference pairs of conversations, rankings, and ratings of one prompt. Preferences stay as they are, or, unless ``soft``,
    are made certain: below one half turned round, at one half dropped.

    Raises:
        HalignError: for an unknown ``how``, or for demonstrations, which compare nothing.
    """
    if how not in HOWS:
        raise HalignError(f"no such way to make pairs: {how!r}; {', '.join(HOWS)}")
    dropped: Counter[str] = Counter()
    made: list[Preference] = []
    for e in grouped(examples, "to_pairs"):
        if isinstance(e, Preference):
            made.extend([e] if soft or e.preference == 1.0 else _certain(e, dropped))
            continue
        for choice in choices(e, dropped):
            made.extend(_pairs(choice, how, dropped))
    return Converted(made, dict(dropped))


def to_rankings(examples: Iterable[Example]) -> Converted[Ranking]:
    """Rankings of conversations (one per agent turn with alternatives), pairs, and ratings of one prompt."""
    dropped: Counter[str] = Counter()
    made: list[Ranking] = []
    for e in grouped(examples, "to_rankings"):
        if isinstance(e, Ranking):
            count_unranked(e, dropped)
            made.append(replace(e, unranked=()))
            continue
        made.extend(_ranking(choice) for choice in choices(e, dropped))
    return Converted(made, dict(dropped))


def to_singles(examples: Iterable[Example], threshold: float | None = None) -> Converted[Rating]:
    """Rated replies. Of scored replies, those of at least ``threshold`` are good; without it, the best are
    good and the rest are bad. A reply that ties with everything else is neither, and dropped.

    Raises:
        HalignError: for demonstrations, or for a threshold where there are no scores.
    """
    dropped: Counter[str] = Counter()
    made: list[Rating] = []
    for e in examples:
        if isinstance(e, Rating):
            made.append(e if threshold is None else _rethreshold(e, threshold))
            continue
        for choice in choices(refuse_demonstration(e, "to_singles"), dropped, ties=threshold is not None):
            made.extend(_singles(choice, threshold))
    return Converted(made, dict(dropped))


def to_demonstrations(examples: Iterable[Example]) -> Converted[Demonstration]:
    """Dialogues to imitate: whole conversations; the prompt and its best reply (the first of those that tie)
    of a preference or a ranking; replies rated good. Below one half, a preference is for the other."""
    dropped: Counter[str] = Counter()
    made: list[Demonstration] = []
    for e in examples:
        if isinstance(e, Demonstration):
            made.append(e)
        elif isinstance(e, Conversation):
            dropped["alternatives, not imitated"] += sum(map(len, e.alternatives.values()))
            made.append(Demonstration(e.dialogue, e.conversation, None, e.weight))
        elif isinstance(e, Rating) and not e.desirable:
            dropped["replies rated bad, not imitated"] += 1
        else:
            best, others = _best(e)
            dropped["replies that are not the best, not imitated"] += others
            made.append(Demonstration(e.prompt + best, e.conversation, (len(e.prompt),), e.weight))
    return Converted(made, {k: n for k, n in dropped.items() if n})


def as_kind(
    examples: Sequence[Example],
    kind: Kind,
    how: str | None = None,
    threshold: float | None = None,
    *,
    soft: bool = True,
) -> Converted[Example]:
    """The examples as what an objective takes: "pairs", "lists", "singles" or "tokens".

    Conversations, preferences and what is of the kind already need no choice. Rankings as pairs or singles
    do, and so do ratings as pairs: name it with ``how`` (pairs of HOWS; for singles "best_rest") or, for
    singles, ``threshold``. Unless ``soft``, preferences between 0 and 1 are made certain.

    Raises:
        HalignError: if a choice has to be named, has no effect, or if no conversion leads there; it names
        the way out.
    """
    if kind not in KINDS:
        raise HalignError(f"no such kind: {kind!r}; {', '.join(KINDS)}")
    if how is not None and how not in HOWS:
        raise HalignError(f"no such way to make pairs: {how!r}; {', '.join(HOWS)}")
    if kind in ("lists", "tokens") and (how is not None or threshold is not None):
        raise HalignError(f"pairs={how or threshold!r} has no effect on {kind}; leave it out")
    _check_choice({type(e) for e in examples}, kind, how, threshold)
    makers: dict[str, Callable[[], Converted[Example]]] = {
        "pairs": lambda: to_pairs(examples, how or "best_rest", soft=soft),
        "lists": lambda: to_rankings(examples),
        "singles": lambda: to_singles(examples, threshold),
        "tokens": lambda: to_demonstrations(examples),
    }
    made = makers[kind]()
    if examples and not made.examples:
        why = "; ".join(f"{n} {reason}" for reason, n in made.dropped.items()) or "no turn has alternatives"
        raise HalignError(f"none of the {len(examples)} examples makes {kind}: {why}")
    return made


def _check_choice(types: set[type], kind: Kind, how: str | None, threshold: float | None) -> None:
    """Stop where a conversion needs a choice that nobody made, or where a choice would do nothing."""
    if kind == "pairs":
        if threshold is not None:
            raise HalignError("threshold= has no effect on pairs; leave it out")
        if how is None and (name := _first(types, Ranking, Rating)):
            raise HalignError(
                f"{name} can make pairs in several ways: say pairs=best_rest (each best reply against each"
                f" worse one),"
                " pairs=all or pairs=adjacent, or convert the file with `halign data convert FILE --to"
                " pairs --how ...`"
            )
        if how is not None and types <= {Preference}:
            raise HalignError(f"pairs={how} has no effect: the examples are pairs already; leave it out")
    if kind == "singles":
        if how not in (None, "best_rest"):
            raise HalignError(f"pairs={how} makes no rated replies; say pairs=best_rest, or give a threshold")
        if how is not None and threshold is not None:
            raise HalignError("give either pairs=best_rest or a threshold, not both")
        if how is None and threshold is None and Ranking in types:
            raise HalignError(
                "rankings do not say which replies are good: say pairs=best_rest (the best are good, the"
                " rest bad) or, for"
                " scores, a threshold; or convert the file with `halign data convert FILE --to singles`"
            )
        if how is not None and types <= {Rating, Preference}:
            raise HalignError(
                f"pairs={how} has no effect: the examples say which replies are good; leave it out"
            )


def _first(types: set[type], *wanted: type) -> str:
    """What the first of the wanted types that occurs is called, or ''."""
    names = {Ranking: "rankings", Rating: "ratings of one prompt"}
    return next((names[t] for t in wanted if t in types), "")


def _certain(e: Preference, dropped: Counter[str]) -> Iterator[Preference]:
    """A preference for the likelier side, without saying how sure it is."""
    if e.preference == 0.5:
        dropped["pairs with a preference of one half"] += 1
        return
    if e.preference not in (0.0, 1.0):
        dropped["soft preferences, taken as certain"] += 1
    if e.preference > 0.5:
        yield replace(e, preference=1.0)
    else:
        yield replace(
            e,
            chosen=e.rejected,
            rejected=e.chosen,
            preference=1.0,
            chosen_win_rate=e.rejected_win_rate,
            rejected_win_rate=e.chosen_win_rate,
            violates=None,
        )


def _pairs(choice: Choice, how: str, dropped: Counter[str]) -> Iterator[Preference]:
    """The pairs of one choice. Two replies of the same words are no pair, whatever their ranks."""
    for better in choice.candidates:
        if how == "best_rest" and better.level > 0:
            return
        for worse in choice.candidates:
            gap = worse.level - better.level
            if gap <= 0 or (how == "adjacent" and gap > 1):
                continue
            if better.message.words == worse.message.words:
                dropped["pairs of two replies with the same words"] += 1
                continue
            yield Preference(
                choice.prompt,
                better.message,
                worse.message,
                choice.conversation,
                weight=choice.weight,
                violates=worse.violates,
            )


def _ranking(choice: Choice) -> Ranking:
    """A choice as a ranking; what a reply violates goes to its message's ``extra``."""
    scores = [c.score for c in choice.candidates]
    known = [s for s in scores if s is not None]
    return Ranking(
        choice.prompt,
        tuple(_marked(c) for c in choice.candidates),
        tuple(_numbered([c.level for c in choice.candidates])),
        choice.conversation,
        scores=tuple(known) if len(known) == len(scores) else None,
        weight=choice.weight,
    )


def _numbered(levels: Sequence[int]) -> list[int]:
    """Levels as ranks: one more than the number of better replies.

    >>> _numbered([0, 1, 1, 2])
    [1, 2, 2, 4]
    """
    return [levels.index(n) + 1 for n in levels]


def _marked(c: Candidate) -> Message:
    if c.violates is None or c.message.extra.get("violates") == c.violates:
        return c.message
    return replace(c.message, extra={**c.message.extra, "violates": c.violates})


def _singles(choice: Choice, threshold: float | None) -> Iterator[Rating]:
    for c in choice.candidates:
        if threshold is not None and c.score is None:
            raise HalignError(
                f"threshold={threshold:g} needs scores, and a reply of conversation {choice.conversation!r}"
                f" has none; leave"
                " it out to take the best as good and the rest as bad"
            )
        good = c.level == 0 if threshold is None or c.score is None else c.score >= threshold
        yield Rating(choice.prompt, _marked(c), good, choice.conversation, c.score, choice.weight)


def _rethreshold(e: Rating, threshold: float) -> Rating:
    if e.score is None:
        raise HalignError(
            f"threshold={threshold:g} needs scores, and a rating of {e.conversation!r} has none"
        )
    return replace(e, desirable=e.score >= threshold)


def _best(e: Preference | Ranking | Rating) -> tuple[Message, int]:
    """(the best reply, how many others there are)."""
    if isinstance(e, Preference):
        return (e.chosen if e.preference >= 0.5 else e.rejected), 1
    if isinstance(e, Ranking):
        return e.responses[0], len(e.responses) + len(e.unranked) - 1
    return e.response, 0
