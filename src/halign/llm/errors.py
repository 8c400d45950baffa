"""What can go wrong with one prompt, and what stops a whole job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.llm.request import Reply


@dataclass(frozen=True, slots=True)
class Failure:
    """One prompt that got no usable answer; it stands in the list of answers where the reply would.

    Attributes:
        index: place among the requests.
        prompt: the request's name, or the beginning of its last message.
        problem: what went wrong and what helps.
        status: the HTTP status of a refusal, or None.
        answered: True if an answer came that is of no use (not in the form asked for); False if none came.
    """

    index: int
    prompt: str
    problem: str
    status: int | None = None
    answered: bool = False

    def __str__(self) -> str:
        return f"prompt {self.index} ({self.prompt}): {self.problem}"


Answers = Sequence["Reply | Failure | None"]


class Stopped(HalignError):
    """The job ended before every prompt was answered; what had been answered is in the cache.

    Attributes:
        answers: one entry per request: a reply, a failure, or None where nothing was asked any more.
    """

    def __init__(self, problem: str, answers: Answers = ()) -> None:
        super().__init__(problem)
        self.problem, self.answers = problem, answers

    def __str__(self) -> str:
        if not self.answers:
            return self.problem
        failed = sum(isinstance(a, Failure) for a in self.answers)
        left = sum(a is None for a in self.answers)
        done = len(self.answers) - failed - left
        counts = f"{done} of {len(self.answers)} prompts are answered, {failed} failed, {left} are left"
        return f"{self.problem} {counts}: run the same again to go on; what is answered costs nothing then."


class BudgetSpent(Stopped):
    """The next call could have cost more than the budget has left."""


class EndpointRefused(Stopped):
    """The endpoint takes no request like this from us: wrong key, wrong model name, wrong address, empty account."""


class EndpointDown(Stopped):
    """Many prompts in a row failed: asking the others would be a waste of time."""


class ItemsFailed(HalignError):
    """Some prompts got no usable answer. The others' replies are in the cache (and in ``answers``)."""

    def __init__(self, failures: Sequence[Failure], answers: Answers) -> None:
        self.failures, self.answers = list(failures), answers
        shown = "\n".join(f"  {f}" for f in self.failures[:5])
        more = f"\n  and {len(self.failures) - 5} more" if len(self.failures) > 5 else ""
        super().__init__(
            f"{len(self.failures)} of {len(answers)} prompts got no usable answer (the others' replies are kept; "
            f"the same call asks only these again):\n{shown}{more}"
        )


class ItemError(Exception):
    """Inside the client: this prompt fails, the others go on."""

    def __init__(self, problem: str, status: int | None = None, answered: bool = False) -> None:
        super().__init__(problem)
        self.problem, self.status, self.answered = problem, status, answered


def all_answered(answers: Sequence[Reply | Failure]) -> list[Reply]:
    """The replies, if there are no failures among them.

    Raises:
        ItemsFailed: names the prompts that failed.
    """
    failures = [a for a in answers if isinstance(a, Failure)]
    if failures:
        raise ItemsFailed(failures, answers)
    return [a for a in answers if not isinstance(a, Failure)]
