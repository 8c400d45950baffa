"""Two policies, a set of prompts, a judge: who is better at what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halign.dialogue import Dialogue
from halign.evaluate.comparison import Comparison, compare_outcomes
from halign.judges import Judge, both_orders
from halign.sampling import TransformersSampler


def compare(
    a: Any,
    b: Any,
    prompts: Sequence[Dialogue],
    *,
    judge: Judge,
    names: tuple[str, str] | None = None,
    conversations: Sequence[str] | None = None,
    **sampling: Any,
) -> Comparison:
    """Sample a reply of either policy to every prompt, let the judge compare them in both orders, and count.

    Args:
        a, b: policies, or anything that has ``.sample`` (a ``Sampler``).
        names: what to call them; their paths if not given.
        conversations: the conversation of each prompt, which clusters the intervals; each prompt its own if
            None.
        sampling: ``temperature``, ``max_new_tokens``, ``seed`` ... of the sampler.
    """
    replies = []
    for policy in (a, b):
        sampler = policy if hasattr(policy, "sample") else TransformersSampler(policy)
        replies.append([row[0].text for row in sampler.sample(prompts, **sampling)])
    outcomes = both_orders(judge, prompts, *replies)
    called = names or (str(getattr(a, "path", "A")), str(getattr(b, "path", "B")))
    return compare_outcomes(*called, outcomes, conversations or [str(i) for i in range(len(prompts))])
