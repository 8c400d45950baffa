"""Questions that are answered with yes or no, and the probability of yes: of an endpoint, or of a model in this process.

The answer is asked for as a number, 1 for yes and 2 for no, since a number is one token nearly everywhere and is read by the
same code as other judgements (``asking.py``). Where probabilities are to be had, P(yes) is that of "1" among the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from halign.errors import HalignError
from halign.judges.asking import Read, answered, ask_numbers, planned
from halign.judges.local_answers import answer_logps, asked_as
from halign.judges.questions import number_masses
from halign.llm import Client, Endpoint, Estimate, Failure, Request

if TYPE_CHECKING:
    from halign.models import Policy

_CHOICES = range(1, 3)
_ASK = "\n\nAnswer with one number and nothing else: 1 for yes, 2 for no."


@dataclass(frozen=True, slots=True)
class Chance:
    """The answer to one question.

    Attributes:
        yes: P(yes), in [0, 1].
        keys: of the cached replies that it was read from; none of a model in this process.
    """

    yes: float
    keys: tuple[str, ...] = ()


class YesNo(Protocol):
    """Anything that answers questions with yes or no."""

    def ask(self, questions: Sequence[str]) -> list[Chance | Failure]:
        """One answer per question, in order."""
        ...


class EndpointYesNo:
    """A language model behind an endpoint.

    Args:
        client: a client, or an endpoint for one without a budget.
        read, samples, max_tokens, seed: as for ``PairwiseLabeller``.
    """

    def __init__(
        self,
        client: Client | Endpoint,
        *,
        read: Read = "auto",
        samples: int = 1,
        max_tokens: int = 16,
        seed: int = 0,
    ) -> None:
        self.client = Client(client) if isinstance(client, Endpoint) else client
        self.read, self.samples, self.max_tokens, self.seed = read, samples, max_tokens, seed

    def ask(self, questions: Sequence[str]) -> list[Chance | Failure]:
        """P(yes) of each.

        Raises:
            HalignError: as ``Client.ask``.
        """
        asked = self.requests(questions)
        found = ask_numbers(
            self.client,
            asked,
            _CHOICES,
            partial(number_masses, allowed=_CHOICES),
            read=self.read,
            samples=self.samples,
            seed=self.seed,
        )
        keys = answered(self.client, asked, samples=self.samples, seed=self.seed)
        return [
            a if isinstance(a, Failure) else Chance(a.get(1, 0.0), k)
            for a, k in zip(found.answers, keys, strict=True)
        ]

    def dry_run(self, questions: Sequence[str]) -> Estimate:
        """What ``ask`` would call for; nothing is sent."""
        return planned(
            self.client, self.requests(questions), read=self.read, samples=self.samples, seed=self.seed
        )

    def requests(self, questions: Sequence[str]) -> list[Request]:
        """The questions as they are sent, but for how they are read."""
        return [
            Request.of(q + _ASK, max_tokens=self.max_tokens, name=f"question {i}")
            for i, q in enumerate(questions)
        ]


class LocalYesNo:
    """A language model in this process. Both answers are branches of one trie behind the question.

    Args:
        policy: from ``halign.load``.
        least_mass: of the probability, how much must lie on the two answers; below it the model does not answer, and what it
            would say if it had to is noise. 0 takes it all the same.
        options: of ``path_logps`` (``max_tokens``, ``dtype``).
    """

    def __init__(self, policy: Policy, *, least_mass: float = 0.01, **options: Any) -> None:
        self.policy, self.least_mass, self.options = policy, least_mass, options

    def ask(self, questions: Sequence[str]) -> list[Chance | Failure]:
        """P(yes) of each: exp of the log-probability of "1" and the turn's end, over that plus "2"'s.

        Raises:
            HalignError: if the model does not answer with either (see ``least_mass``).
        """
        if not questions:
            return []
        asked = [asked_as(self.policy, q + _ASK) for q in questions]
        found = answer_logps(self.policy, asked, ("1", "2"), **self.options)
        mass = found.exp().sum(1)
        low = (mass < self.least_mass).nonzero().flatten().tolist()
        if low:
            raise HalignError(
                f"judge: to question {low[0]} this model gives the answers 1 and 2 a probability of {float(mass[low[0]]):.2g} "
                f"together, less than {self.least_mass:g} ({len(low)} of {len(questions)} questions): it does not answer. Take a "
                "model that follows instructions, or leave the judge out"
            )
        return [Chance(p) for p in found.softmax(1)[:, 0].tolist()]
