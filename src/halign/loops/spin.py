"""Self-play fine-tuning: tell the data's responses from the policy's own (Chen et al. 2024, arXiv 2401.01335).

No reward, no preferences, no judge. Iteration t samples the model of iteration t-1, takes the data's responses for chosen and its
replies for rejected, and trains from that model, which is the reference too. As published, the examples of the previous
iteration are mixed in (``mix=1``). At the optimum the policy's replies are drawn as the data is, and there is nothing left to
tell apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from halign.convert import Converted
from halign.examples import Preference
from halign.loops.groups import OWN, Group
from halign.loops.pairs import SAME
from halign.loops.round_settings import RoundSettings
from halign.loops.rounds import Rounds


class Settings(RoundSettings):
    """Of ``spin``."""

    rounds: int = Field(
        3, ge=1, description="times that the policy is sampled and trained (its iterations 0, 1 ...)"
    )
    samples: int = Field(1, ge=1, description="replies drawn for a prompt; each makes a pair")
    objective: str = Field("spin", description="what each round trains with")
    mix: int = Field(1, ge=0, description="earlier rounds whose examples are trained on again")


def spin(groups: Sequence[Group]) -> Converted[Preference]:
    """Every reply of the policy as the rejected one beside the data's response. A reply in the response's words is no pair."""
    dropped: Counter[str] = Counter()
    made = []
    for group in groups:
        for k in range(len(group.replies)):
            if group.words(k) == group.words(OWN):
                dropped[SAME] += 1
                continue
            made.append(Preference(group.prompt, group.message(OWN), group.message(k), group.conversation))
    return Converted(made, dict(dropped))


LOOP = Rounds(
    "spin", "tell the data's responses from the policy's own (self-play)", Settings, ("responses",), spin
).loop()
