"""Which replies a report shows, and how it marks what is wrong with them.

Examples are not picked by taste: every comparison falls into one of four classes (mended, spoilt, both
wrong, both right); the page says how large each class is and shows the first few of each, spread over the
prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from halign.dialogue import Dialogue
from halign.evaluate import Reply
from halign.reporting.evidence import Evidence, GuardrailText


@dataclass(frozen=True)
class Shown:
    """One model's reply, ready to be shown."""

    model: str
    text: Markup
    right: bool
    faults: list[str]


@dataclass(frozen=True)
class Example:
    """One prompt and what the models made of it."""

    kind: str
    guardrails: list[tuple[str, bool]]
    """(sentence, not kept by some model shown)."""
    facts: str
    turns: list[tuple[str, str]]
    replies: list[Shown]


@dataclass(frozen=True)
class Group:
    """A class of outcomes: how many prompts fall into it, and some of them."""

    title: str
    count: int
    total: int
    examples: list[Example]


CLASSES = (
    ("mended", False, True, 3),
    ("spoilt", True, False, 2),
    ("wrong both times", False, False, 1),
    ("right both times", True, True, 1),
)


def choose(evidence: Evidence, before: str, after: str, show: Sequence[str]) -> list[Group]:
    """Examples by what happened between two models: wrong then right, right then wrong, and so on."""
    a, b = evidence.model(before), evidence.model(after)
    places = [(kind, i) for kind, prompts in evidence.prompts.items() for i in range(len(prompts))]
    groups = []
    for title, was, now, count in CLASSES:
        found = [
            (k, i)
            for k, i in places
            if (a.replies[k][i].grade.all_right, b.replies[k][i].grade.all_right) == (was, now)
        ]
        step = max(1, len(found) // count) if found else 1
        picked = found[::step][:count]
        groups.append(
            Group(title, len(found), len(places), [example(evidence, k, i, show) for k, i in picked])
        )
    return [g for g in groups if g.examples]


def example(evidence: Evidence, kind: str, index: int, show: Sequence[str]) -> Example:
    """One prompt with the replies of the models named."""
    prompt = evidence.prompts[kind][index]
    replies = [(name, evidence.model(name).replies[kind][index]) for name in show]
    broken = {g for _, r in replies for g, kept in r.grade.active.items() if not kept}
    said = [m for m in prompt.messages if m.role != "system"]
    return Example(
        kind,
        [(s, _is_of(evidence, s, broken)) for s in prompt.guardrails],
        next((m.content for m in prompt.messages if m.role == "system"), ""),
        [(m.role, m.content) for m in said],
        [Shown(name, marked(r), r.grade.all_right, faults(evidence, prompt, r)) for name, r in replies],
    )


def faults(evidence: Evidence, prompt: Dialogue, reply: Reply) -> list[str]:
    """What is wrong with a reply, in words."""
    out = []
    for g in (g for g, kept in reply.grade.active.items() if not kept):
        sentence, reason = sentence_in(prompt, evidence.guardrails.get(g), g), reply.grade.reasons.get(g)
        out.append(f"“{sentence}”: {reason}" if reason else f"breaks “{sentence}”")
    names = {"naturalness": "not natural", "hallucination": "invented"}
    for dimension, fine in reply.grade.acceptable.items():
        if not fine and dimension != "adherence":
            why = reply.grade.reasons.get(dimension, "")
            out.append(f"{names.get(dimension, dimension)}{': ' + why if why else ''}")
    if not reply.grade.acceptable.get("adherence", True) and not out:
        out.append("breaks a guardrail")
    return out


def sentence_in(prompt: Dialogue, guardrail: GuardrailText | None, name: str) -> str:
    """The guardrail in the words that this prompt uses."""
    if guardrail is None:
        return name
    return next((s for s in prompt.guardrails if s in guardrail.wordings), guardrail.sentence)


def marked(reply: Reply) -> Markup:
    """The reply with the pieces that nothing supports marked.

    >>> from halign.judges import Grade
    >>> marked(Reply("1", "It costs $7 & more", Grade({}, spans={"hallucination": ("$7",)})))
    Markup('It costs <mark>$7</mark> &amp; more')
    """
    out, rest = Markup(""), reply.text
    spans = sorted((s for s in reply.grade.spans.get("hallucination", ()) if s), key=len, reverse=True)
    while True:
        found = [(rest.find(s), s) for s in spans if s in rest]
        if not found:
            return out + escape(rest)
        at, span = min(found, key=lambda f: (f[0], -len(f[1])))
        out += escape(rest[:at]) + Markup("<mark>{}</mark>").format(span)
        rest = rest[at + len(span) :]


def _is_of(evidence: Evidence, sentence: str, names: set[str]) -> bool:
    return any(sentence in evidence.guardrails[n].wordings for n in names if n in evidence.guardrails)
