"""Few-shot prompts: worked examples from the training data before each conversation, for a model that is not trained."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.recipes.origins import chosen
from halign.template import DEFAULT_GUARDRAIL_TEMPLATE, Guardrails, TemplateRefused, fold_system


def put_before(
    policy: Any, prompts: Sequence[Dialogue], data: Path, examples: int, sampling: Mapping[str, Any]
) -> list[Dialogue]:
    """Each prompt with ``examples`` answered prompts of the training data before it.

    Every example is a whole conversation up to and with a reply, its system message and guardrails included, in the roles of
    the chat template; which ones is drawn anew for each prompt, by ``sampling["seed"]``. Where the template takes a system
    message in first place only, system texts open the first user message of their conversation. Of examples that do not fit the
    model's positions together with the prompt and a reply, the last ones are left out.

    Raises:
        HalignError: if the data has fewer replies.
    """
    from halign.likelihood import make_renderer
    from halign.loops.asked import asked

    worked = asked(chosen(data, ["train"]), answered=True)
    if len(worked) < examples:
        raise HalignError(f"examples: {examples}, but the training data has {len(worked)} replies")
    fill = Guardrails(policy.rendering.get("guardrail_template", DEFAULT_GUARDRAIL_TEMPLATE))
    shown: list[list[Sequence[Message]]] = []
    for number, prompt in enumerate(prompts):
        drawn = random.Random(f"{sampling.get('seed', 0)}-{number}").sample(worked, examples)
        before = [(*fill.apply(one.prompt), one.own) for one in drawn if one.own is not None]
        shown.append([*before, fill.apply(prompt)])
    renderer = make_renderer(policy)
    room = getattr(policy.model.config, "max_position_embeddings", None)
    longest = room - sampling["max_new_tokens"] if room else None
    try:
        return [_fitting(parts, renderer, longest, fold=False) for parts in shown]
    except TemplateRefused:
        return [_fitting(parts, renderer, longest, fold=True) for parts in shown]


def _fitting(
    parts: Sequence[Sequence[Message]], renderer: Any, longest: int | None, *, fold: bool
) -> Dialogue:
    """The last part with as many of the first others before it as make a prompt of at most ``longest`` tokens."""
    *before, last = parts
    for count in range(len(before), 0, -1):
        whole = joined([*before[:count], last], fold=fold)
        if longest is None or len(renderer.prompt(whole)) <= longest:
            return whole
    return joined([last], fold=fold)


def joined(conversations: Sequence[Sequence[Message]], *, fold: bool) -> Dialogue:
    """Conversations one after the other, as one.

    >>> one = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello.")]
    >>> [m.content for m in joined([one, one[:2]], fold=True).messages]
    ['Be kind.\\n\\nHi', 'Hello.', 'Be kind.\\n\\nHi']
    """
    return Dialogue(tuple(m for part in conversations for m in (fold_system(part) if fold else part)))
