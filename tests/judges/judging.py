"""What tests of judges share: a scripted language model behind a server, and items."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from halign.dialogue import Dialogue
from halign.judges.records import JudgedItem
from tests.llm.server import completion, last

PAIR = re.compile(r"Reply 1.*?:\n(.*?)\n\nReply 2.*?:\n(.*?)\n\n", re.DOTALL)


def prompt(i: int = 0, *guardrails: str, **meta: Any) -> Dialogue:
    return Dialogue.of(
        [{"role": "user", "content": f"Question {i}"}],
        guardrails=guardrails,
        meta={"conversation": f"c{i}", **meta},
    )


def item(
    i: int = 0, guardrails: tuple[str, ...] = (), meta: dict[str, Any] | None = None, **replies: str
) -> JudgedItem:
    asked = [{"role": "user", "content": f"Question {i}"}]
    return JudgedItem(f"q{i}", f"c{i}", asked, replies, list(guardrails), 1, meta or {})


def shown(body: dict[str, Any]) -> tuple[str, str] | None:
    """The two replies of a question about a pair, in order."""
    found = PAIR.search(last(body))
    return found.groups() if found else None  # type: ignore[return-value]


def distribution(**shares: float) -> dict[str, float]:
    """Log-probabilities of an answer's token; ``_1=0.5`` is the token 1. The likeliest comes first."""
    return {k.strip("_"): math.log(p) for k, p in sorted(shares.items(), key=lambda s: -s[1])}


def saying(decide: Callable[[str, str], int], grade: Callable[[str], int] = lambda q: 1) -> Any:
    """A judge in words: ``decide(first, second)`` of pairs, ``grade(question)`` of all else."""

    def script(body: dict[str, Any], before: int) -> Any:
        pair = shown(body)
        return completion(str(decide(*pair) if pair else grade(last(body))))

    return script
