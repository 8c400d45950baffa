"""Preferred fine-tuning: numbers by hand; the rejected response and the reference play no part."""

from __future__ import annotations

import pytest
import torch

from halign.objectives import Pairs, preferred_ft
from tests.objectives import peers
from tests.objectives.samples import FAR, random_pairs


def test_values_by_hand() -> None:
    given = Pairs(
        torch.tensor([-6.0, -3.0]), torch.tensor([-1.0, -2.0]), chosen_lengths=torch.tensor([4.0, 2.0])
    )
    assert preferred_ft(given).tolist() == [6.0, 3.0]
    assert preferred_ft(given, average=True).tolist() == [1.5, 1.5]


def test_gradients() -> None:
    start = random_pairs(4, torch.float64)
    chosen = start.chosen_logps.clone().requires_grad_()
    rejected = start.rejected_logps.clone().requires_grad_()
    for average in (False, True):

        def losses(chosen: torch.Tensor, average: bool = average) -> torch.Tensor:
            return preferred_ft(Pairs(chosen, rejected, chosen_lengths=start.chosen_lengths), average=average)

        assert torch.autograd.gradcheck(losses, (chosen,))
    preferred_ft(Pairs(chosen, rejected)).sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.tolist() == [-1.0] * 4
    assert rejected.grad is None


def test_far_away_and_missing_lengths() -> None:
    assert preferred_ft(FAR).tolist() == [10.0, 2010.0]
    with pytest.raises(ValueError, match="chosen_lengths"):
        preferred_ft(Pairs(torch.tensor([-1.0]), torch.tensor([-1.0])), average=True)


def test_trl_computes_the_same_weighted_by_length() -> None:
    """TRL's ``sft`` term is the mean over the tokens of all chosen responses, ours the mean over responses of their sums."""
    given = random_pairs(5)
    assert given.chosen_lengths is not None
    theirs = peers.dpo_trainer_loss(given, "sft", 0.1)
    assert torch.allclose(preferred_ft(given).sum() / given.chosen_lengths.sum(), theirs)
