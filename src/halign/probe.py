"""What a model can do, measured on a small copy of its configuration, in float32, before anything is trained.

A model that ignores our 4-D mask gives wrong numbers without an error (MPT and GPT-Neo do, by 0.09 and 0.5 nats). So the
trie and separate unpadded passes are compared on sequences longer than any window; a mismatch means separate paths:
same numbers, less speed, and one line of log that says so.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halign.adapters.virtual import virtual_tokens
from halign.attention import SEPARATE, MaskScheme, candidate_schemes
from halign.head import LogitTransform
from halign.items import Path
from halign.scoring import backbone, make_scorer, unwrap, use_attention, value_head
from halign.trie import tree_batch
from halign.trie_attention import NAME

log = logging.getLogger(__name__)

TOLERANCE = 2e-3
"""Largest difference of one token's log-probability, in nats, that passes as rounding."""
_WINDOW = 6
_VOCABULARY = 64
_SPECIAL_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "image_token_id")


@dataclass(frozen=True)
class Capability:
    """What the probe found.

    Attributes:
        scheme: how masks are handed over.
        transform: what happens around the LM head; None if unknown.
        reason: for a model on separate paths, why.
        worst: the largest difference seen with the scheme chosen, in nats.
    """

    scheme: MaskScheme
    transform: LogitTransform | None
    reason: str = ""
    worst: float = 0.0


def probe(model: nn.Module) -> Capability:
    """Find out how a model takes masks and what it does around its LM head. Leaves the model and all random states alone."""
    inner = unwrap(model)
    prefer_known_attention(inner)
    transform = head_transform(inner)
    if transform is None and value_head(inner) is None:
        log.warning("%s: the LM head could not be split off; its logits are used whole", type(inner).__name__)
    scheme, reason, worst = (SEPARATE, "", 0.0) if virtual_tokens(model) else mask_scheme(inner)
    return with_adapters(Capability(scheme, transform, reason, worst), model)


def with_adapters(capability: Capability, model: nn.Module) -> Capability:
    """What is left of a capability once adapters are on the model: virtual tokens stand before every path, so none are shared."""
    if count := virtual_tokens(model):
        capability = replace(capability, scheme=SEPARATE, reason=f"{count} virtual tokens before each")
    if not capability.scheme.shares:
        name = type(unwrap(model)).__name__
        log.warning("%s: separate paths (%s); same numbers, less speed", name, capability.reason)
    return capability


def prefer_known_attention(inner: Any) -> None:
    """Use SDPA, or eager where the model has no SDPA: other implementations do not take a dense mask."""
    if inner.config._attn_implementation in ("sdpa", "eager", NAME):
        return
    for implementation in ("sdpa", "eager"):
        try:
            inner.set_attn_implementation(implementation)
        except (ValueError, ImportError):
            continue
        return


def mask_scheme(inner: Any) -> tuple[MaskScheme, str, float]:
    """The first candidate that gives the numbers of separate passes on a small copy; (scheme, reason, worst difference)."""
    reason, worst = "no candidate", 0.0
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        try:
            small = small_copy(inner)
        except Exception as error:  # whatever a configuration does when it is made smaller
            return SEPARATE, f"no small copy could be made: {type(error).__name__}: {error}", worst
        for scheme in with_kernels(candidate_schemes(small.config), inner):
            try:
                worst = _worst_difference(small, scheme)
            except Exception as error:  # whatever a model does with a mask it does not know
                reason = (
                    f"it does not take a 4-D mask: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
                )
                continue
            if worst <= TOLERANCE:
                return _on_real_config(scheme, inner.config, small.config), "", worst
            reason = f"a 4-D mask changes its log-probabilities by {worst:.2g} nats"
    return SEPARATE, reason, worst


def _on_real_config(scheme: MaskScheme, real: Any, small: Any) -> MaskScheme:
    """The same choice among the candidates of the full-size configuration (its windows are longer)."""
    position = candidate_schemes(small).index(replace(scheme, kernel="dense"))
    return replace(candidate_schemes(real)[position], kernel=scheme.kernel)


def with_kernels(schemes: list[MaskScheme], inner: Any) -> list[MaskScheme]:
    """Each scheme with trie attention first where that pays: on a CPU, for a model that would use SDPA."""
    on_cpu = all(p.device.type == "cpu" for p in inner.parameters())
    if not on_cpu or inner.config._attn_implementation not in ("sdpa", NAME):
        return schemes
    return [replace(s, kernel="trie") for s in schemes] + schemes


def small_copy(inner: Any) -> Any:
    """The model's architecture with few layers, a tiny vocabulary and short windows, with weights large enough to show a
    wrong mask. Random; on the CPU, in float32.

    Raises:
        Exception: whatever a configuration that cannot be shrunk this far raises.
    """
    try:
        return _shrunk(inner, aggressive=True)
    except Exception:
        return _shrunk(inner, aggressive=False)


def _shrunk(inner: Any, aggressive: bool) -> nn.Module:
    config = copy.deepcopy(inner.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    types = getattr(config, "layer_types", None)
    layers = getattr(config, "num_hidden_layers", 2)
    keep = min(layers, 2 if not types else max(2, 1 + max(types.index(t) for t in set(types))))
    changes: dict[str, Any] = {"num_hidden_layers": keep, "vocab_size": _VOCABULARY}
    if types:
        changes["layer_types"] = list(types[:keep])
    if getattr(config, "sliding_window", None):
        changes["sliding_window"] = _WINDOW
    if getattr(config, "attention_chunk_size", None):
        changes["attention_chunk_size"] = _WINDOW
    if aggressive:
        changes |= _narrow(config)
    for name in _SPECIAL_IDS:
        if isinstance(getattr(config, name, None), int):
            changes[name] = 0
    for name, value in changes.items():
        with contextlib.suppress(AttributeError):  # some are derived, read-only properties
            setattr(config, name, value)
    attention = inner.config._attn_implementation
    attention = "sdpa" if attention == NAME else attention
    small = type(inner)._from_config(config, attn_implementation=attention, dtype=torch.float32)
    for parameter in small.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    small.eval()
    with torch.no_grad():
        small(input_ids=torch.zeros(1, 4, dtype=torch.long))
    return small


def _narrow(config: Any) -> dict[str, Any]:
    """Fewer heads and a narrower feed-forward layer, where the configuration has the usual names."""
    heads = getattr(config, "num_attention_heads", None)
    width = getattr(config, "hidden_size", None)
    if not isinstance(heads, int) or not isinstance(width, int) or heads < 2:
        return {}
    groups = getattr(config, "num_key_value_heads", None)
    keep = 2 if not groups or groups == heads else 2 * max(1, min(4, heads // groups))
    changes: dict[str, Any] = {"hidden_size": width // heads * keep, "num_attention_heads": keep}
    if groups:
        changes["num_key_value_heads"] = keep if groups == heads else 2
    for name in ("intermediate_size", "moe_intermediate_size"):
        if isinstance(getattr(config, name, None), int):
            changes[name] = 64
    return changes


def probe_paths(vocabulary: int = _VOCABULARY, length: int = 4 * _WINDOW) -> list[Path]:
    """Paths that branch early, late, at shared first response tokens, with one a prefix of another and a duplicate."""
    rng = np.random.default_rng(0)

    def ids(n: int) -> np.ndarray:
        return rng.integers(1, vocabulary, n).astype(np.int32)

    trunk, first = ids(length), ids(_WINDOW)
    return [
        Path(trunk[:5], first),
        Path(trunk[:5], np.concatenate([first[:2], ids(4)])),
        Path(trunk, ids(_WINDOW + 2)),
        Path(trunk, first),
        Path(trunk, first[:3]),
        Path(trunk, first),
        Path(np.concatenate([trunk, first]), ids(_WINDOW)),
    ]


@torch.no_grad()
def _worst_difference(small: Any, scheme: MaskScheme) -> float:
    paths = probe_paths()
    rows = [paths[:2] + paths[3:], paths[2:3] + paths[:3]]
    own = small.config._attn_implementation
    alone = separate_values if value_head(small) is not None else separate_token_logps
    apart = torch.cat([alone(small, path) for row in rows for path in row])
    try:
        scores = make_scorer(small, scheme, None)(tree_batch(rows, flat=scheme.kernel == "trie"))
    finally:
        use_attention(small, own)
    together = scores.token_logps if scores.values is None else scores.values
    return float((together - apart).abs().max())


def separate_token_logps(model: Any, path: Path) -> Tensor:
    """log-probabilities of one path's response tokens by a plain pass over that path alone, float32 [n]; the yardstick."""
    device = next(model.parameters()).device
    ids = torch.as_tensor(path.ids, dtype=torch.long, device=device)[None]
    logits = model(input_ids=ids, use_cache=False).logits[0].float()
    logits = logits[-ids.shape[1] :]  # without those of virtual tokens
    start = len(path.prompt)
    logps: Tensor = torch.log_softmax(logits[start - 1 : -1], -1).gather(1, ids[0, start:, None])[:, 0]
    return logps if path.loss_mask is None else logps[torch.as_tensor(path.loss_mask, device=device)]


def separate_values(model: Any, path: Path) -> Tensor:
    """Outputs of a sequence-classification model for one path, by its own forward pass and its own choice of the last token,
    float32 [1, k]; the yardstick of values."""
    device = next(model.parameters()).device
    ids = torch.as_tensor(path.ids, dtype=torch.long, device=device)[None]
    values: Tensor = model(input_ids=ids, use_cache=False).logits.float()
    return values


@torch.no_grad()
def head_transform(inner: Any) -> LogitTransform | None:
    """What stands between the backbone's hidden states and the logits, measured on eight tokens; None if no known form fits.

    The head's own output is replaced on the way by values from -200 to 200, so that soft-capping shows whatever the weights.
    """
    head = inner.get_output_embeddings()
    if head is None:
        return None
    device = next(inner.parameters()).device
    ids = torch.arange(8, device=device)[None] % inner.config.vocab_size
    seen: dict[str, Tensor] = {}

    def replace(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen["input"] = args[0].float()
        ramp = torch.linspace(-200, 200, output.numel(), device=output.device)
        seen["output"] = ramp.to(output.dtype).view_as(output)
        return seen["output"]

    was_training = inner.training
    inner.eval()
    hook = head.register_forward_hook(replace)
    try:
        logits = inner(input_ids=ids, use_cache=False).logits.float()
        hidden = backbone(inner)(input_ids=ids, use_cache=False).last_hidden_state.float()
    except (TypeError, AttributeError):
        return None
    finally:
        hook.remove()
        inner.train(was_training)
    if "output" not in seen or seen["input"].shape != hidden.shape or seen["output"].shape != logits.shape:
        return None
    input_scale = _ratio(seen["input"], hidden)
    if input_scale is None:
        return None
    raw = seen["output"].float()
    scale = _ratio(logits, raw)
    if scale is not None:
        return LogitTransform(input_scale, _as_configured(scale, inner.config))
    cap = getattr(inner.config, "final_logit_softcapping", None)
    if cap:
        linear = raw.abs() < 0.05 * cap
        scale = _ratio(logits[linear], raw[linear])
        if scale is not None:
            candidate = LogitTransform(input_scale, scale, float(cap))
            if _ratio(logits, candidate(raw)) == 1.0:
                return candidate
    return None


def _as_configured(scale: float, config: Any) -> float:
    """The configuration's own number where the measured one is it up to rounding."""
    known = [getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "lm_head_multiplier")]
    for value in known:
        for exact in (value, 1 / value) if value else ():
            if abs(exact - scale) <= 1e-2 * abs(exact):
                return float(exact)
    return scale


def _ratio(a: Tensor, b: Tensor) -> float | None:
    """c with a = c b up to rounding of the model's precision, or None."""
    ratio = float((a * b).sum() / (b * b).sum().clamp_min(1e-20))
    if not (a - ratio * b).norm() <= 1e-2 * a.norm():
        return None
    return round(ratio, 6) if abs(ratio - 1) > 1e-3 else 1.0
