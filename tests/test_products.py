"""The faster products give PyTorch's own numbers, and stand in for linear layers only where they may."""

from __future__ import annotations

import pytest
import torch

from halign import products
from halign.products import FasterLinear, applies, product

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.backends.mkldnn.is_available(),
    reason="this PyTorch has no oneDNN",
)


@pytest.fixture(autouse=True)
def _whatever_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "prefers_onednn", lambda: True)


@pytest.mark.parametrize("shape", [(300, 64), (3, 100, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_a_linear_layer(shape: tuple[int, ...], bias: bool) -> None:
    layer = torch.nn.Linear(64, 96, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    pull = torch.randn(*shape[:-1], 96)
    assert applies(x, layer.weight)
    expected = layer(x)
    wanted = torch.autograd.grad((expected * pull).sum(), [x, *layer.parameters()])
    with FasterLinear():
        out = layer(x)
    made_by = out.grad_fn.next_functions[0][0]  # behind a view
    assert type(made_by).__name__ == "_LinearBackward"
    found = torch.autograd.grad((out * pull).sum(), [x, *layer.parameters()])
    assert torch.allclose(out, expected, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_transposed_operands() -> None:
    a, b = torch.randn(200, 48), torch.randn(200, 96)
    assert torch.allclose(product(a.T, b.T), a.T @ b, atol=1e-4)


def test_other_precisions_small_products_and_frozen_weights_are_left_alone_or_right() -> None:
    layer = torch.nn.Linear(64, 96)
    big = torch.randn(300, 64)
    assert not applies(big.bfloat16(), layer.weight.bfloat16())
    assert not applies(big.double(), layer.weight.double())
    assert not applies(big[:2], layer.weight)
    layer.requires_grad_(False)
    x = big.clone().requires_grad_(True)
    with FasterLinear():
        layer(x).sum().backward()
    assert torch.allclose(x.grad, layer.weight.sum(0).expand_as(x), atol=1e-5)
    with FasterLinear(), torch.autocast("cpu", torch.bfloat16):
        assert layer(big).dtype == torch.bfloat16
