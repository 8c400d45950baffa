"""float32 matrix products through oneDNN on processors where PyTorch's default library is slow.

PyTorch multiplies float32 matrices with Intel's MKL, which runs at less than half speed on processors that are not Intel's
(measured on an AMD EPYC: 90 against 190 GFLOP/s a core, docs/log.md). PyTorch also carries oneDNN, whose float32 product is as
exact. Which one is used hangs on the processor alone, never on a timing, so that a resumed run repeats its bits.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MINIMUM = 1 << 16
"""Products of fewer multiplications than this are left alone."""


@functools.cache
def prefers_onednn() -> bool:
    """True on a processor that is not Intel's, where PyTorch has both libraries."""
    has_op = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    return has_op and torch.backends.mkl.is_available() and _vendor() not in ("GenuineIntel", "")


def _vendor() -> str:
    info = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not info.exists():
        return ""
    lines = (line.partition(":") for line in info.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == "vendor_id"), "")


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` by the faster library, not differentiable; x [..., K], weight [N, K] -> [..., N]."""
    if applies(x, weight):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    out = x @ weight.T
    return out if bias is None else out + bias


def applies(x: Tensor, weight: Tensor) -> bool:
    """True if ``product`` would take oneDNN."""
    return (
        prefers_onednn()
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and weight.dim() == 2
        and x.numel() * len(weight) >= MINIMUM
    )


class _Linear(torch.autograd.Function):
    """A linear layer on a matrix [M, K], whose three products go through ``product``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            product(grad, weight.T) if need_x else None,
            product(grad.T, x.T) if need_weight else None,
            grad.sum(0) if need_bias else None,
        )


def faster_linear() -> AbstractContextManager[Any]:
    """``FasterLinear`` where it is faster, else nothing."""
    return FasterLinear() if prefers_onednn() else nullcontext()


def checkpoint_contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """``context_fn`` of activation checkpointing: what is computed again has to be computed in the same way."""
    return nullcontext(), faster_linear()


class LinearMode(TorchFunctionMode):
    """While active, ``linear`` stands in for ``torch.nn.functional.linear``; everything else is left alone."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        stand_in = self.linear if func is torch.nn.functional.linear else func
        return stand_in(*args, **(kwargs or {}))

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """What is computed instead, by the same arguments."""
        raise NotImplementedError


class FasterLinear(LinearMode):
    """While active, ``torch.nn.functional.linear`` in float32 goes through ``product``, forward and backward."""

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Through ``product`` where it applies and autocast is off."""
        if not torch.is_autocast_enabled("cpu") and applies(input, weight):
            # as a matrix: of more dimensions oneDNN gives a view, which nobody (AdaLoRA does) may then add to in place
            matrix = input.reshape(-1, input.shape[-1])
            out: Tensor = (
                _Linear.apply(matrix, weight, bias)
                if torch.is_grad_enabled()
                else product(matrix, weight, bias)
            )
            return out.view(*input.shape[:-1], len(weight))
        return torch.nn.functional.linear(input, weight, bias)
