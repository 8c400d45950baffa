"""What several tries at one task say: pass@k."""

from __future__ import annotations

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """P(at least one of k tries passes), drawn without replacement from n tries of which c pass: 1 - C(n - c, k) / C(n, k).

    Unbiased for independent tries (Chen et al. 2021, arXiv 2107.03374, equation 1).

    Args:
        n, c, k: counts; 0 <= c <= n and 1 <= k <= n.

    >>> pass_at_k(4, 1, 2), pass_at_k(5, 0, 3), pass_at_k(3, 2, 2)
    (0.5, 0.0, 1.0)
    """
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)
