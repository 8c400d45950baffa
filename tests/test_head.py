"""The chunked head against a plain log_softmax: values, gradients, and no tokens x vocabulary matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from halign import head as head_module
from halign import head_readings
from halign.head import LogitTransform, head_logps
from halign.head_readings import head_likeliest

TRANSFORMS = [
    LogitTransform(),
    LogitTransform(scale=0.3),
    LogitTransform(cap=2.0),
    LogitTransform(input_scale=0.5, scale=1.7, cap=4.0),
]


def case(bias: bool, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, Tensor, Tensor, Tensor, Tensor]:
    """A head over 23 words; 50 positions, of which some predict two or three targets and some none; a pull per target."""
    torch.manual_seed(0)
    head = nn.Linear(12, 23, bias=bias).to(dtype)
    hidden = (2 * torch.randn(50, 12)).to(dtype).requires_grad_()
    read, targets = [], []
    for position in range(50):
        for target in torch.randperm(23)[: (1, 2, 3, 0)[position % 4]].tolist():
            read.append(position)
            targets.append(target)
    return head, hidden, torch.tensor(read), torch.tensor(targets), torch.randn(len(read))


def plain(head: Any, hidden: Tensor, read: Tensor, targets: Tensor, t: LogitTransform) -> Tensor:
    logits = head(hidden * t.input_scale).float() * t.scale
    if t.cap is not None:
        logits = t.cap * torch.tanh(logits / t.cap)
    return logits.log_softmax(-1)[read, targets]


def gradients(out: Tensor, pull: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad((pull * out).sum(), inputs))


@pytest.mark.parametrize("rows", [1, 7, 16, 50, 64])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_values_and_gradients(
    kept: int, bias: bool, transform: LogitTransform, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_module, "chunk_rows", lambda *a: rows)
    monkeypatch.setattr(head_module, "KEPT_BYTES", kept)
    head, hidden, read, targets, pull = case(bias)
    inputs = (hidden, *head.parameters())
    expected = plain(head, hidden, read, targets, transform)
    found = head_logps(head, hidden, read, targets, transform)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)
    for a, b in zip(gradients(found, pull, *inputs), gradients(expected, pull, *inputs), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_finite_differences(transform: LogitTransform) -> None:
    """Independently of autograd's rules for the plain form: directional derivatives by central differences."""
    head, hidden, read, targets, pull = case(True)
    (gradient,) = gradients(head_logps(head, hidden, read, targets, transform), pull, hidden)
    with torch.no_grad():
        for seed in range(3):
            direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(seed))
            ahead, behind = (
                (pull * head_logps(head, hidden + s * 1e-2 * direction, read, targets, transform))
                .double()
                .sum()
                for s in (1, -1)
            )
            assert float((ahead - behind) / 2e-2) == pytest.approx(
                float((gradient * direction).sum()), rel=2e-2, abs=2e-2
            )


def test_a_frozen_weight_gets_no_gradient_and_the_hidden_states_still_do() -> None:
    head, hidden, read, targets, pull = case(True)
    (expected,) = gradients(head_logps(head, hidden, read, targets), pull, hidden)
    head.requires_grad_(False)
    out = head_logps(head, hidden, read, targets)
    (pull * out).sum().backward()
    assert hidden.grad is not None
    assert torch.equal(hidden.grad, expected)
    assert head.weight.grad is None
    head.requires_grad_(True)
    (pull * head_logps(head, hidden.detach(), read, targets)).sum().backward()
    assert head.weight.grad is not None
    assert not head_logps(head, hidden, read, targets).detach().requires_grad


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_head_that_is_no_plain_linear_is_called_as_a_module(
    transform: LogitTransform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A LoRA adapter on the head, whose weights alone would say nothing of the adapter."""
    from peft.tuners.lora import LoraConfig
    from peft.tuners.lora.layer import Linear

    monkeypatch.setattr(head_module, "chunk_rows", lambda *a: 1)
    plain_head, hidden, read, targets, pull = case(False)
    hidden = torch.cat([hidden.detach()] * 2).requires_grad_()  # 100 positions: more than one chunk of 64
    read = torch.cat([read, read + 50])
    targets, pull = targets.repeat(2), pull.repeat(2)
    adapted = Linear(plain_head, "default", LoraConfig(r=3, lora_alpha=6), r=3, lora_alpha=6)
    nn.init.normal_(adapted.lora_B["default"].weight)
    trained = [p for p in adapted.parameters() if p.requires_grad]
    expected = plain(adapted, hidden, read, targets, transform)
    found = head_logps(adapted, hidden, read, targets, transform)
    assert torch.allclose(found, expected, atol=1e-5)
    without = plain(plain_head, hidden, read, targets, transform)
    assert not torch.allclose(found, without, atol=1e-2)
    for a, b in zip(
        gradients(found, pull, hidden, *trained), gradients(expected, pull, hidden, *trained), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(head_logps(adapted, hidden, read, targets, transform), found)


def test_nothing_to_predict() -> None:
    head, hidden, *_ = case(False)
    empty = torch.zeros(0, dtype=torch.int64)
    out = head_logps(head, hidden[:0], empty, empty)
    assert out.shape == (0,)
    out.sum().backward()


def test_bf16_rounds_the_products_only() -> None:
    head, hidden, read, targets, pull = case(True, torch.bfloat16)
    exact = plain(head.float(), hidden.float(), read, targets, LogitTransform(scale=1.5, cap=9.0))
    head = head.bfloat16()
    found = head_logps(head, hidden, read, targets, LogitTransform(scale=1.5, cap=9.0))
    assert found.dtype == torch.float32
    assert (found - exact).abs().mean() < 0.02
    (d_hidden, d_weight) = gradients(found, pull, hidden, head.weight)
    assert (d_hidden.dtype, d_weight.dtype) == (torch.bfloat16, torch.bfloat16)
    fp32 = nn.Linear(12, 23).float()
    with torch.autocast("cpu", torch.bfloat16):
        auto = head_logps(fp32, hidden.detach().float(), read, targets)
    assert auto.dtype == torch.float32
    difference = (auto - plain(fp32, hidden.detach().float(), read, targets, LogitTransform())).abs()
    assert 0 < difference.mean() < 0.02


def test_a_second_backward_pass_gives_the_same_although_the_first_wrote_over_what_was_kept() -> None:
    head, hidden, read, targets, pull = case(False)
    loss = (pull * head_logps(head, hidden, read, targets)).sum()
    first, second = (torch.autograd.grad(loss, (hidden, head.weight), retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_in_bf16_the_gradient_of_what_is_nearly_certain_is_no_rounding(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 - p of a p that was rounded to bf16 would be wrong by up to .002, here as much as it is worth."""
    monkeypatch.setattr(head_module, "KEPT_BYTES", kept)
    torch.manual_seed(0)
    head = nn.Linear(8, 40, bias=False, dtype=torch.bfloat16)
    nn.init.normal_(head.weight, std=0.5)
    hidden = (4 * head.weight[:20]).detach().requires_grad_()  # each position points to a token of its own
    read = targets = torch.arange(20)
    logits = torch.nn.functional.linear(hidden.detach(), head.weight).detach().float().requires_grad_()
    expected = logits.log_softmax(-1)[read, targets]
    certain = expected > -0.05
    assert certain.sum() >= 5
    (d_logits,) = torch.autograd.grad(expected.sum(), logits)
    exact = d_logits.double() @ head.weight.double()
    (found,) = gradients(head_logps(head, hidden, read, targets), torch.ones(20), hidden)
    error = (found.double() - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert error[certain].max() < 0.01


class Largest(TorchDispatchMode):
    """The largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor) and tensor.numel() > self.elements:
                self.elements = tensor.numel()
        return out


@pytest.mark.parametrize("bias", [False, True])
def test_no_tokens_times_vocabulary_matrix_is_ever_made(bias: bool) -> None:
    positions, width, vocabulary = 24_000, 8, 4000
    head = nn.Linear(width, vocabulary, bias=bias)
    hidden = torch.randn(positions, width, requires_grad=True)
    read = torch.arange(positions)
    targets = torch.randint(0, vocabulary, (positions,))
    with Largest() as seen:
        head_logps(head, hidden, read, targets, LogitTransform(cap=3.0)).sum().backward()
    block = head_module.block_rows(vocabulary, hidden.device) * vocabulary
    assert block < positions * vocabulary / 20
    assert 0 < seen.elements <= max(block, width * vocabulary)
    with Largest() as seen:
        plain(head, hidden[:3000], read[:3000], targets[:3000], LogitTransform()).sum().backward()
    assert seen.elements == 3000 * vocabulary  # what the hook would have seen


def test_a_chunk_is_sized_by_the_vocabulary() -> None:
    cpu = torch.device("cpu")
    assert head_module.chunk_rows(1000, cpu) == 512  # a multiple of 16 below 512 * 1024 / 1000
    assert head_module.chunk_rows(10**9, cpu) == 16


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("bias", [False, True])
def test_likeliest_tokens_come_with_the_same_log_probabilities(
    bias: bool, transform: LogitTransform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_readings, "chunk_rows", lambda *a: 16)
    head, hidden, read, targets, _ = case(bias)
    logps, likeliest = head_likeliest(head, hidden, read, targets, transform)
    assert torch.allclose(logps, plain(head, hidden, read, targets, transform), atol=1e-5)
    everywhere = torch.arange(len(hidden)).repeat_interleave(23), torch.arange(23).repeat(len(hidden))
    table = plain(head, hidden, *everywhere, transform).reshape(len(hidden), 23)
    assert torch.equal(likeliest, table.argmax(-1))
    assert not logps.requires_grad


def test_of_equally_likely_tokens_the_first_is_taken() -> None:
    head = nn.Linear(4, 7, bias=False)
    nn.init.zeros_(head.weight)
    nothing = torch.zeros(2, dtype=torch.int64)
    _, likeliest = head_likeliest(head, torch.randn(2, 4), torch.arange(2), nothing)
    assert likeliest.tolist() == [0, 0]
