"""What dialogues would cost, before any call: they are held with stand-ins that ask nobody.

How long dialogues and messages will be is not known. Stand-ins say as much as they may and never end, so dialogues go on to the
most turns, or to where the user would end them whatever is said; of every rule the judge is asked both whether it applies and
whether it is kept. So the estimate is a bound, as good as its count of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from halign.dialogue import Dialogue
from halign.dialogues.account import clients, sampler_of
from halign.dialogues.adversary import Speaker
from halign.dialogues.scenarios import Scenario
from halign.dialogues.talking import Said, Talk, TalkSettings, talk
from halign.errors import HalignError
from halign.judges.guardrail_questions import GuardrailMarks
from halign.llm import Planned
from halign.sampling import Sample


@dataclass(frozen=True)
class Outlook:
    """What is to be expected.

    Attributes:
        dialogues, replies: how many; replies at most, those that there are included.
        planned: side -> its calls, of the sides behind an endpoint.
    """

    dialogues: int
    replies: int
    planned: Mapping[str, Planned]

    def __str__(self) -> str:
        head = f"{self.dialogues:,} dialogues, at most {self.replies:,} replies; all taken to be as long as they may be"
        return "\n".join([head, *(f"{side}: {plan}" for side, plan in self.planned.items())])


def outlook(
    models: Mapping[str, Any],
    user: Speaker,
    scenarios: Sequence[Scenario],
    judge: Any,
    settings: TalkSettings,
    before: Mapping[str, Iterable[Said]],
) -> Outlook:
    """What ``converse`` would call for; nothing is asked or written.

    Args:
        before: model -> the turns that there are.

    Raises:
        HalignError: no side is behind an endpoint.
    """
    planned = {side: Planned() for side in clients(models, user, judge)}
    if not planned:
        raise HalignError("--dry-run has no effect without an endpoint")
    speaker = _without_asking(user, planned.get("user"))
    talks: list[Talk] = []
    for name, sampler in models.items():
        dry = StandIn(sampler, planned.get(f"model {name}"))
        talks += talk(dry, speaker, scenarios, settings, before.get(name, ()))
    if "judge" in planned:
        rules = GuardrailMarks(judge.numbers)
        places = [(t.dialogue, i) for t in talks for i in t.replies]
        asked = [q for d, i in places for q in rules.questions(d[:i], d.messages[i].content)]
        planned["judge"].add(judge.numbers.dry_run(asked))
    return Outlook(len(talks), sum(len(t.replies) for t in talks), planned)


class StandIn:
    """Speaks in place of a sampler, as long as it may.

    Args:
        planned: where the calls are counted; None of a model that is on this machine.
    """

    def __init__(self, sampler: Any, planned: Planned | None) -> None:
        self.sampler, self.planned, self._calls = sampler, planned, 0

    def sample(
        self, prompts: Sequence[Dialogue], *, max_new_tokens: int, **settings: Any
    ) -> list[list[Sample]]:
        """No text twice, since users leave who have nothing new to say, and equal prompts are asked once."""
        if self.planned is not None:
            self.planned.add(self.sampler.dry_run(prompts, max_new_tokens=max_new_tokens, **settings))
        self._calls += 1
        rest = " word" * (max_new_tokens - 1)
        return [[Sample(f"{self._calls}.{i}{rest}")] for i in range(len(prompts))]


def _without_asking(user: Any, planned: Planned | None) -> Any:
    """The user with a stand-in for the model that speaks as it, if one does."""
    if sampler_of(user) is None:
        return user
    dry = copy(user)
    if getattr(user, "sampler", None) is not None:
        dry.sampler = StandIn(user.sampler, planned)
    else:
        dry.base = _without_asking(user.base, planned)
    return dry
