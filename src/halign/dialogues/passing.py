"""How reliably a model holds: pass^k and pass@k over repeated runs of each scenario.

pass^k (tau-bench: Yao et al. 2024, arXiv 2406.12045, section 3) is the probability that k runs of one scenario all hold, averaged
over scenarios, and pass@k (Chen et al. 2021, arXiv 2107.03374, equation 1) that at least one of k does. Of n runs of which c
hold, the estimators C(c, k) / C(n, k) and 1 - C(n - c, k) / C(n, k) have no bias: they are shares of the k-subsets of the runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from math import comb

from halign.errors import HalignError
from halign.evaluate import Interval
from halign.suites.totals import estimate


def all_of(held: int, runs: int, k: int) -> float:
    """pass^k of one scenario: C(held, k) / C(runs, k), in [0, 1].

    Raises:
        HalignError: unless 0 <= held <= runs and 1 <= k <= runs.

    >>> all_of(3, 4, 2), all_of(1, 4, 2)
    (0.5, 0.0)
    """
    _refuse(held, runs, k)
    return comb(held, k) / comb(runs, k)


def any_of(held: int, runs: int, k: int) -> float:
    """pass@k of one scenario: 1 - C(runs - held, k) / C(runs, k), in [0, 1].

    Raises:
        HalignError: as ``all_of``.

    >>> any_of(1, 4, 2)
    0.5
    """
    _refuse(held, runs, k)
    return 1 - comb(runs - held, k) / comb(runs, k)


def curves(
    runs: Iterable[tuple[Hashable, bool]], clusters: Mapping[Hashable, Hashable] | None = None
) -> dict[str, Interval]:
    """``pass^k`` and ``pass@k`` for every k up to the number of runs that each scenario has, with 95 % intervals.

    A scenario is one value. Scenarios with fewer runs than others limit k, so that all numbers are about the same scenarios.

    Args:
        runs: (scenario, held) of every run.
        clusters: scenario -> the unit of the intervals, where several scenarios share something; None: scenarios are independent.

    Raises:
        HalignError: there are no runs.
    """
    count: Counter[Hashable] = Counter()
    held: Counter[Hashable] = Counter()
    for scenario, fine in runs:
        count[scenario] += 1
        held[scenario] += fine
    if not count:
        raise HalignError("pass^k: there are no runs to count")
    names = list(count)
    units = [s if clusters is None else clusters[s] for s in names]
    found = {}
    for k in range(1, min(count.values()) + 1):
        for name, of in ((f"pass^{k}", all_of), (f"pass@{k}", any_of)):
            found[name] = estimate([of(held[s], count[s], k) for s in names], units)
    return {name: found[name] for name in sorted(found, key=lambda n: (n[4] == "@", int(n[5:])))}


def _refuse(held: int, runs: int, k: int) -> None:
    if not 0 <= held <= runs or not 1 <= k <= runs:
        raise HalignError(
            f"pass^k: {held} of {runs} runs held and k = {k}; k must lie within 1 and the number of runs"
        )
