"""How far a policy has moved from its reference, measured on the policy's own samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halign.dialogue import Dialogue
from halign.items import Ids


def log_ratios(
    policy: Any,
    reference: Any,
    prompts: Sequence[Dialogue],
    replies: Sequence[Ids],
    *,
    dtype: str = "fp32",
    reference_prompts: Sequence[Dialogue] | None = None,
) -> list[float]:
    """log pi(y|x) - log pi_ref(y|x) for each sampled reply, in nats.

    The mean over the policy's own samples, drawn at temperature 1 without top-k or top-p, is an unbiased
    estimate of KL(pi || pi_ref) per reply; single values may be negative. At other temperatures it is no KL
    divergence, only a distance along what was said.

    Args:
        reference_prompts: what the reference is asked, where the policy is shown more (examples before each prompt).
    """
    from halign.likelihood import logps

    pairs = list(zip(prompts, replies, strict=True))
    plain = pairs if reference_prompts is None else list(zip(reference_prompts, replies, strict=True))
    ratios = logps(policy, pairs, dtype=dtype) - logps(reference, plain, dtype=dtype)
    return [float(r) for r in ratios]
