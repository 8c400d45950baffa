"""Preferences by a language model (RLAIF, arXiv 2309.00267): asked in both orders, kept as probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Preference
from halign.judges.asking import Answer, Read, ask_numbers, planned
from halign.judges.questions import CRITERIA, PAIR_TEMPLATE, filled, number_masses, transcript
from halign.llm import Client, Endpoint, Estimate, Failure, Request

if TYPE_CHECKING:
    from halign.sampling.protocol import Progress

_CHOICES = range(1, 3)


@dataclass(frozen=True, slots=True)
class Label:
    """One pair, judged in both orders.

    Attributes:
        first, second: P(a is better), asked with a as the first reply and with a as the second; in [0, 1].
    """

    first: float
    second: float

    @property
    def preference(self) -> float:
        """P(a is better), the mean of both orders.

        >>> Label(1.0, 0.5).preference
        0.75
        """
        return (self.first + self.second) / 2

    @property
    def agrees(self) -> bool:
        """False if the two orders prefer different replies."""
        return (self.first - 0.5) * (self.second - 0.5) >= 0


@dataclass(frozen=True)
class Labels:
    """The labels of some pairs; print it to see how far they are to be trusted.

    Attributes:
        labels: one per pair, in order; a failure where either order got no answer.
        by_logprobs, by_samples: questions whose answer was read from probabilities, and from words.
    """

    labels: list[Label | Failure]
    by_logprobs: int
    by_samples: int

    @property
    def judged(self) -> list[Label]:
        """Those that are no failures."""
        return [label for label in self.labels if isinstance(label, Label)]

    @property
    def disagreement(self) -> float:
        """Share of the judged pairs on which the two orders prefer different replies; 0 where there are none."""
        judged = self.judged
        return sum(not label.agrees for label in judged) / len(judged) if judged else 0.0

    @property
    def position_bias(self) -> float:
        """Mean P(the reply shown first is better) - 1/2, in [-1/2, 1/2]; 0 for a judge that is blind to order."""
        judged = self.judged
        return sum(label.first - label.second for label in judged) / (2 * len(judged)) if judged else 0.0

    def preferences(
        self,
        prompts: Sequence[Dialogue],
        a: Sequence[str | Message],
        b: Sequence[str | Message],
        conversations: Sequence[str] | None = None,
    ) -> list[Preference]:
        """The judged pairs as examples, the better reply chosen, with ``preference`` in [1/2, 1]. Failures are left out.

        Args:
            conversations: where each prompt comes from; None: its ``meta["conversation"]``, else its place.
        """
        names = conversations or [str(p.meta.get("conversation", i)) for i, p in enumerate(prompts)]
        made = []
        for prompt, x, y, name, label in zip(prompts, a, b, names, self.labels, strict=True):
            if isinstance(label, Failure):
                continue
            chosen, rejected, p = (
                (x, y, label.preference) if label.preference >= 0.5 else (y, x, 1 - label.preference)
            )
            made.append(Preference(prompt, _message(chosen), _message(rejected), name, preference=p))
        return made

    def __str__(self) -> str:
        failed = len(self.labels) - len(self.judged)
        return (
            f"{len(self.judged)} pairs judged in both orders, {failed} failed; the orders disagree on {self.disagreement:.1%}; "
            f"the reply shown first is favoured by {self.position_bias:+.3f}; answers read from probabilities: "
            f"{self.by_logprobs}, from words: {self.by_samples}"
        )


class PairwiseLabeller:
    """Asks a language model which of two replies is better.

    Args:
        client: a client, or an endpoint for one without a budget.
        criteria: what counts, in words.
        template: Jinja over ``criteria``, ``conversation``, ``first`` and ``second``; the answer must be 1 or 2.
        read: ``logprobs`` takes the probabilities of the two numbers; ``samples`` takes words; ``auto`` finds out which the
            endpoint can do.
        samples: draws per question where words are read; 1 takes the likeliest answer.
        max_tokens: longest answer where words are read; more for models that think first.
        seed: for the draws.
    """

    def __init__(
        self,
        client: Client | Endpoint,
        *,
        criteria: str = CRITERIA,
        template: str = PAIR_TEMPLATE,
        read: Read = "auto",
        samples: int = 1,
        max_tokens: int = 16,
        seed: int = 0,
    ) -> None:
        self.client = Client(client) if isinstance(client, Endpoint) else client
        self.criteria, self.template = criteria, template
        self.read, self.samples, self.max_tokens, self.seed = read, samples, max_tokens, seed

    def label(
        self,
        prompts: Sequence[Dialogue],
        a: Sequence[str | Message],
        b: Sequence[str | Message],
        *,
        progress: Progress | None = None,
    ) -> Labels:
        """P(a is better) for each pair, from two questions.

        Raises:
            HalignError: as ``Client.ask``; the sequences differ in length.
        """
        asked = ask_numbers(
            self.client,
            self.questions(prompts, a, b),
            _CHOICES,
            partial(number_masses, allowed=_CHOICES),
            read=self.read,
            samples=self.samples,
            seed=self.seed,
            progress=progress,
        )
        ways = zip(asked.answers[: len(prompts)], asked.answers[len(prompts) :], strict=True)
        labels = [_label(i, forward, backward) for i, (forward, backward) in enumerate(ways)]
        return Labels(labels, asked.by_logprobs, asked.by_samples)

    def dry_run(
        self, prompts: Sequence[Dialogue], a: Sequence[str | Message], b: Sequence[str | Message]
    ) -> Estimate:
        """What ``label`` would call for; nothing is sent."""
        questions = self.questions(prompts, a, b)
        return planned(self.client, questions, read=self.read, samples=self.samples, seed=self.seed)

    def questions(
        self, prompts: Sequence[Dialogue], a: Sequence[str | Message], b: Sequence[str | Message]
    ) -> list[Request]:
        """All pairs with a first, then all with b first."""
        if not len(prompts) == len(a) == len(b):
            raise HalignError(
                f"judge: {len(prompts)} prompts, {len(a)} and {len(b)} replies; one of each is needed per pair"
            )
        forward = [self._question(i, *pair) for i, pair in enumerate(zip(prompts, a, b, strict=True))]
        return forward + [self._question(i, *pair) for i, pair in enumerate(zip(prompts, b, a, strict=True))]

    def _question(self, index: int, prompt: Dialogue, first: str | Message, second: str | Message) -> Request:
        words = {"conversation": transcript(prompt), "first": _text(first), "second": _text(second)}
        asked = filled(self.template, criteria=self.criteria, **words)
        return Request.of(asked, max_tokens=self.max_tokens, name=f"pair {index}")


def _label(index: int, forward: Answer | Failure, backward: Answer | Failure) -> Label | Failure:
    for answer in (forward, backward):
        if isinstance(answer, Failure):
            return replace(answer, index=index)
    assert isinstance(forward, dict)
    assert isinstance(backward, dict)
    return Label(forward.get(1, 0.0), backward.get(2, 0.0))


def _text(reply: str | Message) -> str:
    return reply if isinstance(reply, str) else reply.content


def _message(reply: str | Message) -> Message:
    return Message("assistant", reply) if isinstance(reply, str) else reply
