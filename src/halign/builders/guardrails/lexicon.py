"""Words by which checks recognise what an agent says: plain English, rules of thumb, no model.

>>> like("Could I get your name please", "Could I get your name, please?")
True
>>> asks_for("May I have the order ID?", "your order ID"), asks_for("I have the order ID.", "your order ID")
(True, False)
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

GREETING = re.compile(
    r"\b(hello|hi|hey|welcome|greetings|good (morning|afternoon|evening|day)|thank(s| you) for (calling|contacting|reaching))\b",
    re.I,
)
APOLOGY = re.compile(r"\b(sorry|apologi[sz]e[sd]?|apolog(y|ies)|regret)\b", re.I)
THANKS = re.compile(r"\b(thank(s| you)|appreciate)\b", re.I)
FAREWELL = re.compile(r"\b(good ?bye|bye|have a (nice|good|great|lovely|wonderful) \w+|take care)\b", re.I)
MORE = re.compile(
    r"\b(anything|something) else\b|\bfurther (help|assistance|questions)\b|\bany(thing)? (other|more) \w+",
    re.I,
)
BAD_NEWS = re.compile(
    r"\bunfortunately\b|\bcan(not|'t|’t)\b|\bunable\b|\bnot (available|able|possible|successful|accepted|valid)\b|"
    r"\bdeclined\b|\bthere (is|are|were|was) no\b|\bno longer\b|\bcouldn't\b|\bwon't be\b",
    re.I,
)
REFUSAL = re.compile(
    r"\bonly (be )?able to\b|\b(can't|cannot|can not|unable|not able|won't be able)( to)? (help|assist|do|answer|discuss)\b|"
    r"\bdon't (quite )?understand\b|\bout(side)? (of )?(my )?scope\b|\bnot something (that )?i can\b|\bcan only help\b",
    re.I,
)
CHECKING = re.compile(
    r"\b(confirm|correct|is that (right|ok|okay)|shall i|should i|would you like me to|do you want me to|to recap)\b",
    re.I,
)
DONE = re.compile(
    r"\b(i have|i've|i went ahead|all set|all done|is done|has been|have been|is booked|successfully|is complete[d]?)\b",
    re.I,
)
REQUEST = re.compile(
    r"\?|\b(please|could you|can you|may i|can i|would you|i need|i'd need|i will need|i'll need|let me know|tell me|provide)\b",
    re.I,
)
NEGATION = re.compile(
    r"\b(not|no|never|cannot|without|unable|can't|don't|won't|isn't|aren't|doesn't|nor)\b", re.I
)
NO_NEED = re.compile(r"\b(not|no|never|don't|do not|won't|without|skip)\b", re.I)

_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an the of to for in on at by with and or if is are was were be been it its this that their your his her our my you he "
        "she they we i as from into than then so any some all each every customer customers user users client agent please may "
        "can could would should must have has had do does did get give ask what which who when where how will there about",
    )
)
_PLACE = re.compile(r"\{[^{}]*\}")
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Letters of scripts that put no spaces between words: Thai, Lao, Burmese, Japanese, Chinese."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:'[^\W\d_]+)?")


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words of any script, apostrophes within them kept; places such as ``{name:s}`` are left out. Of scripts without
    spaces each letter is a word.

    >>> words("It's the Café, {name:s}: 免费")
    ("it's", 'the', 'café', '免', '费')
    """
    return tuple(_WORD.findall(_PLACE.sub(" ", text.replace("’", "'")).lower()))


@lru_cache(maxsize=65536)
def content(text: str) -> frozenset[str]:
    """The stems of the words that carry meaning.

    >>> sorted(content("the order IDs of your purchases"))
    ['id', 'order', 'purchase']
    """
    return frozenset(_stem(w) for w in words(text) if w not in _STOP)


def _stem(word: str) -> str:
    for ending in ("'s", "ing", "ed", "s"):
        if (
            word.endswith(ending)
            and len(word) - len(ending) >= 2 + (len(ending) > 1)
            and not word.endswith("ss")
        ):
            return word[: -len(ending)]
    return word


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, in order; what joins them is lost.

    >>> sentences("Hello! Is it 5.30?\\nYes")
    ['Hello!', 'Is it 5.30?', 'Yes']
    """
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n+", text) if s.strip()]


def like(reply: str, line: str, least: float = 0.75) -> bool:
    """True if the reply says the line: ``likeness`` of this much, or of 1 for short lines with places to be filled."""
    few = _PLACE.search(line) and len(words(line)) < 8
    return likeness(reply, line) >= (1.0 if few else least) and not (few and len(words(line)) < 2)


@lru_cache(maxsize=65536)
def likeness(reply: str, line: str) -> float:
    """The share of words that both have in common, in [0, 1]; of a line with places, how many of its own words the reply has."""
    a, b = Counter(words(reply)), Counter(words(line))
    if not a or not b:
        return 0.0
    common = sum((a & b).values())
    return (
        common / sum(b.values()) if _PLACE.search(line) else 2 * common / (sum(a.values()) + sum(b.values()))
    )


def speaks_of(text: str, thing: str, least: float = 0.5) -> bool:
    """True if at least this share of the thing's words that carry meaning occur in the text."""
    wanted = content(thing)
    return bool(wanted) and len(wanted & content(text)) >= least * len(wanted)


def asks_for(reply: str, thing: str) -> bool:
    """True if one sentence of the reply asks for the thing."""
    return any(REQUEST.search(s) and not NO_NEED.search(s) and speaks_of(s, thing) for s in sentences(reply))


def yours(thing: str) -> str:
    """A thing as the agent would say it to the customer.

    >>> yours("the customer's full name"), yours("Order ID"), yours("an email address")
    ('your full name', 'your order ID', 'your email address')
    """
    bare = re.sub(
        r"^(for |about )?(the (customer|user|caller)s?('s)? |(the|their|his|her|a|an|your|all|any) )*",
        "",
        thing.strip(),
        flags=re.I,
    )
    bare = bare.rstrip(".:;,!?")
    kept = " ".join(
        w if w.isupper() or any(c.isupper() for c in w[1:]) else w[:1].lower() + w[1:] for w in bare.split()
    )
    return f"your {kept}"
