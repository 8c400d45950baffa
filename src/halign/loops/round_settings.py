"""What every loop of rounds can be told, and the training that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from halign.config import RunConfig, resolve
from halign.convert import as_kind
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Demonstration, Example, Preference, Ranking
from halign.loops.contract import LoopSettings
from halign.prepare import item_kinds

Labels = Literal["certain", "soft"]
"""What becomes of P(chosen beats rejected): 1, or kept as it is (``Preference.preference``)."""

_PROMPT = Dialogue((Message("user", "?"),))
_REPLIES = (Message("assistant", "a"), Message("assistant", "b"))
MADE: dict[str, Example] = {
    "demonstrations": Demonstration(_PROMPT + _REPLIES[0], "c"),
    "pairs": Preference(_PROMPT, *_REPLIES, "c"),
    "rankings": Ranking(_PROMPT, _REPLIES, (1, 2), "c", (1.0, 0.0)),
}
"""What a loop makes, each with an example of it."""


class RoundSettings(LoopSettings):
    """Rounds of sampling, judging, building and training. A loop's own settings are a subclass."""

    makes: ClassVar[str] = "pairs"
    training: ClassVar[Mapping[str, Any]] = {}
    """Training settings of the loop's own objective that differ from training's defaults."""

    rounds: int = Field(1, ge=1, description="times that the policy is sampled and trained")
    prompts: int | None = Field(
        None, ge=1, description="prompts of a round, no one twice before all have had their turn; unset: all"
    )
    objective: str = Field(
        "dpo", description="what each round trains with; a mixture such as dpo+0.2*sft too"
    )
    train: dict[str, Any] = Field(
        default_factory=dict, description="settings of each round's training run, the objective's included"
    )
    start: Literal["previous", "first"] = Field(
        "previous",
        description="the model that a round's training starts from, and its reference: the previous round's, or the one that "
        "the loop was given",
    )
    mix: int = Field(0, ge=0, description="earlier rounds whose examples are trained on again")
    chunk: int = Field(
        16, ge=1, description="prompts that are sampled or judged before they are written down"
    )
    eval_prompts: int = Field(
        100, ge=1, description="held-out prompts that are answered after each round, at most"
    )

    def made(self) -> str:
        """What the loop makes with these settings: a key of ``MADE``."""
        return self.makes

    def config(self) -> RunConfig:
        """The training run of every round, checked.

        Raises:
            HalignError: for settings that training would refuse, or that do not go with what the loop makes.
        """
        own = type(self).model_fields["objective"].default == self.objective
        given = {"seed": self.seed, **(self.training if own else {}), **self.train}
        config = resolve(self.objective, given)
        if config.reads_values or config.rewrites:
            what = "trains a reward model" if config.reads_values else "rewrites its data"
            raise HalignError(
                f"objective={self.objective} {what}; a loop trains the policy on what it sampled"
            )
        if config.train.adapter == "adalora" and self.rounds > 1:
            raise HalignError(
                "adapter=adalora moves its ranks in one run; with rounds above 1 use adapter=lora"
            )
        if config.train.eval_share:
            raise HalignError("eval_share: give held-out examples to the loop instead; it asks their prompts")
        example = MADE[self.made()]
        for kind in item_kinds(config):
            how = config.train.pairs if kind in ("pairs", "singles") else None
            try:
                as_kind([example], kind, how, config.train.threshold if kind == "singles" else None)
            except HalignError as error:
                raise HalignError(
                    f"objective={self.objective} does not learn from {self.made()}, which this loop makes: {error}"
                ) from None
        soft = getattr(self, "labels", "certain") == "soft"
        if soft and not all(o.reads_preference for o, _ in config.objectives if o.kind == "pairs"):
            raise HalignError(
                f"labels=soft would have no effect: {self.objective} reads no soft preferences; psi_po does"
            )
        return config
