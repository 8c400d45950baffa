"""Self-play preference optimisation (Wu et al. 2024, arXiv 2405.00675).

Each round draws K replies to every prompt, asks for each pair which is better, and gives every reply the mean probability of
beating the K, itself included at one half. The log-ratio to the round's starting model is then drawn to (win rate - 1/2) / beta:
of the best and the worst reply (``best_worst``, as in the released code, objective ``sppo``) or of all (``all``, the paper's
text, objective ``sppo_all``). On short replies the targets at the published beta of .001 lie out of reach; see the objective.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from halign.convert import Converted
from halign.examples import Example, Preference, Ranking
from halign.loops.groups import Group, every_pair
from halign.loops.pairs import extremes
from halign.loops.round_settings import RoundSettings
from halign.loops.rounds import Rounds

Replies = Literal["best_worst", "all"]
TIE = "prompts whose replies win alike"


class Settings(RoundSettings):
    """Of ``sppo``."""

    rounds: int = Field(3, ge=1, description="times that the policy is sampled and trained")
    samples: int = Field(5, ge=2, description="replies drawn for a prompt")
    objective: str = Field("sppo", description="what each round trains with; sppo_all with replies=all")
    replies: Replies = Field("best_worst", description="whose win rates are learnt: the two extremes, or all")

    def made(self) -> str:
        """Pairs, or rankings by win rate."""
        return "pairs" if self.replies == "best_worst" else "rankings"


def sppo(groups: Sequence[Group], *, replies: Replies = "best_worst") -> Converted[Example]:
    """Pairs with both win rates, or rankings whose scores are win rates. Replies of the same words are learnt once."""
    dropped: Counter[str] = Counter()
    make = _pair if replies == "best_worst" else _ranking
    made = [example for group in groups if (example := make(group, dropped)) is not None]
    return Converted(made, dict(dropped))


def _pair(group: Group, dropped: Counter[str]) -> Preference | None:
    rates = group.win_rates()
    found = extremes(rates)
    if found is None:
        dropped[TIE] += 1
        return None
    best, worst = found
    return Preference(
        group.prompt,
        group.message(best),
        group.message(worst),
        group.conversation,
        chosen_win_rate=rates[best],
        rejected_win_rate=rates[worst],
    )


def _ranking(group: Group, dropped: Counter[str]) -> Ranking | None:
    rates = group.win_rates()
    distinct = list({group.words(k): k for k in reversed(range(len(rates)))}.values())
    dropped["replies that were drawn twice"] += len(rates) - len(distinct)
    if not dropped["replies that were drawn twice"]:
        del dropped["replies that were drawn twice"]
    order = sorted(distinct, key=lambda k: (-rates[k], k))
    scores = tuple(rates[k] for k in order)
    if scores[0] == scores[-1]:
        dropped[TIE] += 1
        return None
    ranks = tuple(1 + sum(other > score for other in scores) for score in scores)
    return Ranking(group.prompt, tuple(map(group.message, order)), ranks, group.conversation, scores)


LOOP = Rounds(
    "sppo",
    "draw every reply to how often it beats the others (self-play)",
    Settings,
    ("preferences",),
    sppo,
    asks=every_pair,
).loop()
