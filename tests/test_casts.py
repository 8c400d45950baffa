"""Sharing conversions under autocast changes neither what is computed nor where it is computed."""

from __future__ import annotations

import torch

from halign.casts import SharedCasts


def conversions(run) -> int:
    """Calls that convert a float32 tensor of hidden states to bf16."""
    with torch.profiler.profile(record_shapes=True) as profile:
        run()
    return sum(e.name == "aten::_to_copy" and e.input_shapes[0][-1:] == [64] for e in profile.events())


def test_three_layers_share_one_conversion_and_its_gradient() -> None:
    layers = [torch.nn.Linear(64, 64) for _ in range(3)]
    x = torch.randn(10, 64, requires_grad=True)
    pull = torch.randn(10, 64)

    def run() -> torch.Tensor:
        x.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            hidden = x * 1.0  # autocast remembers the conversion of a leaf, not of what a layer gave
            out = sum(layer(hidden) for layer in layers)
        (out.float() * pull).sum().backward()
        return out

    expected, wanted = run(), x.grad
    with SharedCasts():
        found = run()
    assert torch.equal(found, expected)  # the same conversion, once
    assert torch.allclose(x.grad, wanted, atol=0.05, rtol=0.02)
    plain = conversions(run)
    with SharedCasts():
        assert conversions(run) <= plain - 4  # two forward, two backward


def test_what_changed_in_place_is_converted_anew() -> None:
    layer, x = torch.nn.Linear(8, 8, bias=False), torch.ones(2, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), SharedCasts():
        first = layer(x)
        x.mul_(2)
        assert torch.allclose(layer(x), 2 * first, rtol=0.02)


def test_other_tensors_and_precisions_are_left_alone() -> None:
    layer = torch.nn.Linear(8, 8)
    with torch.no_grad(), SharedCasts():
        whole = torch.ones(2, 8, dtype=torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(layer(whole), layer.bfloat16()(whole))


def test_a_layer_that_switches_autocast_off_stays_in_float32() -> None:
    """As the routers of some mixtures of experts do; keywords are arguments too."""
    layer, x = torch.nn.Linear(8, 8), torch.randn(2, 8)
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16), SharedCasts():
            assert layer(x).dtype == torch.bfloat16
            with torch.autocast("cpu", enabled=False):
                assert torch.equal(layer(x), exact)
            given = torch.nn.functional.linear(input=x, weight=layer.weight, bias=layer.bias)
            assert given.dtype == torch.bfloat16
