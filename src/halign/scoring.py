"""A model and a TreeBatch -> log-probabilities. Everything runs inside the forward of one module, which is what gets wrapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from halign.adapters.virtual import prepend
from halign.attention import MaskScheme, model_masks
from halign.casts import SharedCasts
from halign.head import LogitTransform, head_logps
from halign.products import faster_linear
from halign.trie import TreeBatch
from halign.trie_attention import NAME


@dataclass(frozen=True)
class Scores:
    """What scoring reads off a batch.

    Attributes:
        token_logps: float32 [G]; log-probability of every response token, response after response, in nats.
        owner: int64 [G]; which response each belongs to.
        logps: float32 [R]; sums over each response's tokens.
        lengths: int64 [R].
    """

    token_logps: Tensor
    owner: Tensor
    logps: Tensor
    lengths: Tensor


def unwrap(model: nn.Module) -> Any:
    """The Hugging Face model inside a peft wrapper (its adapter layers stay in place)."""
    inner: Any = model
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def in_use(module: Any) -> Any:
    """The module that peft lets compute in place of one that is trained in full (``modules_to_save``); others as they are."""
    copies = getattr(module, "modules_to_save", None)
    if not isinstance(copies, nn.ModuleDict):
        return module
    chosen = [] if module.disable_adapters else [n for n in module.active_adapters if n in copies]
    return copies[chosen[0]] if chosen else module.original_module


def use_attention(inner: Any, name: str) -> None:
    """Switch a model's attention implementation."""
    if inner.config._attn_implementation != name:
        inner.set_attn_implementation(name)


def backbone(model: nn.Module) -> nn.Module:
    """The part of a causal language model that gives the hidden states its head reads."""
    inner = unwrap(model)
    found = getattr(inner, getattr(inner, "base_model_prefix", ""), None) or inner.get_decoder()
    if not isinstance(found, nn.Module) or found is inner:
        raise TypeError(f"{type(inner).__name__} names no backbone (base_model_prefix, get_decoder)")
    return found


class Scorer(nn.Module):
    """Wraps a causal language model; its forward takes a TreeBatch and gives Scores.

    Args:
        model: a Hugging Face causal language model, possibly wrapped by peft.
        scheme: how the model takes masks (``halign.probe``).
        transform: what the model does around its LM head (``halign.probe``); None if it could not be found out, in which
            case the model's own logits are used whole, exact but hungry.
    """

    def __init__(self, model: nn.Module, scheme: MaskScheme, transform: LogitTransform | None) -> None:
        super().__init__()
        self.model = model
        self.scheme = scheme
        self.transform = transform
        if scheme.kernel == "trie":
            use_attention(unwrap(model), NAME)

    def forward(self, batch: TreeBatch) -> Scores:
        """Log-probabilities of every response in the batch.

        Raises:
            ValueError: if the batch branches and the model only takes separate paths.
        """
        if not batch.causal and not self.scheme.shares:
            raise ValueError("this model reads separate paths only, but the batch holds a branching trie")
        autocast = torch.is_autocast_enabled(batch.input_ids.device.type)
        with SharedCasts() if autocast else faster_linear():
            return self._scores(batch, self._inputs(batch))

    def _scores(self, batch: TreeBatch, inputs: dict[str, Any]) -> Scores:
        inputs, ahead = prepend(self.model, inputs)
        if self.transform is None:
            logps = self._whole_logits(batch, inputs, ahead)
        else:
            hidden = backbone(self.model)(**inputs).last_hidden_state[:, ahead:]
            hidden = hidden.reshape(-1, hidden.shape[-1])[batch.read_at]
            head = in_use(unwrap(self.model).get_output_embeddings())
            logps = head_logps(head, hidden, batch.target_read, batch.targets, self.transform)
        token_logps = logps[batch.gather]
        sums = token_logps.new_zeros(batch.responses).index_add_(0, batch.owner, token_logps)
        return Scores(token_logps, batch.owner, sums, batch.lengths)

    def _inputs(self, batch: TreeBatch) -> dict[str, Any]:
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
        if not batch.causal:
            config = unwrap(self.model).config
            kind = batch.input_ids.device.type
            autocast = torch.is_autocast_enabled(kind)
            dtype = torch.get_autocast_dtype(kind) if autocast else next(self.model.parameters()).dtype
            additive = config._attn_implementation == "eager"
            inputs["attention_mask"] = model_masks(self.scheme, batch, additive=additive, dtype=dtype)
            inputs["position_ids"] = batch.position_ids
        return inputs

    def _whole_logits(self, batch: TreeBatch, inputs: dict[str, Any], ahead: int) -> Tensor:
        logits = unwrap(self.model)(**inputs).logits[:, ahead:]
        logits = logits.reshape(-1, logits.shape[-1])[batch.read_at].float()
        logps: Tensor = torch.log_softmax(logits, -1)[batch.target_read, batch.targets]
        return logps
