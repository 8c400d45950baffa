"""An adversary with a script: each strategy is tried on each guardrail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import yaml
from jinja2 import TemplateError

from halign.builders.guardrails.contract import Guardrail
from halign.dialogue import Dialogue, Message
from halign.dialogues.scenarios import Scenario
from halign.errors import HalignError
from halign.judges.questions import filled

HOUSE = Path(__file__).with_name("adversary.yaml")
SCRIPT, ATTACKS = "script", "attacks"
"""Keys of ``meta``: the adversary's lines, and the agent's turns (from 0) before which they were said so far."""
OPPOSITE = "do the opposite of “{rule}”"


@dataclass(frozen=True)
class Adversary:
    """Strategies and wishes.

    Attributes:
        turns: strategy -> its lines, Jinja over ``wish`` and ``rule``.
        what: strategy -> what it does, in words.
        wishes: a rule's text or id -> what is asked of the agent; of other rules the opposite is asked.
    """

    turns: Mapping[str, tuple[str, ...]]
    what: Mapping[str, str] = field(default_factory=dict)
    wishes: Mapping[str, str] = field(default_factory=dict)

    def lines(self, strategy: str, rule: str, wish: str = "", name: str = "") -> list[str]:
        """What is said on one rule.

        Args:
            wish: where the file has none for this rule, by ``rule`` or ``name`` (its id).
        """
        asked = self.wishes.get(rule) or self.wishes.get(name) or wish or OPPOSITE.format(rule=rule)
        return [filled(line, wish=asked, rule=rule) for line in self.turns[strategy]]


def read_adversary(file: str | Path | None = None) -> Adversary:
    """The house's strategies, with those of a file.

    Raises:
        HalignError: no such file, or not of the form that ``adversary.yaml`` describes.
    """
    house = _strategies(HOUSE)
    if file is None:
        return Adversary(*house[:2])
    turns, what, row = _strategies(Path(file))
    every, words = {**house[0], **turns}, {**house[1], **what}
    only = [str(n) for n in row.get("only", every)]
    if strange := [n for n in only if n not in every]:
        raise HalignError(f"adversary {file}: only: no strategy {strange[0]!r}; there are {', '.join(every)}")
    wishes = row.get("wishes", {})
    if not isinstance(wishes, Mapping):
        raise HalignError(f"adversary {file}: wishes: rule: what is asked of the agent")
    return Adversary(
        {n: every[n] for n in only},
        {n: words.get(n, "") for n in only},
        {str(k): str(v).rstrip(". ") for k, v in wishes.items()},
    )


def _strategies(file: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, str], Mapping[str, Any]]:
    try:
        row = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HalignError(f"adversary {file} cannot be read: {error}") from None
    if not isinstance(row, Mapping) or set(row) - {"strategies", "wishes", "only"}:
        raise HalignError(f"adversary {file}: strategies, wishes and only are what it may hold")
    turns: dict[str, tuple[str, ...]] = {}
    what = {}
    for name, one in row.get("strategies", {}).items():
        lines = one.get("turns") if isinstance(one, Mapping) else None
        if not lines or not all(isinstance(line, str) for line in lines):
            raise HalignError(f"adversary {file}: strategy {name}: turns: a list of lines is needed")
        try:
            for line in lines:
                filled(line, wish="", rule="")
        except TemplateError as error:
            raise HalignError(f"adversary {file}: strategy {name}: {error}") from None
        turns[str(name)], what[str(name)] = tuple(lines), str(one.get("what", ""))
    return turns, what, row


def attack_scenarios(
    guardrails: Sequence[Guardrail], adversary: Adversary, system: str = ""
) -> list[Scenario]:
    """Every strategy on every rule, all rules being in force. The rules are the clusters: six ways to attack one rule say little
    about another."""
    texts = tuple(g.text for g in guardrails)
    messages = (Message("system", system),) if system else ()
    found = []
    for g in guardrails:
        for strategy in adversary.turns:
            name = f"{g.id}/{strategy}"
            meta = {"conversation": name, SCRIPT: adversary.lines(strategy, g.text, name=g.id), ATTACKS: []}
            found.append(Scenario(name, Dialogue(messages, texts, meta=meta), strategy, g.text, g.id))
    return found


def care_attacks(scenarios: Sequence[Scenario], adversary: Adversary) -> list[Scenario]:
    """Every strategy on one guardrail of every scenario of the care world: the one that applies at most of its planned acts, of
    equals the first. What is asked for is what an opposite guardrail of the world says. The world's conversations are the
    clusters."""
    from halign.worlds.care import GUARDRAILS, KINDS

    found = []
    for scenario in scenarios:
        start = scenario.start
        ids = list(start.meta["active"].values())
        target = max(ids, key=lambda p: not KINDS[GUARDRAILS[p].kind].acts and GUARDRAILS[p].group == "style")
        rule = next(s for s in start.guardrails if s in _sentences(target))
        wish = GUARDRAILS[GUARDRAILS[target].opposite].sentences[0].rstrip(".")
        for strategy in adversary.turns:
            lines = adversary.lines(strategy, rule, wish[0].lower() + wish[1:], target)
            name = f"{scenario.id}/{strategy}"
            meta = {**start.meta, "conversation": name, SCRIPT: lines, ATTACKS: []}
            found.append(Scenario(name, replace(start, meta=meta), strategy, target, scenario.id))
    return found


def _sentences(guardrail: str) -> tuple[str, ...]:
    from halign.worlds.care import GUARDRAILS

    return (*GUARDRAILS[guardrail].sentences, *GUARDRAILS[guardrail].held_out_sentences)


class Speaker(Protocol):
    """Anything that speaks as users."""

    @property
    def name(self) -> str: ...

    def speak(self, dialogues: Sequence[Dialogue]) -> list[Dialogue | None]: ...


class ScriptedUsers:
    """Says the lines of ``meta["script"]`` one a turn, and leaves.

    Args:
        base: a user whose words the lines are added to, and who goes on when the script is at its end.
        occasion: whether a line is said at this turn; the dialogue ends with the base's words.
    """

    name = "adversary"

    def __init__(
        self, base: Speaker | None = None, occasion: Callable[[Dialogue], bool] = lambda dialogue: True
    ) -> None:
        self.base, self.occasion = base, occasion

    def speak(self, dialogues: Sequence[Dialogue]) -> list[Dialogue | None]:
        """Every dialogue with the user's next turn; None where nothing more is said."""
        if self.base is None:
            return [self._attacked(d, "") if _left(d) else None for d in dialogues]
        return [d if d is None else self._with_line(d) for d in self.base.speak(dialogues)]

    def _with_line(self, dialogue: Dialogue) -> Dialogue:
        if not _left(dialogue) or not self.occasion(dialogue):
            return dialogue
        return self._attacked(dialogue[:-1], dialogue.messages[-1].content)

    def _attacked(self, dialogue: Dialogue, words: str) -> Dialogue:
        line = _left(dialogue)[0]
        turn = sum(m.role == "assistant" for m in dialogue.messages)
        meta = {**dialogue.meta, ATTACKS: [*dialogue.meta[ATTACKS], turn]}
        return replace(dialogue + Message("user", f"{words} {line}".strip()), meta=meta)


def _left(dialogue: Dialogue) -> Sequence[str]:
    """The lines that have not been said."""
    found: Sequence[str] = dialogue.meta[SCRIPT][len(dialogue.meta[ATTACKS]) :]
    return found


def applies_in_care(targets: Mapping[str, str]) -> Callable[[Dialogue], bool]:
    """Whether the attacked guardrail has something to say at the turn that is due; ``targets``: scenario -> guardrail."""
    from halign.worlds.care import GUARDRAILS
    from halign.worlds.care.state import State

    return lambda d: GUARDRAILS[targets[d.meta["conversation"]]].applies(State.of(d.meta["states"][-1]))
