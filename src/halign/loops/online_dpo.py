"""Online (iterative) DPO: sample two replies, say which is better, learn it, sample again (Guo et al. 2024, arXiv 2402.04792).

There a judge labels every batch as the policy goes; here a round labels ``prompts`` of them, trains on all, and goes on from the
model that came out, which is the next round's reference (as in Xu et al. 2023, arXiv 2312.16682). Any objective on pairs will do:
``objective=ipo``, ``slic`` ... are that paper's other two. ``start=first mix=9`` trains every round from the first model, which
then is the reference throughout, on all that was labelled so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from halign.convert import Converted
from halign.examples import Preference
from halign.loops.groups import Group, every_pair
from halign.loops.pairs import TIES, extremes, preferences
from halign.loops.round_settings import Labels, RoundSettings
from halign.loops.rounds import Rounds

Which = Literal["best_worst", "all"]


class Settings(RoundSettings):
    """Of ``online_dpo``."""

    rounds: int = Field(3, ge=1, description="times that the policy is sampled and trained")
    samples: int = Field(2, ge=2, description="replies drawn for a prompt")
    which: Which = Field(
        "best_worst",
        description="pairs of a prompt: the reply that wins most with the one that wins least, or all",
    )
    labels: Labels = Field(
        "certain",
        description="soft keeps the probability that the chosen reply is better, which psi_po reads",
    )
    at_least: float = Field(
        0.5,
        ge=0.5,
        le=1,
        description="least probability that the chosen reply is better, for a pair to count",
    )


def online_dpo(
    groups: Sequence[Group], *, which: Which = "best_worst", labels: Labels = "certain", at_least: float = 0.5
) -> Converted[Preference]:
    """Pairs of the policy's own replies. Pairs of the same words, ties, and those less sure than ``at_least`` are dropped."""
    dropped: Counter[str] = Counter()
    made = []
    for group in groups:
        pairs = every_pair(group)
        if which == "best_worst":
            found = extremes(group.win_rates())
            dropped[TIES] += found is None
            pairs = [found] if found else []
        made += preferences(group, pairs, labels, dropped, at_least)
    return Converted(made, {reason: n for reason, n in dropped.items() if n})


LOOP = Rounds(
    "online_dpo",
    "sample pairs, have them judged, learn which is better",
    Settings,
    ("preferences",),
    online_dpo,
    asks=every_pair,
).loop()
