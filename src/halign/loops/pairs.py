"""Pairs of replies as preferences, for the loops that compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from halign.examples import Preference
from halign.loops.groups import Group, Pair
from halign.loops.round_settings import Labels

TIES = "pairs that tie"
SAME = "pairs of two replies with the same words"


def preferences(
    group: Group, pairs: Iterable[Pair], labels: Labels, dropped: Counter[str], at_least: float = 0.5
) -> list[Preference]:
    """The pairs, the likelier reply of each chosen.

    Args:
        labels: ``soft`` keeps P(chosen beats rejected), in (1/2, 1]; ``certain`` takes it as 1.
        dropped: counts those left out, by reason: same words, ties.
        at_least: pairs are left out unless the chosen reply wins with a probability of at least this, and above one half.
    """
    made = []
    for i, j in pairs:
        if group.words(i) == group.words(j):
            dropped[SAME] += 1
            continue
        p = group.preference(i, j)
        best, worst, sure = (i, j, p) if p >= 0.5 else (j, i, 1 - p)
        if sure == 0.5:
            dropped[TIES] += 1
        elif sure < at_least:
            dropped[f"pairs less sure than {at_least:g}"] += 1
        else:
            made.append(
                Preference(
                    group.prompt,
                    group.message(best),
                    group.message(worst),
                    group.conversation,
                    preference=sure if labels == "soft" else 1.0,
                )
            )
    return made


def extremes(values: Sequence[float]) -> Pair | None:
    """Places of the highest and the lowest value; of equal ones the first. None where all are equal.

    >>> extremes([0.2, 0.9, 0.9, 0.2]), extremes([1.0, 1.0])
    ((1, 0), None)
    """
    best, worst = values.index(max(values)), values.index(min(values))
    return (best, worst) if values[best] > values[worst] else None
