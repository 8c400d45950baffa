"""What a loop is: a name, settings, what it has to be given, and a function that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from halign.examples import Example

if TYPE_CHECKING:
    from halign.models import Policy
    from halign.rewards.protocol import Preferences, Reward
    from halign.training import Run

Need = Literal["reward", "preferences", "responses"]
"""What a loop cannot do without: numbers for replies, which of two is better, or responses in the data."""


class LoopSettings(BaseModel):
    """What every loop can be told. A loop's own settings are a subclass; each field says what it means, in its units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="for prompts, draws and order")
    samples: int = Field(4, ge=1, description="replies drawn for a prompt")
    temperature: float = Field(1.0, gt=0, description="of the draws; 1 is the model itself")
    top_p: float = Field(1.0, gt=0, le=1, description="keep the likeliest tokens up to this probability")
    max_new_tokens: int = Field(200, ge=1, description="longest reply, in tokens")


@dataclass(frozen=True)
class Task:
    """One run of a loop.

    Attributes:
        policy: what is trained; its weights are changed.
        examples: prompts are taken from them (a conversation gives one per agent turn); responses, where the loop needs some.
        settings: of the loop's own class.
        output: the run's folder (``RunFolder``): config.yaml, metrics.jsonl, model/, done.
        evaluation: held-out examples; their prompts are answered and graded as the loop goes.
        record: more to keep in config.yaml (where model, data and reward came from).
    """

    policy: Policy
    examples: Sequence[Example]
    settings: Any
    output: Path
    reward: Reward | None = None
    preferences: Preferences | None = None
    evaluation: Sequence[Example] | None = None
    overwrite: bool = False
    quiet: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loop:
    """A loop by name.

    Attributes:
        about: one line for ``halign run --help``.
        run: does it; a call on an unfinished output goes on where it stopped, on a finished one does nothing.
    """

    name: str
    about: str
    settings: type[LoopSettings]
    needs: tuple[Need, ...]
    run: Callable[[Task], Run]
