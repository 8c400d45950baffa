"""A tiny policy that answers questions with one of four words, and what tells its answers apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from halign.dialogue import Dialogue
from halign.examples import Demonstration
from halign.models import Policy
from halign.training import train
from tests.conftest import make_llama

WORDS = ("yes", "no", "refund", "number")
TRAIN: dict[str, Any] = {"learning_rate": 3e-3, "batch_items": 16, "warmup": 0, "tensorboard": False}
COMMON: dict[str, Any] = {"max_new_tokens": 6, "chunk": 8, "quiet": True, "train": TRAIN}


def question(i: int) -> Dialogue:
    return Dialogue.of([{"role": "user", "content": f"Could you help with order {i}?"}])


def demonstrations(count: int, word: str | None = None, start: int = 0) -> list[Demonstration]:
    """Questions with one of the words as the answer; None: each in turn."""
    return [
        Demonstration(answered(question(i), word or WORDS[i % len(WORDS)]), f"q{i}")
        for i in range(start, start + count)
    ]


def answered(prompt: Dialogue, word: str) -> Dialogue:
    return Dialogue.of([*prompt.messages, {"role": "assistant", "content": word}])


class Says:
    """1 for replies that hold the word, else 0."""

    def __init__(self, word: str = "yes") -> None:
        self.word, self.asked = word, 0

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        self.asked += len(replies)
        return [float(self.word in r) for r in replies]


@pytest.fixture(scope="session")
def answering(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives each of the words about equally often."""
    folder = tmp_path_factory.mktemp("answering")
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    train(
        policy,
        demonstrations(64),
        "sft",
        output=folder,
        epochs=15,
        quiet=True,
        **{**TRAIN, "learning_rate": 1e-2},
    )
    return folder / "model"
