"""Supervised fine-tuning: a token's loss is its surprise, whoever else is in the step."""

from __future__ import annotations

import torch

from halign.objectives import Tokens, sft


def test_values_and_gradients() -> None:
    logps = torch.tensor([-0.5, -2.0, -1000.0], requires_grad=True)
    losses = sft(Tokens(logps))
    assert losses.tolist() == [0.5, 2.0, 1000.0]
    (losses * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [-1.0, -2.0, -3.0]


def test_cross_entropy_is_the_same() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 11), torch.randint(0, 11, (6,))
    logps = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(sft(Tokens(logps)), expected)
