"""Lean layers against the modules they stand in for: values, gradients, what is kept, and what is left alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from transformers.activations import ACT2FN
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from halign.lean import lean_layers
from tests.conftest import make_llama, make_tokenizer

NORMS = [LlamaRMSNorm, Qwen3RMSNorm, Gemma3RMSNorm]


class Gated(nn.Module):
    """A gated feed-forward layer as most models have it."""

    def __init__(self, activation: str = "silu", width: int = 16, inner: int = 48) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, inner), nn.Linear(width, inner)
        self.down_proj, self.act_fn = nn.Linear(inner, width), ACT2FN[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


def gradients(module: nn.Module, x: torch.Tensor, pull: torch.Tensor) -> tuple[Any, ...]:
    out = module(x)
    return out, *torch.autograd.grad((out * pull).sum(), [x, *module.parameters()])


def in_double(module: nn.Module, x: torch.Tensor, pull: torch.Tensor) -> tuple[Any, ...]:
    """The module's own computation in float64 (these norms go through float32 otherwise)."""
    exact = copy.deepcopy(module).double()
    if hasattr(module, "weight"):
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        scale = module.weight.detach().double() + isinstance(module, Gemma3RMSNorm)
        x, scale = x.detach().double().requires_grad_(), scale.requires_grad_()
        out = scale * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)
        return out, *torch.autograd.grad((out * pull.double()).sum(), [x, scale])
    return gradients(exact, x.detach().double().requires_grad_(), pull.double())


@pytest.mark.parametrize(
    "module", [*[n(16) for n in NORMS], *map(Gated, ("silu", "gelu", "gelu_pytorch_tanh"))]
)
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_values_and_gradients_are_the_module_s_own(module: nn.Module, size: float) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = (size * torch.randn(2, 9, 16)).requires_grad_()
    pull = torch.randn(2, 9, 16)
    expected = in_double(module, x, pull)
    undo = lean_layers(module)
    assert "forward" in vars(module)
    for found, exact in zip(gradients(module, x, pull), expected, strict=True):
        assert (found - exact).norm() <= 2e-6 * exact.norm()
    undo()
    assert "forward" not in vars(module)


class Centred(LlamaRMSNorm):
    """Looks like an RMSNorm, and is not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(-1, keepdim=True))


class Forgetful(LlamaRMSNorm):
    """Adds eps where it should not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.variance_epsilon)


class Twice(Gated):
    """Looks like a gated layer, and is not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Picky(LlamaRMSNorm):
    """Takes three dimensions only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dim() == 3
        return super().forward(x)


@pytest.mark.parametrize(
    "module",
    [Centred(16), Forgetful(16), Picky(16), Twice(), Gated("relu"), nn.LayerNorm(16), nn.Linear(16, 16)],
)
def test_what_only_looks_alike_is_left_alone(module: nn.Module) -> None:
    undo = lean_layers(module)
    assert "forward" not in vars(module)
    undo()


def kept_bytes(model: Any, ids: torch.Tensor) -> int:
    """Bytes of distinct storages that one forward pass keeps for the backward pass, weights left out."""
    weights = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    del hidden
    return sum(kept.values())


def test_a_model_keeps_less_and_learns_the_same() -> None:
    model = make_llama(make_tokenizer(), intermediate_size=96)
    ids = torch.randint(3, 300, (1, 64))
    plain_bytes = kept_bytes(model, ids)
    model(input_ids=ids, labels=ids).loss.backward()
    plain = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    undo = lean_layers(model)
    lean_bytes = kept_bytes(model, ids)
    model(input_ids=ids, labels=ids).loss.backward()
    undo()
    assert lean_bytes < 0.7 * plain_bytes
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, plain[name], atol=1e-6, rtol=1e-4), name


def test_under_autocast_the_gated_layer_gives_the_same_bits() -> None:
    module, x = Gated(), torch.randn(5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        expected = torch.autograd.grad(module(x).float().square().sum(), list(module.parameters()))
        undo = lean_layers(module)
        found = torch.autograd.grad(module(x).float().square().sum(), list(module.parameters()))
        undo()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_a_copy_of_a_lean_model_is_a_model_of_its_own() -> None:
    module = LlamaRMSNorm(8)
    lean_layers(module)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.weight.mul_(2)
    x = torch.randn(3, 8)
    assert torch.allclose(other(x), 2 * module(x))


def test_a_forward_that_somebody_replaced_stays() -> None:
    """As accelerate does to spread a model over devices."""
    module = LlamaRMSNorm(8)
    module.forward = lambda x: x + 1
    undo = lean_layers(module)
    assert torch.equal(module(torch.zeros(2, 8)), torch.ones(2, 8))
    undo()
    assert torch.equal(module(torch.zeros(2, 8)), torch.ones(2, 8))
