"""Log-probabilities of responses, and rewards, for anyone who has a model and some text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.items import Item, Path
from halign.models import Policy
from halign.plan import Plan, Slot
from halign.render import Renderer
from halign.scoring import Scores, make_scorer
from halign.trie import tree_batch

Prompt = Dialogue | str | Sequence[Mapping[str, Any] | Message]
Response = str | Message | Sequence[int] | np.ndarray
T = TypeVar("T")


def logps(
    policy: Policy,
    responses: Iterable[tuple[Prompt, Response]],
    *,
    separate: bool = False,
    max_tokens: int = 4096,
    dtype: str = "fp32",
    prefix: str | None = None,
) -> Tensor:
    """Summed log-probabilities of responses to prompts, end-of-turn token included.

    Args:
        policy: from ``halign.load``.
        responses: (prompt, response) pairs. A prompt is a dialogue, messages, or plain text; a response is text, a message, or
            token ids as they were sampled. After an empty prompt the first token of a text is not scored, unless the model
            has a BOS token: nothing predicts it.
        separate: score every path apart (the plain way) instead of in tries.
        max_tokens: distinct tokens in one forward pass.
        dtype: ``fp32``, or ``bf16`` for autocast.
        prefix: words that the responses are made to begin with, given and not scored; None: those the policy was trained for
            ("" for most).

    Returns:
        float32 [R], nats, in the order given.

    Raises:
        HalignError: if a response does not fit its prompt's template.
    """
    renderer = make_renderer(policy, prefix)
    paths = [as_path(renderer, prompt, response) for prompt, response in responses]
    scored = path_logps(policy, paths, separate=separate, max_tokens=max_tokens, dtype=dtype)
    return torch.stack([s.sum() for s in scored]) if scored else torch.zeros(0)


def path_logps(
    policy: Policy,
    paths: Sequence[Path],
    *,
    separate: bool = False,
    max_tokens: int = 4096,
    dtype: str = "fp32",
) -> list[Tensor]:
    """Token log-probabilities of every path's response, float32 [n] each, on the CPU, in the order given."""
    return _each(
        policy,
        paths,
        lambda scores: torch.split(scores.token_logps.cpu(), scores.lengths.tolist()),
        separate,
        max_tokens,
        dtype,
    )


def path_values(
    policy: Policy,
    paths: Sequence[Path],
    *,
    separate: bool = False,
    max_tokens: int = 4096,
    dtype: str = "fp32",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tensor]:
    """A reward model's outputs at the end of every path, float32 [k] each, on the CPU, in the order given."""

    def values(scores: Scores) -> tuple[Tensor, ...]:
        assert scores.values is not None
        return scores.values.cpu().unbind(0)

    return _each(policy, paths, values, separate, max_tokens, dtype, progress)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a model finds a response.

    Attributes:
        logp: sum over its tokens, in nats.
        greedy: True if greedy decoding would write exactly these tokens.
        tokens: how many they are.
    """

    logp: float
    greedy: bool
    tokens: int


def path_likelihoods(
    policy: Policy,
    paths: Sequence[Path],
    *,
    separate: bool = False,
    max_tokens: int = 4096,
    dtype: str = "fp32",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Likelihood]:
    """How likely every path's response is, in the order given. The last token of a path is predicted but not read, so a path
    may be one token longer than the model has positions, and choices of one token cost nothing beyond their context."""
    order = sorted(range(len(paths)), key=lambda i: paths[i].ids.astype(">u4").tobytes())

    def read(scores: Scores) -> list[tuple[Tensor, Tensor]]:
        assert scores.token_likeliest is not None
        sizes = scores.lengths.tolist()
        parts = (torch.split(x.cpu(), sizes) for x in (scores.token_logps, scores.token_likeliest))
        return list(zip(*parts, strict=True))

    ordered = [paths[i] for i in order]
    read_off = _each(policy, ordered, read, separate, max_tokens, dtype, progress, reading=True)
    found: dict[int, Likelihood] = {}
    for i, (logps, likeliest) in zip(order, read_off, strict=True):
        said = paths[i].response
        greedy = bool(np.array_equal(likeliest.numpy(), said))
        found[i] = Likelihood(float(logps.double().sum()), greedy, len(said))
    return [found[i] for i in range(len(paths))]


@torch.no_grad()
def _each(
    policy: Policy,
    paths: Sequence[Path],
    read: Callable[[Scores], Sequence[T]],
    separate: bool,
    max_tokens: int,
    dtype: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    reading: bool = False,
) -> list[T]:
    """What ``read`` takes from the scores, path by path; with ``reading``, of tries without leaves, with likeliest tokens."""
    model, capability = policy.model, policy.capability
    separate = separate or not capability.scheme.shares
    flat = capability.scheme.kernel == "trie" and not separate
    items = [Item("tokens", (path,), _first_tokens(path)) for path in paths]
    plan = Plan(items, batch_items=len(items), max_tokens=max_tokens, separate=separate, flat=flat)
    scorer = make_scorer(model, capability.scheme, capability.transform)
    pad_id = policy.tokenizer.pad_token_id or 0
    was_training = model.training
    model.eval()
    found: dict[Slot, T] = {}
    try:
        for pack in plan.pack(range(len(items))):
            batch = tree_batch(plan.paths(pack), pad_id=pad_id, flat=flat, leaves=not reading, picked=reading)
            with _precision(policy.device, dtype):
                scores: Scores = scorer(batch.to(policy.device), likeliest=reading)
            found |= dict(zip(pack.slots, read(scores), strict=True))
            progress(len(found), len(items))
    finally:
        model.train(was_training)
    return [found[Slot(i, 0)] for i in range(len(items))]


RECORDED = ("guardrail_template", "system_role", "response_body", "template_args", "response_prefix")
"""Settings of rendering that concern a response whoever asks for it."""


def make_renderer(policy: Policy, prefix: str | None = None) -> Renderer:
    """The renderer that goes with a policy: the settings its run recorded, or the defaults; with a response prefix of one's
    own, if given."""
    known = {k: v for k, v in policy.rendering.items() if k in RECORDED}
    if prefix is not None:
        known["response_prefix"] = prefix
    return Renderer(policy.tokenizer, stop_ids=policy.stop_ids or None, **known)


def _precision(device: torch.device, dtype: str) -> contextlib.AbstractContextManager[Any]:
    if dtype == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _first_tokens(path: Path) -> str:
    """Paths that begin alike are looked at together for sharing."""
    return path.ids[:8].tobytes().hex()


def as_prompt(prompt: Prompt) -> Dialogue:
    """A prompt as a dialogue."""
    return prompt if isinstance(prompt, Dialogue) else Dialogue.of(prompt)


def as_path(renderer: Renderer, prompt: Prompt, response: Response) -> Path:
    """A prompt and a response, rendered.

    Raises:
        HalignError: if the response does not fit its prompt's template.
    """
    dialogue = as_prompt(prompt)
    if isinstance(response, str | Message):
        role = "raw" if dialogue.is_raw else "assistant"
        message = Message(role, response) if isinstance(response, str) else response
        path = renderer.path(dialogue, message)
        if path is None:
            raise HalignError("a prompt and its response do not fit into max_length")
        return path
    return Path(renderer.prompt(dialogue), np.asarray(response, dtype=np.int32))
