"""Scores from 1 to 10 by a language model (RLAIF's direct variant): the mean under the probabilities of the score's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.asking import Read, answered, ask_numbers, planned
from halign.judges.questions import CRITERIA, SCORE_TEMPLATE, expectation, filled, number_masses, transcript
from halign.llm import Client, Endpoint, Estimate, Failure, Request

if TYPE_CHECKING:
    from halign.sampling.protocol import Progress

SCORES = range(1, 11)
"""What may be answered to SCORE_TEMPLATE."""


@dataclass(frozen=True)
class Scores:
    """Scores within the scale, one per reply, in order; a failure where there was no answer.

    Attributes:
        by_logprobs, by_samples: how many were read from probabilities, and from words.
    """

    scores: list[float | Failure]
    by_logprobs: int
    by_samples: int

    def __str__(self) -> str:
        found = [s for s in self.scores if not isinstance(s, Failure)]
        mean = f"mean {sum(found) / len(found):.2f}" if found else "no score"
        failed = len(self.scores) - len(found)
        read = f"from probabilities: {self.by_logprobs}, from words: {self.by_samples}"
        return f"{len(found)} scores, {mean}, {failed} failed; {read}"


class DirectScorer:
    """Asks a language model to grade one reply at a time.

    Arguments as in ``PairwiseLabeller``; the template is over ``criteria``, ``conversation`` and ``reply``, and the answer must
    be a whole number of ``scale``, 1 to 10 unless the template asks for others (0 to 10 at most).

    Where words are read, one draw is a whole number; ``samples`` is therefore 8.
    """

    def __init__(
        self,
        client: Client | Endpoint,
        *,
        criteria: str = CRITERIA,
        template: str = SCORE_TEMPLATE,
        scale: range = SCORES,
        read: Read = "auto",
        samples: int = 8,
        max_tokens: int = 16,
        seed: int = 0,
    ) -> None:
        self.client = Client(client) if isinstance(client, Endpoint) else client
        self.criteria, self.template = criteria, template
        self.read, self.samples, self.max_tokens, self.seed = read, samples, max_tokens, seed
        if not scale or scale.step != 1 or scale[0] < 0 or scale[-1] > 10:
            raise HalignError(f"judge: scale = {scale} is out of range (whole numbers within 0 to 10)")
        self.scale = scale

    def score(
        self, prompts: Sequence[Dialogue], replies: Sequence[str], *, progress: Progress | None = None
    ) -> Scores:
        """One score per reply: the expectation, not the likeliest number.

        Raises:
            HalignError: as ``Client.ask``; the sequences differ in length.
        """
        asked = ask_numbers(
            self.client,
            self.questions(prompts, replies),
            self.scale,
            partial(number_masses, allowed=self.scale),
            read=self.read,
            samples=self.samples,
            seed=self.seed,
            progress=progress,
        )
        scores = [a if isinstance(a, Failure) else expectation(a) for a in asked.answers]
        return Scores(scores, asked.by_logprobs, asked.by_samples)

    def dry_run(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> Estimate:
        """What ``score`` would call for; nothing is sent."""
        questions = self.questions(prompts, replies)
        return planned(self.client, questions, read=self.read, samples=self.samples, seed=self.seed)

    def reply_keys(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[tuple[str, ...]]:
        """Cache keys of the endpoint's answers that there are to each question, however it was read."""
        questions = self.questions(prompts, replies)
        return answered(self.client, questions, samples=self.samples, seed=self.seed)

    def questions(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[Request]:
        """One request per reply, before it is settled how the answer is read."""
        if len(prompts) != len(replies):
            raise HalignError(
                f"judge: {len(prompts)} prompts and {len(replies)} replies; one of each is needed"
            )
        words = [
            filled(self.template, criteria=self.criteria, conversation=transcript(p), reply=r)
            for p, r in zip(prompts, replies, strict=True)
        ]
        return [Request.of(w, max_tokens=self.max_tokens, name=f"reply {i}") for i, w in enumerate(words)]
