"""Conversations without any model: the lines that a policy's checks suggest, strung together, and answers by their words."""

from __future__ import annotations

import random
from collections.abc import Sequence

from halign.builders.guardrails.check_conduct import Asks, AsksBefore, Confirms, Greets, OffersMore
from halign.builders.guardrails.check_flow import After, Line, Steps, filled
from halign.builders.guardrails.contract import Guardrail
from halign.builders.guardrails.lexicon import like, yours
from halign.dialogue import Message

OPENINGS = (
    "Hi, I need help with {subject}.",
    "Hello, I am writing about {subject}.",
    "Good morning! Could you help me with {subject}?",
    "Hey, quick question about {subject}.",
)
OFF_TOPIC = (
    "Can you also tell me a joke?",
    "By the way, what do you think about the election?",
    "Could you write a poem for my sister?",
    "Which football team will win on Sunday?",
)
NAMES = (
    "Alex Novak",
    "Priya Shah",
    "Maria Lopez",
    "Tom Becker",
    "Aisha Khan",
    "Li Wei",
    "Joan Price",
    "Omar Said",
)
ANSWERS = (
    ("event name", "The jazz festival."),
    ("name", "My name is {name}."),
    ("date of birth", "The 4th of May 1987."),
    ("email", "{first}@example.com"),
    ("account", "It is {number}."),
    ("order", "The order number is {number}."),
    ("number", "{number}"),
    ("pin", "{number}"),
    ("city", "Pittsburgh."),
    ("membership", "Silver."),
    ("status", "It is on its way, they said."),
    ("size", "Medium."),
    ("price", "{few}0 dollars."),
    ("reason", "It was not what I wanted."),
    ("address", "12 Main Street, Springfield."),
    ("time", "At 5 pm, please."),
    ("date", "The 12th of June."),
    ("when", "On Monday, please."),
    ("day", "On Monday, please."),
    ("how many", "{few}"),
    ("where", "In Pittsburgh."),
    ("correct", "Yes, that is correct."),
    ("anything else", "No, that is all. Thank you!"),
)
PLAIN = ("Yes, please.", "That sounds good.", "Alright.", "Whatever suits you best.")


def template_chat(subject: str, rules: Sequence[Guardrail], draws: random.Random) -> list[Message]:
    """Customer and agent in turn; empty where no rule suggests a line for the agent."""
    lines = agent_lines(rules)
    if not lines:
        return []
    refusal = next((c.line for g in rules if isinstance(c := g.check, Line) and c.refuses), None)
    aside = draws.randrange(1, len(lines) + 1) if refusal and not rules_ending(lines[-1]) else 0
    facts = _facts(draws)
    said = draws.choice(OPENINGS).format(subject=subject.lower() or "my request")
    chat: list[Message] = []
    for i, line in enumerate(lines, 1):
        chat += [Message("user", said), Message("assistant", line)]
        said = answer(line, facts, draws)
        if i == aside and refusal:
            chat += [Message("user", draws.choice(OFF_TOPIC)), Message("assistant", refusal)]
    if rules_ending(lines[-1]):
        chat += [Message("user", said), Message("assistant", "Thank you and goodbye.")]
    return chat


def rules_ending(line: str) -> bool:
    """True for the question that comes before the farewell."""
    return "anything else" in line.lower()


def agent_lines(rules: Sequence[Guardrail]) -> list[str]:
    """What the agent says, in order: the first steps that the policy lists, else greeting, questions and a confirmation."""
    checks = [g.check for g in rules if g.check is not None]
    steps = next((c for c in checks if isinstance(c, Steps)), None)
    lines: list[str] = []
    if steps is not None:
        lines = [line for s in steps.steps if (line := filled(s))]
        for c in checks:
            then = (
                filled(c.then) if isinstance(c, After) and any(like(x, c.first) for x in lines[-1:]) else None
            )
            if then:
                lines.append(then)
    things = [c.thing for c in checks if isinstance(c, Asks | AsksBefore)]
    questions = [f"Could you tell me {yours(t)}, please?" for t in dict.fromkeys(things)]
    if steps is None and any(isinstance(c, Greets) for c in checks):
        questions.insert(0, "Hello, how can I help you?")
    if any(isinstance(c, Confirms) for c in checks):
        questions.append("Just to confirm: is everything that you told me correct, and shall I go ahead?")
    lines += questions
    if any(isinstance(c, OffersMore) for c in checks) and not any(map(rules_ending, lines)):
        lines.append("Is there anything else I can help you with?")
    return lines


def answer(line: str, facts: dict[str, str], draws: random.Random) -> str:
    """What the customer says to a line of the agent's."""
    found = next((text for word, text in ANSWERS if word in line.lower()), None)
    return (found or draws.choice(PLAIN)).format(**facts)


def _facts(draws: random.Random) -> dict[str, str]:
    name = draws.choice(NAMES)
    number, few = draws.randrange(10_000, 99_999), draws.randrange(2, 7)
    return {"name": name, "first": name.split()[0].lower(), "number": str(number), "few": str(few)}
