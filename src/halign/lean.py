"""The element-wise layers of a transformer with a backward pass of their own: fewer passes over memory, half of what is kept.

Autograd keeps every intermediate result of an RMSNorm (six operations) and of a gated feed-forward layer. Written as one function
each, the norm keeps its input and one number a token, the gated layer its two projections. Which modules are such layers is
measured on the module itself with random numbers, never concluded from a name; all others are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

_CLOSE = 1e-5
"""Largest relative difference that passes as rounding when a module is compared with what it is taken for."""


class _RMSNorm(torch.autograd.Function):
    """y = x / sqrt(mean(x^2) + eps) * scale; x [..., d], scale [d], float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse = mean_square.add_(eps).rsqrt_()
        ctx.save_for_backward(x, inverse, scale)
        return (x * inverse).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """PyTorch's fused LayerNorm gradient with a mean of zero, plus the term by which the mean's own gradient lowers it:
        inverse * mean(grad * scale)."""
        x, inverse, scale = ctx.saved_tensors
        grad, width = grads[0].contiguous(), x.shape[-1]
        d_x, d_scale, _ = torch.ops.aten.native_layer_norm_backward(
            grad, x, [width], torch.zeros_like(inverse), inverse, scale, None, [True, True, False]
        )
        d_x.addcmul_((grad @ scale).div_(width).unsqueeze_(-1), inverse)
        return d_x, d_scale, None


@dataclass(frozen=True)
class _Gate:
    """An activation, and its gradient from (gradient of the output, input)."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


_GATES = (
    _Gate(nn.functional.silu, torch.ops.aten.silu_backward),
    _Gate(
        partial(nn.functional.gelu, approximate="tanh"),
        partial(torch.ops.aten.gelu_backward, approximate="tanh"),
    ),
    _Gate(nn.functional.gelu, torch.ops.aten.gelu_backward),
)


class _Gated(torch.autograd.Function):
    """act(gate) * up, elementwise."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, kind: _Gate) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.kind = kind
        return _product(gate, up, kind)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        d_gate = ctx.kind.backward(grads[0] * up, gate)
        return d_gate, _product(gate, grads[0], ctx.kind), None


def lean_layers(model: nn.Module, *, checkpointed: bool = False) -> Callable[[], None]:
    """Let the norms and gated layers of a model compute leanly, in place; a function that undoes it. A module whose forward
    somebody has replaced already is left alone.

    Args:
        checkpointed: gradient checkpointing keeps nothing of these layers, so there is nothing to make again.
    """
    changed: list[nn.Module] = []
    for module in model.modules():
        if "forward" in vars(module):
            continue
        forward = _norm_forward(module) or _gated_forward(module, checkpointed)
        if forward is not None:
            module.forward = MethodType(forward, module)
            changed.append(module)

    def undo() -> None:
        for module in changed:
            del module.forward

    return undo


Forward = Callable[[nn.Module, Tensor], Tensor]


def _norm_forward(module: nn.Module) -> Forward | None:
    names = [name for name, _ in module.named_parameters()]
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if names != ["weight"] or not isinstance(eps, float) or list(module.children()):
        return None
    weight = module.weight
    if not isinstance(weight, Tensor) or weight.dim() != 1 or weight.dtype != torch.float32:
        return None
    offset = next((o for o in (0.0, 1.0) if _is_norm(module, weight, eps, o)), None)
    if offset is None:
        return None
    plain = type(module).forward

    def forward(self: nn.Module, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != torch.float32:
            return plain(self, hidden_states)
        weight: Any = self.weight
        scale = weight + offset if offset else weight
        out: Tensor = _RMSNorm.apply(hidden_states, scale, eps)
        return out

    return forward


@torch.no_grad()
def _is_norm(module: nn.Module, weight: Tensor, eps: float, offset: float) -> bool:
    """Does a module with random weights give what the formula gives, also where eps matters?"""
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, len(weight), generator=draw).to(weight.device)
    scale, x = drawn[0], drawn[1:] * torch.tensor([[1.0], [eps**0.5]], device=weight.device)
    found = outcome(lambda: torch.func.functional_call(module, {"weight": scale}, (x,)))
    return _same(found, _RMSNorm.apply(x, scale + offset, eps))


def _gated_forward(module: nn.Module, checkpointed: bool) -> Forward | None:
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if not all(isinstance(part, nn.Module) for part in parts):
        return None
    kind = next((k for k in _GATES if _is_gated(module, k)), None)
    if kind is None:
        return None

    def forward(self: Any, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        product = _Gated.apply(gate, up, kind)
        if checkpointed or not product.requires_grad:
            hooks: Any = nullcontext()
        else:
            hooks = _made_again(product, partial(_product, gate.detach(), up.detach(), kind))
        with hooks:
            out: Tensor = self.down_proj(product)
        return out

    return forward


def _product(gate: Tensor, up: Tensor, kind: _Gate) -> Tensor:
    return kind.forward(gate).mul_(up)


def _made_again(tensor: Tensor, make: Callable[[], Tensor]) -> saved_tensors_hooks:
    """While active, what autograd would keep of ``tensor`` is made again by ``make`` when the backward pass asks for it."""
    address, size = tensor.data_ptr(), tensor.numel()

    def pack(kept: Tensor) -> Any:
        same = kept.data_ptr() == address and kept.numel() == size and kept.is_contiguous()
        return kept.shape if same else kept

    def unpack(packed: Any) -> Tensor:
        return packed if isinstance(packed, Tensor) else make().view(packed)

    return saved_tensors_hooks(pack, unpack)


@torch.no_grad()
def _is_gated(module: Any, kind: _Gate) -> bool:
    """Does the module give down(act(gate(x)) * up(x))?"""
    weight = next(module.parameters())
    width = getattr(module.gate_proj, "in_features", None)
    if width is None:
        return False
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, width, generator=draw).to(weight.device, weight.dtype)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()  # adapters' dropout
    try:
        found = outcome(lambda: module(x))
        formula = outcome(
            lambda: module.down_proj(_Gated.apply(module.gate_proj(x), module.up_proj(x), kind))
        )
    finally:
        for part, training in modes:
            part.training = training
    return _same(found, formula)


def outcome(compute: Callable[[], Any]) -> Tensor | None:
    """What a module makes of the random input, or None if it takes no such input or gives no tensor."""
    try:
        found = compute()
    except Exception:  # whatever a module does that is not what it looks like
        return None
    return found if isinstance(found, Tensor) else None


def _same(found: Tensor | None, formula: Tensor | None) -> bool:
    if found is None or formula is None or found.shape != formula.shape:
        return False
    return bool((found - formula).norm() <= _CLOSE * formula.norm())
