"""Contexts with continuations -> how likely a model finds them, prefix-shared, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from halign.errors import HalignError
from halign.harness.text import TextEncoder, reading_length
from halign.items import Path
from halign.likelihood import Likelihood, path_likelihoods
from halign.models import Policy

Progress = Callable[[int, int], None]
"""Called with (requests done, requests in all)."""

AT_ONCE = 4096
"""Requests whose ids are held at a time. Tasks list their requests question by question, so that what is shared is shared within
such a part; at its end a common beginning is read once more."""


@dataclass(frozen=True)
class Reading:
    """How a model reads: what it costs, never what comes out.

    Attributes:
        max_tokens: distinct tokens in one forward pass.
        dtype: ``fp32``, or ``bf16`` for autocast.
        separate: every request by itself, nothing shared (the plain way).
    """

    max_tokens: int = 4096
    dtype: str = "fp32"
    separate: bool = False


def text_encoder(
    policy: Policy,
    *,
    max_length: int | None = None,
    special_tokens: bool | None = None,
    prefix_id: int | None = None,
) -> TextEncoder:
    """The encoder of a policy's texts.

    Args:
        max_length: tokens read at once; None: what the model was made for.
        special_tokens, prefix_id: see ``TextEncoder``.

    Raises:
        HalignError: ``max_length`` is not positive.
    """
    if max_length is not None and max_length < 1:
        raise HalignError(f"max_length = {max_length}: a model reads at least one token")
    length = max_length or reading_length(policy.model, policy.tokenizer)
    return TextEncoder(policy.tokenizer, length, special_tokens=special_tokens, prefix_id=prefix_id)


def likelihoods(
    policy: Policy,
    requests: Sequence[tuple[str, str]],
    *,
    encoder: TextEncoder | None = None,
    reading: Reading | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Likelihood]:
    """How likely continuations are after their contexts.

    Args:
        requests: (context, continuation) pairs; see ``halign.harness.text`` for how they are encoded.

    Returns:
        one per request, in the order given.

    Raises:
        HalignError: a continuation without a token of its own, or longer than the model can read.
    """
    encoder = encoder or text_encoder(policy)
    paths = (encoder.path(context, continuation) for context, continuation in requests)
    return in_parts(policy, paths, len(requests), reading or Reading(), progress)


def in_parts(
    policy: Policy, paths: Iterator[Path], total: int, reading: Reading, progress: Progress
) -> list[Likelihood]:
    """How likely the paths' responses are; ``AT_ONCE`` of them are encoded and read at a time."""
    found: list[Likelihood] = []
    while part := list(islice(paths, AT_ONCE)):
        before = len(found)
        found += path_likelihoods(
            policy,
            part,
            separate=reading.separate,
            max_tokens=reading.max_tokens,
            dtype=reading.dtype,
            progress=lambda done, _, before=before: progress(before + done, total),  # type: ignore[misc]
        )
    return found
