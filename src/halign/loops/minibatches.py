"""Which replies of an iteration make an optimiser step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def minibatches(groups: Sequence[int], count: int, seed: tuple[int, ...]) -> list[list[int]]:
    """Replies in ``count`` parts of nearly equal size (fewer where there are fewer prompts), a prompt's replies all in one part,
    in an order that the seed decides; indices of replies.

    >>> [sorted(part) for part in minibatches([0, 0, 1, 1, 2, 2], 2, (0,))]
    [[0, 1, 4, 5], [2, 3]]
    """
    own: dict[int, list[int]] = {}
    for reply, group in enumerate(groups):
        own.setdefault(group, []).append(reply)
    order = np.random.default_rng(seed).permutation(sorted(own))
    return [
        [reply for group in part for reply in own[int(group)]]
        for part in np.array_split(order, min(count, len(own)))
    ]
