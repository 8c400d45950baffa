"""What dialogues are about: a start that the model is given, and what a simulated user wants there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from halign.builders.guardrails.contract import Guardrail
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError

GOAL, OPENING, RUN = "goal", "opening", "run"
"""Keys of a dialogue's ``meta`` that users read: what the user wants, the user's first words, and which run it is, from 0."""
FIELDS = ("id", GOAL, OPENING, "system", "guardrails")


@dataclass(frozen=True)
class Scenario:
    """One situation; it is run several times.

    Attributes:
        start: system message and guardrails; its ``meta`` is what the user knows.
        strategy: of an adversary; "": nobody attacks.
        target: the guardrail that is attacked, as verdicts name it.
        of: what it shares with other scenarios, so that they are not independent: the conversation of the care world, or the
            guardrail, that several strategies attack. "": nothing.
    """

    id: str
    start: Dialogue
    strategy: str = ""
    target: str = ""
    of: str = ""

    @property
    def cluster(self) -> str:
        """The unit of the intervals: scenarios of one cluster, and all runs of them, count as one witness."""
        return self.of or self.id

    def begun(self, run: int) -> Dialogue:
        """The start of one run."""
        return replace(self.start, meta={**self.start.meta, RUN: run})


def read_scenarios(file: str | Path, guardrails: tuple[Guardrail, ...] = ()) -> list[Scenario]:
    """Scenarios for a language model as the user: YAML, a list of objects with ``goal`` (what the user wants and knows) and, as
    wanted, ``id``, ``opening`` (the user's first words), ``system``, ``guardrails`` (texts, behind those given here).

    Raises:
        HalignError: no such file or field, no goal, an id twice.
    """
    try:
        found = yaml.safe_load(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HalignError(f"--scenarios {file} cannot be read: {error}") from None
    if not isinstance(found, list) or not found:
        raise HalignError(f"--scenarios {file}: a list of objects with {', '.join(FIELDS)} is needed")
    scenarios = [
        _scenario(row, f"--scenarios {file}: number {n}", str(n), guardrails)
        for n, row in enumerate(found, 1)
    ]
    ids = [s.id for s in scenarios]
    if again := next((i for i in ids if ids.count(i) > 1), None):
        raise HalignError(f"--scenarios {file}: id {again!r} stands there twice")
    return scenarios


def _scenario(row: Any, where: str, number: str, guardrails: tuple[Guardrail, ...]) -> Scenario:
    if not isinstance(row, Mapping) or not row.get(GOAL):
        raise HalignError(f"{where}: goal is missing: what does this user want?")
    if strange := set(row) - set(FIELDS):
        raise HalignError(f"{where}: no field {', '.join(sorted(strange))}; there is {', '.join(FIELDS)}")
    name = str(row.get("id", number))
    rules = (*(g.text for g in guardrails), *map(str, row.get("guardrails", ())))
    messages = (Message("system", str(row["system"])),) if row.get("system") else ()
    meta = {"conversation": name, GOAL: str(row[GOAL]), OPENING: str(row.get(OPENING, ""))}
    return Scenario(name, Dialogue(messages, rules, meta=meta))
