"""Adapters into the weights of their base: a plain checkpoint, checked against what it was made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halign.adapters.build import has_adapters, kind_of
from halign.adapters.virtual import virtual_tokens
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.items import Path
from halign.likelihood import Prompt, make_renderer
from halign.models import DTYPES, RENDERING, Policy
from halign.preflight_model import TOKEN_TOLERANCE
from halign.probe import separate_token_logps, separate_values
from halign.rewards.loading import load_any
from halign.scoring import unwrap, value_head

_RANDOM_PATHS, _RANDOM_LENGTH = 4, 32


@dataclass(frozen=True)
class Merged:
    """A plain checkpoint made of a base and adapters.

    Attributes:
        path: its folder.
        tokens: how many tokens were compared between it and the adapters on their base.
        mean, largest: difference of a token's log-probability, in nats.
        tolerance: the largest one that would have passed.
    """

    path: FilePath
    tokens: int
    mean: float
    largest: float
    tolerance: float


def merge(
    source: str | FilePath,
    output: str | FilePath,
    *,
    dtype: str = "fp32",
    prompts: Iterable[Prompt] = (),
    tolerance: float | None = None,
    quantize: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Merged:
    """Write a plain checkpoint (safetensors, tokenizer, generation configuration, how its data was rendered) from a base and
    adapters; it is read back, and its log-probabilities (a reward model's values) compared with
    those of the adapters on their base.

    Args:
        source: a run folder, or a folder of adapters.
        output: folder to write; must not exist, or be empty.
        dtype: precision of the weights that are written, ``fp32`` or ``bf16``. They are merged in fp32 either way.
        prompts: texts to compare on, beside four texts of 32 random tokens.
        tolerance: largest difference of a token's log-probability, in nats. Unset: 0.002, which is rounding; 0.25 for ``bf16``,
            which rounds every weight to 8 bits, and for a quantised base, whose products round in their own way.
        quantize: how the base was loaded when the adapters were trained (``4bit``, ``8bit``): its weights are unpacked as they
            then were, so that the result is the model that was trained.
        device: where to compute; None: CPU (a quantised base: CUDA).
        trust_remote_code: run Python code that comes with the model.

    Raises:
        HalignError: if there is nothing to merge, virtual tokens (which are no weights), or the result differs by more than the
            tolerance; nothing is left in ``output`` then.
    """
    target = FilePath(output)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HalignError(f"{target} is there already; name another output")
    if dtype not in DTYPES:
        raise HalignError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    if tolerance is None:
        tolerance = TOKEN_TOLERANCE["bf16" if dtype == "bf16" or quantize else "fp32"]
    options: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    policy = load_any(source, quantize=quantize, **options)
    _check_mergeable(policy, source)
    paths = _paths(policy, prompts)
    before = _numbers(policy, paths)
    if quantize:
        _unpack(
            policy := load_any(source, quantize=quantize, **options)
        )  # anew: products may repack the weights
    merged = _merged(policy).to(DTYPES[dtype])
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        replace(policy, model=merged).save(partial)
        (partial / RENDERING).write_text(json.dumps(policy.rendering, indent=1))
        del merged, policy
        difference = (_numbers(load_any(partial, dtype=dtype, **options), paths) - before).abs()
        mean, largest = float(difference.mean()), float(difference.max())
        if not largest <= tolerance:
            raise HalignError(
                f"the merged model's log-probabilities differ from the adapters' by up to {largest:.2g} nats a token (mean "
                f"{mean:.2g}), more than the tolerance of {tolerance:g}; nothing was written"
                + ("; fp32 weights (dtype=fp32) round less" if dtype == "bf16" else "")
            )
        if target.exists():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Merged(target, len(before), mean, largest, tolerance)


def _check_mergeable(policy: Policy, source: str | FilePath) -> None:
    if not has_adapters(policy.model):
        raise HalignError(f"{source} is a plain model: it has no adapters to merge")
    if virtual_tokens(policy.model):
        raise HalignError(
            f"{source} has virtual tokens (adapter={kind_of(policy.model)}): they stand before the text and are no change to the "
            "weights, so no plain checkpoint can hold them. Use the folder as it is: halign.load, sample and chat take it"
        )


def _unpack(policy: Policy) -> None:
    """Put the adapters on a base of the same numbers, in fp32."""
    from peft import PeftModel

    model: Any = policy.model
    policy.model = PeftModel.from_pretrained(model.unload().dequantize(), policy.path).float()


def _merged(policy: Policy) -> nn.Module:
    """The base with the adapters in its weights. The policy is used up."""
    model: Any = policy.model
    _untie(model)
    try:
        merged: nn.Module = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise HalignError(f"the adapters cannot be merged: {error}") from error
    return merged


def _untie(model: Any) -> None:
    """Give an adapted head (or embeddings) a matrix of its own where both are one: the change is meant for one of them."""
    inner = unwrap(model)
    ends = (inner.get_input_embeddings(), inner.get_output_embeddings())
    adapted = [end.get_base_layer() for end in ends if hasattr(end, "get_base_layer")]
    if adapted and getattr(inner.config, "tie_word_embeddings", False):
        adapted[0].weight = nn.Parameter(adapted[0].weight.detach().clone())
        inner.config.tie_word_embeddings = False


def _paths(policy: Policy, prompts: Iterable[Prompt]) -> list[Path]:
    """Texts to compare on; all tokens but the first are scored."""
    draw = np.random.default_rng(0)
    vocabulary = unwrap(policy.model).config.vocab_size
    texts = [draw.integers(0, vocabulary, _RANDOM_LENGTH).astype(np.int32) for _ in range(_RANDOM_PATHS)]
    renderer = make_renderer(policy)
    texts += [renderer.prompt(p if isinstance(p, Dialogue) else Dialogue.of(p)) for p in prompts]
    return [Path(ids[:1], ids[1:]) for ids in texts if len(ids) > 1]


@torch.no_grad()
def _numbers(policy: Policy, paths: list[Path]) -> Tensor:
    """Token log-probabilities by plain passes, float32 [tokens], or a reward model's values; on the CPU."""
    policy.model.eval()
    alone = separate_token_logps if value_head(policy.model) is None else separate_values
    return torch.cat([alone(policy.model, path).cpu().flatten() for path in paths])
