"""KL divergence of whole next-token distributions, reference from policy, without a (tokens x vocabulary) matrix.

As in ``halign.head``: the forward pass keeps hidden states only, the backward pass makes each chunk's logits again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from halign.errors import HalignError
from halign.head import LogitTransform, chunk_rows, linear_backward, linear_logits, log_sum_exp, slices


@dataclass(frozen=True)
class Distributions:
    """Next-token distributions, as what makes them: hidden states [M, d] that the head reads, and the head.

    All detached; ``hidden`` is scaled already (``LogitTransform.input_scale``).
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    transform: LogitTransform

    @classmethod
    def of(cls, head: nn.Module, hidden: Tensor, transform: LogitTransform | None) -> Distributions:
        """Of a plain linear head.

        Raises:
            HalignError: if the head is anything else, so that its distributions cannot be made chunk by chunk.
        """
        if type(head) is not nn.Linear or transform is None:
            raise HalignError(
                f"whole distributions are compared for plain linear LM heads only, and this model's is {_described(head)}; "
                "leave adapters off the head, or use a regulariser that needs log-probabilities alone (slic: regulariser=ce)"
            )
        bias = None if head.bias is None else head.bias.detach()
        return cls((hidden * transform.input_scale).detach(), head.weight.detach(), bias, transform)

    def logits(self, rows: slice, dtype: torch.dtype) -> Tensor:
        """float32 [rows, V]."""
        inputs, weight = self.hidden[rows].to(dtype), self.weight.to(dtype)
        return linear_logits(inputs, weight, self.bias, self.transform).float()


def _described(head: nn.Module) -> str:
    return "one with an adapter on it" if hasattr(head, "base_layer") else f"a {type(head).__name__}"


class _LinearKL(torch.autograd.Function):
    """KL(reference || policy) per position; gradient with respect to the policy's hidden states, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        reference: Distributions,
        transform: LogitTransform,
        dtype: torch.dtype,
    ) -> Tensor:
        compute_weight = weight.to(dtype)
        out = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for rows in slices(slice(0, len(hidden)), chunk_rows(len(weight), hidden.device)):
            logits = linear_logits(hidden[rows].to(dtype), compute_weight, bias, transform).float()
            against = reference.logits(rows, dtype)
            expected = (torch.softmax(against, -1) * (against - logits)).sum(-1)
            out[rows] = expected - log_sum_exp(against) + log_sum_exp(logits)
        ctx.save_for_backward(hidden, weight, bias)
        ctx.reference, ctx.transform, ctx.dtype = reference, transform, dtype
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        transform, reference = ctx.transform, ctx.reference

        def gradient(rows: slice, logits: Tensor) -> Tensor:
            made = torch.softmax(logits, -1, dtype=torch.float32)
            made -= torch.softmax(reference.logits(rows, ctx.dtype), -1)
            return transform.backward_(made.mul_(grad[rows, None]), logits)

        made = linear_backward(gradient, ctx.saved_tensors, transform, ctx.dtype, ctx.needs_input_grad[:3])
        return *made, None, None, None


def head_kl(head: nn.Module, hidden: Tensor, reference: Distributions, transform: LogitTransform) -> Tensor:
    """KL(reference || policy) of the next-token distributions at each position, nats, float32 [M].

    Args:
        head: the policy's LM head, a plain ``nn.Linear``.
        hidden: [M, d] hidden states that it reads, not yet scaled.
        reference: as many distributions.
        transform: the policy's scaling and soft-capping.

    Raises:
        HalignError: if the head is not plain.
    """
    if type(head) is not nn.Linear:
        Distributions.of(head, hidden, transform)
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
    made: Tensor = _LinearKL.apply(
        hidden * transform.input_scale, head.weight, head.bias, reference, transform, dtype
    )
    return made
