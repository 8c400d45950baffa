"""A conversation with one model at the terminal: its history, and what its rules are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError

_BULLET = re.compile(r"^(?:[-*+]|\d+[.)])\s+")


class Talk:
    """One model's side of a conversation.

    Args:
        name: what the model is called.
        sampler: has ``stream(dialogue, seed=..., **settings)``.
        start: system message and guardrails.
        settings: of every reply (``temperature``, ``max_new_tokens`` ...).
        seed: of the first reply; each further one, also to the same words, has the next.
    """

    def __init__(self, name: str, sampler: Any, start: Dialogue, settings: dict[str, Any], seed: int) -> None:
        self.name, self.sampler, self.start, self.settings, self.seed = name, sampler, start, settings, seed
        self.dialogue = start

    @property
    def begun(self) -> bool:
        """True once something was said."""
        return len(self.dialogue) > len(self.start)

    def say(self, words: str) -> Iterator[str]:
        """The reply to a user's words in pieces; both are part of the conversation once it is complete."""
        return self._reply(self.dialogue + Message("user", words))

    def retry(self) -> Iterator[str]:
        """Another reply to the last words, in place of the one there is."""
        return self._reply(self.dialogue[: len(self.dialogue) - 1])

    def reset(self) -> None:
        """Begin anew."""
        self.dialogue = self.start

    def row(self, conversation: str) -> dict[str, Any]:
        """The conversation as a row of data: a demonstration."""
        return {
            "conversation": conversation,
            "guardrails": list(self.dialogue.guardrails),
            "messages": [m.to_dict() for m in self.dialogue.messages],
        }

    def _reply(self, asked: Dialogue) -> Iterator[str]:
        seed, said = self.seed, ""
        self.seed += 1
        for piece in self.sampler.stream(asked, seed=seed, **self.settings):
            said += piece
            yield piece
        self.dialogue = asked + Message("assistant", said)


def read_guardrails(file: Path) -> list[str]:
    """Rules from a file, one a line; bullets and numbers before them, headings and empty lines are left out.

    Raises:
        HalignError: the file cannot be read, or holds no rule.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HalignError(f"--guardrails {file}: cannot be read: {error}") from error
    found = [_BULLET.sub("", line.strip()) for line in lines if not line.strip().startswith("#")]
    rules = [rule for rule in found if rule]
    if not rules:
        raise HalignError(f"--guardrails {file}: no rule in it; write one a line, or a Markdown list")
    return rules
