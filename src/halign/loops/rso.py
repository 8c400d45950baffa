r"""Statistical rejection sampling optimisation (RSO: Liu et al. 2023, arXiv 2309.06657).

Preference learning wants pairs that are drawn from the optimal policy of the reward, ``pi_r(y) ∝ pi_sft(y) exp(r(y) / beta)``,
not from the model at hand. Out of k replies of the model, about n are kept as if they were drawn from it; they are paired at
random, labelled by the reward (or by preferences, where given), and learnt with ``hinge`` (the paper's hinge-norm: SLiC's loss on
likelihoods normalised by the reference) or ``dpo``. Large beta keeps replies whatever their reward, small beta the best only.

Which replies are kept:

- ``without_replacement`` (the paper's algorithm): go through what is left and keep each with probability exp((r - r_max) / beta),
  r_max being the highest reward left, pass after pass until n are kept. It is biased at small k, since every pass keeps whatever
  is the highest there, and good replies run out. Where one reply in twenty has reward 1 and the others 0 (beta .5), the tests
  enumerate a total variation from pi_r of .11 at k 8, n 2 and of .006 at k 64, n 8; wider rewards make it larger.
- ``exact`` (the rule of seed 002): keep each with probability pi_r / (M pi_sft) = exp((r - bound) / beta), independently, in the
  order drawn, until n are kept. Those kept are independent draws from pi_r, if no reply there can be has a reward above
  ``bound``; of a prompt fewer than n may be kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from halign.convert import Converted
from halign.errors import HalignError
from halign.examples import Preference
from halign.loops.groups import Group, Pair
from halign.loops.pairs import preferences
from halign.loops.round_settings import Labels, RoundSettings
from halign.loops.rounds import Rounds

Accept = Literal["without_replacement", "exact"]
Pairing = Literal["first_round", "tournament"]


class Settings(RoundSettings):
    """Of ``rso``."""

    samples: int = Field(64, ge=2, description="replies drawn for a prompt (k)")
    objective: str = Field("hinge", description="what each round trains with")
    kept: int = Field(8, ge=2, description="replies of a prompt that are kept, at most (n)")
    beta: float = Field(
        0.5,
        gt=0,
        description="of the policy that is imitated in sampling, in units of reward; not the objective's beta",
    )
    accept: Accept = Field("without_replacement", description="the paper's rule, or the exact one")
    bound: float | None = Field(
        None,
        description="with accept=exact: the highest reward there can be (1 for rules), in units of reward",
    )
    pairing: Pairing = Field(
        "first_round",
        description="kept replies in pairs, n/2 of them; or winners go on in a tournament, n-1 pairs",
    )
    labels: Labels = Field(
        "certain",
        description="soft keeps the probability that the chosen reply is better, which psi_po reads",
    )

    @model_validator(mode="after")
    def _bound_and_accept(self) -> Settings:
        if (self.accept == "exact") != (self.bound is not None):
            raise ValueError(
                "accept=exact needs bound, the highest reward there can be, and nothing else takes it"
            )
        if self.kept > self.samples:
            raise ValueError(f"kept={self.kept} replies cannot be of samples={self.samples}")
        return self


def without_replacement(rewards: Sequence[float], n: int, beta: float, rng: np.random.Generator) -> list[int]:
    """Places of the n kept of k replies, in the order in which they were kept (all of them if k <= n).

    Source: algorithm 1 of arXiv 2309.06657 as its code has it; r_max is that of the replies left when a pass begins. Replies of
    the same words are replies of their own, where that code makes them one.
    """
    left = list(range(len(rewards)))
    kept: list[int] = []
    while left and len(kept) < n:
        highest = max(rewards[i] for i in left)
        passed = [i for i in left if rng.random() < math.exp((rewards[i] - highest) / beta)]
        kept += passed[: n - len(kept)]
        left = [i for i in left if i not in set(passed)]
    return kept


def exact(rewards: Sequence[float], n: int, beta: float, bound: float, rng: np.random.Generator) -> list[int]:
    """Places of the replies kept, at most n, in the order in which they were drawn.

    Raises:
        HalignError: if a reward is above the bound.
    """
    if (highest := max(rewards, default=bound)) > bound:
        raise HalignError(f"bound={bound:g} is no bound: a reply has a reward of {highest:g}; raise it")
    kept = [i for i, r in enumerate(rewards) if rng.random() < math.exp((r - bound) / beta)]
    return kept[:n]


def shortlist(group: Group, *, kept: int, beta: float, accept: Accept, bound: float | None) -> list[int]:
    """The kept replies of a group, in random order; the same at every call."""
    rng = np.random.default_rng(group.seed)
    rewards = group.scored()
    if accept == "exact":
        assert bound is not None
        found = exact(rewards, kept, beta, bound, rng)
    else:
        found = without_replacement(rewards, kept, beta, rng)
    return [found[i] for i in rng.permutation(len(found))]


def bracket(
    order: Sequence[int], known: Callable[[int, int], float | None], pairing: Pairing
) -> tuple[list[Pair], list[Pair]]:
    """(pairs whose better one is known, pairs that have to be asked before it can go on). Of a tie the first goes on; who is left
    over goes on without a fight.

    >>> bracket([3, 0, 2, 1], lambda i, j: float(i < j), "tournament")
    ([(3, 0), (2, 1), (0, 1)], [])
    """
    met: list[Pair] = []
    unasked: list[Pair] = []
    while len(order) > 1 and not unasked:
        winners = []
        for i, j in zip(order[::2], order[1::2], strict=False):
            p = known(i, j)
            if p is None:
                unasked.append((i, j))
            else:
                met.append((i, j))
                winners.append(i if p >= 0.5 else j)
        if pairing == "first_round":
            break
        order = [*winners, *order[len(order) // 2 * 2 :]]
    return met, unasked


def to_ask(
    group: Group, *, kept: int, beta: float, accept: Accept, bound: float | None, pairing: Pairing
) -> list[Pair]:
    """The pairs that somebody has to compare next."""
    order = shortlist(group, kept=kept, beta=beta, accept=accept, bound=bound)
    return bracket(order, group.known, pairing)[1]


def rso(
    groups: Sequence[Group],
    *,
    kept: int = 8,
    beta: float = 0.5,
    accept: Accept = "without_replacement",
    bound: float | None = None,
    pairing: Pairing = "first_round",
    labels: Labels = "certain",
) -> Converted[Preference]:
    """Pairs of kept replies, labelled. Pairs of the same words and ties are dropped."""
    dropped: Counter[str] = Counter()
    made = []
    for group in groups:
        order = shortlist(group, kept=kept, beta=beta, accept=accept, bound=bound)
        dropped["replies that were rejected"] += len(group.replies) - len(order)
        pairs, _ = bracket(order, group.known, pairing)
        made += preferences(group, pairs, labels, dropped)
    return Converted(made, {reason: n for reason, n in dropped.items() if n})


LOOP = Rounds(
    "rso",
    "learn pairs drawn as the reward's optimal policy would draw them (rejection sampling)",
    Settings,
    ("reward",),
    rso,
    asks=to_ask,
).loop()
