"""What the objectives of reward models share: who is there, who is compared with whom."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from halign.objectives.items import ValueLists
from halign.objectives.lists import worse


def tidied_values(lists: ValueLists) -> ValueLists:
    """The same lists with ``mask`` and ``ranks`` spelled out, and 0 wherever no response stands.

    >>> lists = tidied_values(ValueLists(torch.tensor([[3.0, float("nan")]]), mask=torch.tensor([[True, False]])))
    >>> lists.values.tolist(), lists.ranks.tolist()
    ([[3.0, 0.0]], [[1.0, 0.0]])
    """
    mask = torch.ones_like(lists.values, dtype=torch.bool) if lists.mask is None else lists.mask
    ranks = lists.ranks
    if ranks is None:
        ranks = torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=lists.values.dtype)
    rewards = None if lists.rewards is None else torch.where(mask, lists.rewards, 0.0)
    return replace(
        lists,
        values=torch.where(mask, lists.values, 0.0),
        ranks=torch.where(mask, ranks.expand_as(mask), 0.0),
        rewards=rewards,
        mask=mask,
    )


def compared(lists: ValueLists) -> tuple[Tensor, Tensor]:
    """(which comparisons there are, bool [L, K, K] at [l, better, worse]; how far the better one is ahead, [L, K, K])."""
    lists = tidied_values(lists)
    assert lists.ranks is not None
    assert lists.mask is not None
    return worse(-lists.ranks, lists.mask), lists.values[:, :, None] - lists.values[:, None, :]
