"""Judges that are asked in somebody's own words and answer in theirs: what published judge prompts need.

A judge can answer if a language model stands behind it (``LanguageModelJudge``), or if it has
``answers(prompts, *, max_tokens)``, which gives a text, or a ``Failure``, for each prompt in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.protocol import name_of
from halign.llm import Failure, Reply, Request


def can_answer(judge: Any) -> bool:
    """Whether a judge answers in words."""
    return hasattr(judge, "answers") or _model_of(judge) != (None, None)


def answers_of(judge: Any, questions: Sequence[Dialogue], *, max_tokens: int = 2048) -> list[str | Failure]:
    """The judge's likeliest answer to each question, in its own words, as they were said.

    Args:
        max_tokens: longest answer.

    Raises:
        HalignError: a judge without words, such as rules or a reward model; or as ``Client.ask``.
    """
    if hasattr(judge, "answers"):
        return list(judge.answers(questions, max_tokens=max_tokens))
    client, policy = _model_of(judge)
    if client is not None:
        asked = [
            Request.of(
                [m.to_dict() for m in q.messages],
                temperature=0.0,
                max_tokens=max_tokens,
                name=f"question {i}",
            )
            for i, q in enumerate(questions)
        ]
        return [a.text if isinstance(a, Reply) else a for a in client.ask(asked)]
    if policy is not None:
        from halign.sampling import TransformersSampler

        drawn = TransformersSampler(policy).sample(questions, temperature=0.0, max_new_tokens=max_tokens)
        return [row[0].text for row in drawn]
    raise HalignError(
        f"judge {name_of(judge)} does not answer in words: take a language model (llm:NAME@URL, local:FOLDER), or a judge of "
        "your own with answers(prompts, max_tokens)"
    )


def _model_of(judge: Any) -> tuple[Any, Any]:
    """(client, policy) of the language model behind a judge; None for what there is not."""
    numbers = getattr(judge, "numbers", None)
    return getattr(numbers, "client", None), getattr(numbers, "policy", None)
