"""Learning from a feedback set: its responses against the model's own (seed 000, flow 2).

The model answers the prompts of the feedback set. Where the judge finds the set's response better than the model's, the two make
a pair, chosen and rejected; the rest is dropped, and counted. Then the model is aligned on the pairs (``ipo`` by default, or
``kto_pair`` ...). It differs from ``spin`` in the judge, without whom a response that is no better would still be chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from halign.convert import Converted
from halign.examples import Preference
from halign.loops.groups import OWN, Group, Pair
from halign.loops.pairs import SAME
from halign.loops.round_settings import Labels, RoundSettings
from halign.loops.rounds import Rounds


class Settings(RoundSettings):
    """Of ``feedback``."""

    samples: int = Field(1, ge=1, description="replies drawn for a prompt; each may make a pair")
    objective: str = Field("ipo", description="what each round trains with")
    labels: Labels = Field(
        "certain",
        description="soft keeps the probability that the set's response is better, which psi_po reads",
    )
    above: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="a pair counts if the set's response is better with more than this probability",
    )


def against_own(group: Group) -> list[Pair]:
    """The data's response with each reply of the policy."""
    return [(OWN, k) for k in range(len(group.replies)) if group.words(k) != group.words(OWN)]


def feedback(
    groups: Sequence[Group], *, labels: Labels = "certain", above: float = 0.5
) -> Converted[Preference]:
    """The data's response chosen and the policy's reply rejected, where P(chosen is better) > ``above``."""
    dropped: Counter[str] = Counter()
    made = []
    for group in groups:
        dropped[SAME] += len(group.replies) - len(against_own(group))
        for own, k in against_own(group):
            p = group.preference(own, k)
            if p <= above:
                dropped["replies that the response is not better than"] += 1
                continue
            made.append(
                Preference(
                    group.prompt,
                    group.message(own),
                    group.message(k),
                    group.conversation,
                    preference=p if labels == "soft" else 1.0,
                )
            )
    return Converted(made, {reason: n for reason, n in dropped.items() if n})


LOOP = Rounds(
    "feedback",
    "a feedback set's responses against the policy's own, where the judge finds them better",
    Settings,
    ("preferences", "responses"),
    feedback,
    asks=against_own,
).loop()
