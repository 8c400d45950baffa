"""SLiC: the margin and each regulariser by hand; the reference's log-probabilities play no part."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from halign.objectives import Pairs, find, hinge, slic
from tests.objectives.samples import FAR, random_pairs

TWO = Pairs(
    torch.tensor([-3.0, -6.0]),
    torch.tensor([-8.0, -4.0]),
    target_logps=torch.tensor([-10.0, -20.0]),
    target_kl=torch.tensor([2.0, 3.0]),
)
"""5 nats ahead, past the margin; 2 behind."""


def test_the_margin_by_hand() -> None:
    assert slic(TWO, regulariser="none").tolist() == [0.0, 3.0]
    assert slic(TWO, regulariser="none", delta=6.0).tolist() == [1.0, 8.0]


def test_each_regulariser_by_hand() -> None:
    assert slic(TWO).tolist() == pytest.approx([0 + 0.1 * 10, 3 + 0.1 * 20])
    assert slic(TWO, sft_weight=0.5, kl_weight=9.0).tolist() == pytest.approx([5.0, 13.0])
    assert slic(replace(TWO, target_logps=None)).tolist() == pytest.approx([0 + 0.1 * 3, 3 + 0.1 * 6])
    kl = slic(TWO, regulariser="kl", kl_weight=0.5, sft_weight=9.0)
    assert kl.tolist() == pytest.approx([1.0, 4.5])
    assert slic(TWO, regulariser="kl").tolist() == pytest.approx([0.2, 3.3])


def test_without_a_regulariser_it_is_the_hinge_on_log_probabilities() -> None:
    """``hinge`` against a reference that gives everything log-probability 0, with beta = 1 / delta, in units of delta."""
    given = random_pairs(8)
    flat = replace(
        given, ref_chosen_logps=torch.zeros_like(given.chosen_logps), ref_rejected_logps=torch.zeros(8)
    )
    for delta in (1.0, 4.0):
        ours = slic(given, delta=delta, regulariser="none")
        assert torch.allclose(ours, delta * hinge(flat, beta=1 / delta), atol=1e-5)
        assert (ours > 0).any()


def test_gradients() -> None:
    start = random_pairs(5, torch.float64)
    columns = (start.chosen_logps, start.rejected_logps, start.chosen_logps - 1, start.rejected_logps.abs())
    inputs = tuple(c.clone().requires_grad_() for c in columns)

    for regulariser, flows_to in (("ce", (0, 1, 2)), ("kl", (0, 1, 3)), ("none", (0, 1))):

        def losses(*columns: torch.Tensor, regulariser: str = regulariser) -> torch.Tensor:
            chosen, rejected, target, kl = columns
            return slic(Pairs(chosen, rejected, target_logps=target, target_kl=kl), regulariser=regulariser)  # type: ignore[arg-type]

        assert torch.autograd.gradcheck(losses, inputs)
        grads = torch.autograd.grad(losses(*inputs).sum(), inputs, allow_unused=True)
        assert tuple(i for i, g in enumerate(grads) if g is not None) == flows_to


def test_without_a_target_the_chosen_is_pulled_up_by_both_terms() -> None:
    chosen = torch.tensor([-3.0, -6.0], requires_grad=True)
    slic(replace(TWO, chosen_logps=chosen, target_logps=None), sft_weight=0.25).sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.tolist() == [-0.25, -1.25]


def test_far_away() -> None:
    assert slic(FAR, regulariser="none").tolist() == [0.0, 2001.0]
    assert slic(FAR).tolist() == pytest.approx([1.0, 2202.0])


def test_what_it_needs_follows_from_the_regulariser() -> None:
    assert [find("slic").needs({"regulariser": r}) for r in ("ce", "kl", "none")] == [(), ("target_kl",), ()]
    with pytest.raises(ValueError, match=r"Pairs\.target_kl"):
        slic(replace(TWO, target_kl=None), regulariser="kl")
