"""A rule in words -> its check, where one of the templates fits; None where it takes a reader to tell.

The patterns are strict on purpose: a rule that gets no check is reported, a rule that gets a wrong one spoils data.

>>> recognise("Keep every reply under 40 words.")
Longest(most=39, unit='words', everywhere=True)
>>> recognise("Ask for the order number before processing a refund.")
AsksBefore(thing='the order number', action='processing a refund', everywhere=False)
>>> recognise("Act in the customer's best interest.") is None
True
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, cast

from halign.builders.guardrails.check_conduct import (
    Apologises,
    Asks,
    AsksBefore,
    Confirms,
    Greets,
    OffersMore,
    Thanks,
)
from halign.builders.guardrails.check_flow import After, Line, Steps
from halign.builders.guardrails.check_wording import (
    Longest,
    Mark,
    Marks,
    NeverOffers,
    NeverSays,
    OneQuestion,
    Says,
)
from halign.builders.guardrails.contract import Check
from halign.builders.guardrails.lexicon import content
from halign.errors import HalignError
from halign.readers.fields import hint

CHECKS: dict[str, type] = {
    c.kind: c
    for c in (
        *(Steps, After, Line, Greets, OffersMore, Apologises, Thanks, Asks, AsksBefore, Confirms),
        *(NeverSays, NeverOffers, Marks, Longest, OneQuestion, Says),
    )
}
"""The templates by kind."""

_QUOTED = re.compile(r"[\"“]([^\"“”]+)[\"”]|(?<!\w)['‘]([^'‘’]+)['’](?!\w)")
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "a single": 1}
_NEVER = r"\b(?:never|do not|don't|don’t|must not|mustn't|should not|shouldn't|may not|cannot|avoid|refrain from)\b(?: ever)?"
_WHO = r"(?:the |your )?(?:customer|user|caller|client)s?"
_OFFERING = {
    "offer": "offer(?:ing)?",
    "promise": "promis(?:e|ing)",
    "recommend": "recommend(?:ing)?|suggest(?:ing)?",
    "mention": "mention(?:ing)?|discuss(?:ing)?|bring(?:ing)? up|talk(?:ing)? about|refer(?:ring)? to",
    "reveal": "reveal(?:ing)?|disclos(?:e|ing)|share|sharing",
}
_LEADS = re.compile(
    r"^(?:[\w &/-]{1,40}: |always |please |first,? |then,? |also,? |you (?:must|should|need to|will need to) )+",
    re.I,
)


def recognise(text: str) -> Check | None:
    """The check of a rule, or None."""
    bare = text.strip()
    return next((check for find in _FINDERS if (check := find(bare)) is not None), None)


def of_settings(settings: Mapping[str, Any], where: str) -> Check:
    """The check that a policy in YAML spells out: ``{kind: longest, most: 40}``.

    Raises:
        HalignError: no such kind, or settings that it does not take.
    """
    kind, given = settings.get("kind"), {k: v for k, v in settings.items() if k != "kind"}
    if kind not in CHECKS:
        raise HalignError(
            f"{where}: check.kind {kind!r} is unknown{hint(str(kind), CHECKS)}; there is {', '.join(CHECKS)}"
        )
    known = [f.name for f in fields(CHECKS[kind])]
    for name in given:
        if name not in known:
            raise HalignError(
                f"{where}: check.{name} is unknown{hint(name, known)}; {kind} takes {', '.join(known)}"
            )
    try:
        return cast(
            Check, CHECKS[kind](**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
        )
    except TypeError as error:
        raise HalignError(f"{where}: check {kind}: {error}") from None


def _quoted(text: str) -> list[str]:
    return [a or b for a, b in _QUOTED.findall(text)]


def _steps(text: str) -> Check | None:
    if not re.search(r"\bsteps in (this |the following )?order\b", text, re.I):
        return None
    steps = re.findall(r'"([^"]+)"', text)
    return Steps(tuple(steps)) if len(steps) > 1 else None


def _after(text: str) -> Check | None:
    found = re.search(r'\bafter "([^"]+)":? (?:say )?"([^"]+)"', text, re.I)
    return After(found[1], found[2]) if found else None


def _line(text: str) -> Check | None:
    """When X: "..." Only refusals: of other lines the occasion (a query's result, say) cannot be seen in the conversation."""
    found = re.search(
        r'\b(?:anything else|out of scope|off[- ]topic|other (?:topics|requests))\b[^"]*"([^"]+)"', text, re.I
    )
    return Line(found[1], refuses=True) if found else None


def _length(text: str) -> Check | None:
    found = re.search(
        r"\b(at most|no more than|not more than|up to|a maximum of|max(?:imum)?|within|exceed|"
        r"(?<!\bno )(?<!\bnot )(?:under|fewer than|less than|below)) "
        r"(\d+|one|two|three|four|five|a single) (word|sentence|character)s?\b",
        text,
        re.I,
    ) or re.search(r"\b(in|with) (one|a single) (sentence)\b", text, re.I)
    if not found:
        return None
    number = int(found[2]) if found[2].isdigit() else _NUMBERS[found[2].lower()]
    less = found[1].lower() in ("under", "fewer than", "less than", "below")
    return Longest(number - less, cast(Any, f"{found[3].lower()}s"))


def _one_question(text: str) -> Check | None:
    return OneQuestion() if re.search(r"\b(one|a single) question (at a time|per)\b", text, re.I) else None


_USING = r"\s+(?:use|using|say|saying|write|writing) (?:the |any of the |these )?(?:words?|phrases?|terms?)?"
_MARKING = r"\s+(?:use|using|write|put|include|including|add) (?:any )?(emoji|exclamation|link|url)"
_CONDITION = r"\b(if|when|whenever|where|while|once|unless)\b"
_CLAUSE = r"\b(unless|if|when|until|that|which|or|without)\b"


def _never(text: str) -> Check | None:
    """Forbidden words, marks, and things that are not to be offered: at every turn, so nothing on a condition."""
    found = re.search(_NEVER, text, re.I)
    if not found or re.search(_CONDITION, text[: found.start()], re.I):
        return None
    rest = text[found.end() :]
    if re.match(_USING, rest, re.I) and (phrases := _quoted(rest)):
        return NeverSays(tuple(phrases))
    if mark := re.match(_MARKING, rest, re.I):
        return Marks(_mark(mark[1]), wanted=False)
    for verb, forms in _OFFERING.items():
        shape = rf"\s+(?:{forms})\s+(?:to )?(?:{_WHO} )?([^.;:,()]+?)(?: (?:to|with) {_WHO})?\s*[.!]?$"
        thing = re.match(shape, rest, re.I)
        if thing and 1 <= len(content(thing[1])) <= 4 and not re.search(_CLAUSE, thing[1]):
            return NeverOffers(re.sub(r"^(any|a|an) ", "", thing[1].strip()), verb)
    return None


def _mark(word: str) -> Mark:
    return cast(Mark, {"url": "link"}.get(word.lower(), word.lower()))


_GREET = rf"\b(greet(?:ing)?s? {_WHO}|with a (?:friendly |warm |polite )?greeting|welcome {_WHO}|say hello)\b"
_CLOSE = r"\b(end|wrap up|finish|close|conclude)\b.*\bask(ing)?\b.*\b(else|other|further|more)\b"
_ELSE = rf"\bask(ing)? (?:if |whether )?{_WHO} (?:if they |whether they )?needs? (any|some)\w* (else|other|further|more)\b"


def _conduct(text: str) -> Check | None:
    """Greeting, thanking, apologising, offering more help. A rule of many parts gets the check of none."""
    if re.search(_NEVER, text, re.I) or len(text.split()) > 30:
        return None
    if re.search(_GREET, text, re.I):
        return Greets()
    if re.search(_CLOSE, text, re.I) or re.search(_ELSE, text, re.I):
        return OffersMore()
    if re.search(r"\bapologi[sz]e\b", text, re.I):
        return Apologises()
    return Thanks() if re.search(rf"\bthank {_WHO}\b", text, re.I) else None


def _confirms(text: str) -> Check | None:
    asks = rf"\b(confirm\w*|verify)\b.*\b(with {_WHO}|details)\b.*\bbefore\b|\bexplicit\b.*\bconfirmation\b"
    early = rf"\bbefore\b.*\bconfirm\b|\bconfirm\b.*\bdetails\b|\bask {_WHO} to confirm\b"
    return (
        Confirms() if re.search(f"{asks}|{early}", text, re.I) and not re.search(_NEVER, text, re.I) else None
    )


_OWN = rf"(?:their|his|her|its|{_WHO}['’]s?)"
_ASKING = (
    rf"(?:(?:get|collect|obtain|request)(?: {_WHO})?(?: for| about)?"
    rf"|ask(?: {_WHO}(?!['’])(?: for| about)?| for| about|(?= {_OWN} )))"  # "Ask the manager" asks for nothing
)
_LATE = rf"before ([^,]+), (?:you (?:must|should|need to) |always |first |please )*{_ASKING} ([^.;,]+)[.]?$"
_EARLY = rf"{_ASKING} ([^.;,]+?),? before (?:you )?([^.;,]+)[.]?$"
_PLAIN = rf"{_ASKING} ([^.;,:?]+?)(?: from {_WHO})?(?: for| so that| in order to| if| to)?[.:?]?$"
_LISTED = r".*\b(?:get answers for|ask for|collect|cover) the following: ([^.;,:?(]+?)(?: ?\(.*\))?[.]?$"


_ENTERING = re.compile(r",? and (?:then )?(?:enter|submit|put|type|select|click|record|note)\b.*$", re.I)


def _asks(text: str) -> Check | None:
    """Ask for X, Ask for X before Y."""
    if re.search(_NEVER, text, re.I) or "_" in text:
        return None
    if (listed := re.match(_LISTED, text, re.I)) and _is_thing(listed[1]):
        return Asks(listed[1].strip())
    bare = _LEADS.sub("", re.sub(r"\[[^\]]*\]", "", text).strip()).strip()
    late, early = re.match(_LATE, bare, re.I), re.match(_EARLY, bare, re.I)
    found = (late[2], late[1]) if late else (early[1], early[2]) if early else None
    if found and _is_thing(found[0]) and content(found[1]):
        return AsksBefore(found[0].strip(), found[1].strip())
    plain = None if " before " in bare else re.match(_PLAIN, _ENTERING.sub("", bare), re.I)
    if plain and _is_thing(plain[1]):
        return Asks(plain[1].strip())
    return None


def _is_thing(text: str) -> bool:
    """True for what a customer can be asked for: short, and no clause."""
    clause = re.search(
        r"\b(if|whether|that|how|what|why|when|whom?|where|to|them|permission|help|started|back)\b",
        text,
        re.I,
    )
    return 1 <= len(content(text)) <= 5 and not clause


_EVERY = r"\b(every|each|all) (reply|replies|message|response|answer)s?\b"
_WITH = r"\b(?:include|contain|have|with|give)\b.*\b(link|url|number|question|exclamation|emoji)\b"


def _contains(text: str) -> Check | None:
    """What has to stand in every reply."""
    if not re.search(_EVERY, text, re.I) or re.search(_NEVER, text, re.I):
        return None
    if (quoted := _quoted(text)) and re.search(
        r"\b(say|end|begin|start|close|sign|include|with)\b", text, re.I
    ):
        return Says(quoted[0])
    wanted = re.search(_WITH, text, re.I)
    return Marks(_mark(wanted[1])) if wanted else None


_FINDERS: tuple[Callable[[str], Check | None], ...] = (
    *(_steps, _after, _line, _length, _one_question, _never),
    *(_contains, _conduct, _asks, _confirms),
)
