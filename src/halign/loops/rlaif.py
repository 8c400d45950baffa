"""Preferences by a language model, on the policy's own replies (RLAIF: Lee et al. 2023, arXiv 2309.00267; on-policy as in
Guo et al. 2024, arXiv 2402.04792).

What ``online_dpo`` does, with soft labels: each pair is asked in both orders, and the mean of the two probabilities is what is
learnt (``psi_po`` with psi=logit and tau .1: DPO by cross-entropy). Replies of an endpoint are cached as they come, so a run that
was killed or whose budget was spent goes on without paying twice.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from halign.loops.groups import every_pair
from halign.loops.online_dpo import Settings as PairSettings
from halign.loops.online_dpo import online_dpo
from halign.loops.round_settings import Labels
from halign.loops.rounds import Rounds


class Settings(PairSettings):
    """Of ``rlaif``."""

    training: ClassVar = {"psi": "logit"}

    objective: str = Field("psi_po", description="what each round trains with")
    labels: Labels = Field(
        "soft", description="soft keeps the mean probability of both orders, which psi_po reads"
    )


LOOP = Rounds(
    "rlaif",
    "sample pairs, ask a language model, learn its probabilities",
    Settings,
    ("preferences",),
    online_dpo,
    asks=every_pair,
).loop()
