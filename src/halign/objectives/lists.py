"""What the list-wise objectives share: who is there, who is worse than whom, who is best."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from halign.objectives.items import Lists


def tidied(lists: Lists) -> Lists:
    """The same lists with ``mask`` and ``ranks`` spelled out, and 0 (a length: 1) wherever no response stands.

    What stood there can then reach neither a loss nor a gradient. Every list-wise objective starts with this.

    >>> lists = tidied(Lists(torch.tensor([[-3.0, float("nan")]]), mask=torch.tensor([[True, False]])))
    >>> lists.logps.tolist(), lists.ranks.tolist()
    ([[-3.0, 0.0]], [[1.0, 0.0]])
    """
    mask = torch.ones_like(lists.logps, dtype=torch.bool) if lists.mask is None else lists.mask
    ranks = lists.ranks
    if ranks is None:
        ranks = torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=lists.logps.dtype).expand_as(
            mask
        )
    given = {f.name: getattr(lists, f.name) for f in fields(lists)} | {"ranks": ranks}
    tables = {k: v for k, v in given.items() if k not in ("mask", "weight", "conversation", "step")}
    filled: dict[str, Any] = {
        name: torch.where(mask, table, 1.0 if name == "lengths" else 0.0)
        for name, table in tables.items()
        if table is not None
    }
    return replace(lists, **filled, mask=mask)


def worse(merit: Tensor, mask: Tensor) -> Tensor:
    """Where response j is strictly worse than response k of its list and both exist: bool [L, K, K], at [l, k, j].

    Of a list that stands best first these are the j after k, less those tied with k.

    >>> worse(torch.tensor([[2.0, 2.0, 1.0]]), torch.tensor([[True, True, True]])).int().tolist()
    [[[0, 0, 1], [0, 0, 1], [0, 0, 0]]]
    """
    return (merit[:, None, :] < merit[:, :, None]) & mask[:, None, :] & mask[:, :, None]


def best(merit: Tensor, mask: Tensor) -> Tensor:
    """The place of each list's best response, of several equally good the first: int64 [L, 1]."""
    return merit.masked_fill(~mask, -torch.inf).argmax(1, keepdim=True)


def choice_loss(differences: Tensor, others: Tensor) -> Tensor:
    r"""Minus the log-probability that a softmax picks k among itself and the others.

    .. math:: \log\Big(1 + \sum_{j \in \text{others}_k} e^{d_{kj}}\Big)

    Args:
        differences: d, how far j's score is above k's, [L, K, K] at [l, k, j].
        others: whom k is compared with, bool [L, K, K].

    Returns:
        [L, K]; 0 with no gradient where there are no others.
    """
    own = torch.zeros_like(differences[..., :1])
    return torch.logsumexp(torch.cat([own, differences.masked_fill(~others, -torch.inf)], -1), -1)
