"""Answers of a language model in this process: each, with the end of the turn, is a branch of one trie behind its question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from halign.dialogue import Dialogue

if TYPE_CHECKING:
    from torch import Tensor

    from halign.models import Policy


def asked_as(policy: Policy, question: str) -> Dialogue:
    """A question as this model takes it: one user's message of its chat template, or plain text where it has none."""
    if not getattr(policy.tokenizer, "chat_template", None):
        return Dialogue.of(question)
    return Dialogue.of([{"role": "user", "content": question}])


def answer_logps(
    policy: Policy,
    questions: Sequence[Dialogue],
    answers: Sequence[str],
    *,
    prefix: str | None = None,
    **options: Any,
) -> Tensor:
    """log P(the answer, and nothing after it), so that a 1 is never the beginning of a 10.

    Args:
        prefix: words that the answer is made to begin with, given and not scored; None: those the policy was trained for.
        options: of ``halign.logps`` (``max_tokens``, ``dtype``, ``separate``).

    Returns:
        float32 [questions, answers], nats.
    """
    from halign.likelihood import logps

    pairs = [(q, answer) for q in questions for answer in answers]
    return logps(policy, pairs, prefix=prefix, **options).reshape(len(questions), len(answers))
