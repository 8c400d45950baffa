"""What token paths have in common from their start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halign.items import Ids


def in_order(paths: Sequence[Ids]) -> list[int]:
    """Indices of token paths in lexicographic order; a path stands right after those that it shares most with.

    Args:
        paths: int32 arrays [n_i] of ids of at least 0.

    >>> in_order([np.array(p, dtype=np.int32) for p in ([2, 1], [1, 300], [1], [1, 2, 3])])
    [2, 3, 1, 0]
    """
    if len(paths) == 1:
        return [0]
    keys = [path.astype(">u4").tobytes() for path in paths]
    return sorted(range(len(paths)), key=keys.__getitem__)


def common_prefix(a: Ids, b: Ids) -> int:
    """How many tokens two paths share from their start.

    >>> common_prefix(np.array([1, 2, 3]), np.array([1, 2, 4, 5])), common_prefix(np.array([1]), np.array([1, 2]))
    (2, 1)
    """
    n = min(len(a), len(b))
    if not n:
        return 0
    differing = a[:n] != b[:n]
    at = int(differing.argmax())  # the first True, 0 where there is none
    return at if differing[at] else n


def count_distinct(paths: Sequence[Ids]) -> int:
    """Nodes of the trie of these token paths, without building it."""
    total = 0
    previous = np.empty(0, dtype=np.int32)
    for index in in_order(paths):
        path = paths[index]
        total += len(path) - common_prefix(previous, path)
        previous = path
    return total
