"""Judges that are asked in a set's own published words, and read by the set's own rule.

A judge is named as ``llm:NAME@URL`` (behind an endpoint), ``local:FOLDER`` (a model in this process), ``care`` (the care world's
exact rules), ``checks`` (checks recognised from the guardrails' words), or ``package.module:name``: a function messages -> text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.records import GradeRecord, Trouble
from halign.llm import Client, Endpoint, Failure, Reply, Request
from halign.outsiders import imported

RULES = ("care", "checks")
_RATING = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))


@dataclass
class JudgeNamed:
    """A judge by its words.

    Args:
        words: see the module.
        options: of the endpoint (``key_env``, ``concurrency``, prices) and ``budget``.

    Raises:
        HalignError: the words name no judge.
    """

    words: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind, _, rest = self.words.partition(":")
        fine = self.words in RULES or (kind == "llm" and "@" in rest) or (kind == "local" and rest)
        if not fine and (kind in ("llm", "local") or not rest or "/" in self.words):
            raise HalignError(
                f"--judge {self.words!r} names no judge: llm:NAME@URL, local:FOLDER, care, checks, or package.module:name"
            )

    @cached_property
    def client(self) -> Client | None:
        """The endpoint, if it is one."""
        kind, _, rest = self.words.partition(":")
        if kind != "llm":
            return None
        name, _, url = rest.partition("@")
        options = {k: v for k, v in self.options.items() if v is not None}
        budget = options.pop("budget", None)
        return Client(Endpoint(url, name, **options), budget=budget)

    @cached_property
    def policy(self) -> Any:
        """The model in this process, if it is one."""
        from halign.models import load

        kind, _, rest = self.words.partition(":")
        return load(rest) if kind == "local" else None

    def ask(self, questions: Sequence[Dialogue], *, max_tokens: int = 2048) -> list[str | Failure]:
        """The judge's likeliest answer to each, in its own words.

        Raises:
            HalignError: a judge of rules, which answers nothing; or as ``Client.ask``.
        """
        if self.words in RULES:
            raise HalignError(f"--judge {self.words} knows rules only: this set asks for words, llm:NAME@URL")
        if self.client is not None:
            asked = [
                Request.of(
                    [m.to_dict() for m in q.messages],
                    temperature=0.0,
                    max_tokens=max_tokens,
                    name=f"question {i}",
                )
                for i, q in enumerate(questions)
            ]
            return [a.text if isinstance(a, Reply) else a for a in self.client.ask(asked)]
        if self.policy is not None:
            from halign.sampling import TransformersSampler

            drawn = TransformersSampler(self.policy).sample(
                questions, temperature=0.0, max_new_tokens=max_tokens
            )
            return [row[0].text for row in drawn]
        return [self._function([m.to_dict() for m in q.messages]) for q in questions]

    @cached_property
    def _function(self) -> Callable[[list[dict[str, Any]]], str]:
        found: Callable[[list[dict[str, Any]]], str] = imported(self.words, "judge")
        return found

    def yes(self, questions: Sequence[str]) -> list[float | Failure]:
        """P(yes) for each question; a function's answer is read as words.

        Raises:
            HalignError: a judge of rules; or as ``YesNo.ask``.
        """
        from halign.judges.yes_no import EndpointYesNo, LocalYesNo

        if self.client is not None or self.policy is not None:
            asker = LocalYesNo(self.policy) if self.client is None else EndpointYesNo(self.client)
            return [a if isinstance(a, Failure) else a.yes for a in asker.ask(questions)]
        said = self.ask([Dialogue.of([{"role": "user", "content": q}]) for q in questions])
        return [_yes(i, a) for i, a in enumerate(said)]


def _yes(index: int, said: str | Failure) -> float | Failure:
    if isinstance(said, Failure):
        return said
    first = re.match(r"\W*(yes|no)\b", said, re.I)
    if first is None:
        return Failure(index, f"question {index}", f"neither yes nor no: {said[:60]!r}")
    return float(first[1].lower() == "yes")


def rating(judgment: str) -> float | None:
    """The rating that a judgment names, as FastChat's ``llm_judge`` reads it: the first [[7]], else the first [7]; None: none.

    >>> rating("Good. Rating: [[7.5]]"), rating("I say [7]"), rating("seven")
    (7.5, 7.0, None)
    """
    for pattern in _RATING:
        if found := pattern.search(judgment):
            return float(found[1])
    return None


def graded(
    answer: str | Failure, read: Callable[[str], float | None], scale: tuple[float, float], **fields: Any
) -> GradeRecord:
    """The record of one answer; a number outside the scale is as little a grade as none at all."""
    trouble: Trouble | None = None
    value = None
    if isinstance(answer, Failure):
        trouble, why = "failed", answer.problem
    else:
        why, value = answer, read(answer)
        if value is None or not scale[0] <= value <= scale[1]:
            value, trouble = None, "unparsable"
    return GradeRecord(value=value, scale=scale, why=(why,), trouble=trouble, **fields)
