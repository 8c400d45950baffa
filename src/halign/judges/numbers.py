"""Questions with numbered answers, put to a language model: behind an endpoint, or in this process.

Both give the probability of every number: read from the endpoint's log-probabilities or its words (``asking.py``), or
computed, all answers being branches of one trie behind the question. Asked to explain, a model says why before it names a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, Field

from halign.dialogue import Dialogue, Message
from halign.judges.asking import Answer, Read, ask_numbers, planned
from halign.judges.local_answers import answer_logps, asked_as
from halign.judges.questions import number_masses
from halign.llm import Client, Endpoint, Estimate, Failure, Reply, Request

if TYPE_CHECKING:
    from halign.models import Policy
    from halign.sampling.protocol import Progress

SHORT, LONG = 16, 500
"""Longest answers in tokens: of a number in words, of a reason and a number."""

_NUMBER = "\n\nAnswer with one number and nothing else:\n"
_EXPLAINED = "\n\nSay why in one or two sentences, then give the number of your answer:\n"
_REASON = "\n\nSay why in one or two sentences. Do not give the answer yet. The answers will be:\n"


@dataclass(frozen=True)
class Question:
    """Something asked.

    Attributes:
        choices: number -> what it means; whole numbers in a row, within 0 to 10.
        name: what failures call it.
    """

    text: str
    choices: Mapping[int, str]
    name: str = "question"

    @property
    def allowed(self) -> range:
        return range(min(self.choices), max(self.choices) + 1)

    def words(self, ask: str) -> str:
        """The question, how to answer, and the answers."""
        return self.text + ask + "\n".join(f"{k}: {self.choices[k]}" for k in self.allowed)


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        shares: number -> probability, or share of the draws; adds up to 1.
        why: the reason given.
    """

    shares: Answer
    why: str = ""


class Numbers(Protocol):
    """Anything that answers questions with numbers."""

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """What answers depend on."""
        ...

    def ask(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answered | Failure]:
        """One answer per question, in order; a failure says whether an answer came (``answered``)."""
        ...

    def dry_run(self, questions: Sequence[Question]) -> Estimate | None:
        """What ``ask`` would call for; None where nothing is sent anywhere."""
        ...


class Explained(BaseModel):
    """A reason and a number."""

    reason: str = Field(description="why, in one or two sentences")
    answer: int = Field(description="the number of the answer")


class EndpointNumbers:
    """A language model behind an endpoint.

    Args:
        client: a client, or an endpoint for one without a budget.
        explain: ask for a reason before the number, as JSON; the number is then read from words.
        read, samples, seed: as for ``PairwiseLabeller``. One draw takes the likeliest answer.
        max_tokens: longest answer where words are read; None: 16, and 500 with a reason.
    """

    def __init__(
        self,
        client: Client | Endpoint,
        *,
        explain: bool = False,
        read: Read = "auto",
        samples: int = 1,
        max_tokens: int | None = None,
        seed: int = 0,
    ) -> None:
        self.client = Client(client) if isinstance(client, Endpoint) else client
        self.name = self.client.endpoint.model
        self.explain, self.read, self.samples, self.seed = explain, read, samples, seed
        self.max_tokens = max_tokens or (LONG if explain else SHORT)

    @property
    def settings(self) -> dict[str, Any]:
        """What answers depend on."""
        return {
            "kind": "llm",
            "model": self.client.endpoint.model,
            "url": self.client.endpoint.url,
            **{k: getattr(self, k) for k in ("explain", "read", "samples", "max_tokens", "seed")},
        }

    def ask(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answered | Failure]:
        """As ``Numbers``.

        Raises:
            HalignError: as ``Client.ask``.
        """
        if self.explain:
            return self._explained(questions, progress)
        found: dict[int, Answered | Failure] = {}
        for allowed in dict.fromkeys(q.allowed for q in questions):
            places = [i for i, q in enumerate(questions) if q.allowed == allowed]
            asked = ask_numbers(
                self.client,
                [self._request(questions[i]) for i in places],
                allowed,
                partial(number_masses, allowed=allowed),
                read=self.read,
                samples=self.samples,
                seed=self.seed,
                progress=progress,
            )
            for i, answer in zip(places, asked.answers, strict=True):
                found[i] = replace(answer, index=i) if isinstance(answer, Failure) else Answered(answer)
        return [found[i] for i in range(len(questions))]

    def dry_run(self, questions: Sequence[Question]) -> Estimate:
        """What ``ask`` would call for; nothing is sent."""
        if self.explain:
            return self.client.dry_run(self._reasons(questions), schema=Explained)
        requests = [self._request(q) for q in questions]
        return planned(self.client, requests, read=self.read, samples=self.samples, seed=self.seed)

    def _request(self, question: Question) -> Request:
        return Request.of(question.words(_NUMBER), max_tokens=self.max_tokens, name=question.name)

    def _reasons(self, questions: Sequence[Question]) -> list[Request]:
        """``samples`` requests for each question."""
        heat = 0.0 if self.samples == 1 else 1.0
        asked = [
            Request.of(q.words(_EXPLAINED), max_tokens=self.max_tokens, temperature=heat, name=q.name)
            for q in questions
        ]
        return [r.drawn(self.seed, s) for r in asked for s in range(self.samples)]

    def _explained(
        self, questions: Sequence[Question], progress: Progress | None
    ) -> list[Answered | Failure]:
        found = self.client.ask(self._reasons(questions), schema=Explained, progress=progress)
        groups = [found[i : i + self.samples] for i in range(0, len(found), self.samples)]
        return [_shares(i, q, group) for i, (q, group) in enumerate(zip(questions, groups, strict=True))]


def _shares(index: int, question: Question, drawn: Sequence[Reply | Failure]) -> Answered | Failure:
    said: list[Explained] = [
        r.value for r in drawn if isinstance(r, Reply) and r.value.answer in question.allowed
    ]
    if said:
        numbers = [s.answer for s in said]
        return Answered({k: numbers.count(k) / len(numbers) for k in set(numbers)}, said[0].reason)
    for answer in drawn:
        if isinstance(answer, Failure):
            return replace(answer, index=index)
    named = ", ".join(str(r.value.answer) for r in drawn if isinstance(r, Reply))
    return Failure(
        index, question.name, f"the judge answered {named}, which is none of the answers", answered=True
    )


class LocalNumbers:
    """A language model in this process. All answers are branches of one trie behind the question; questions that begin alike
    share their reading.

    Args:
        policy: from ``halign.load``.
        explain: let the model say why first (its likeliest words), then name a number.
        least_mass: of the probability, how much must lie on the answers; below it the answer counts as one that cannot be read.
            0 takes it all the same.
        max_tokens: longest reason.
        options: of ``halign.logps`` (``max_tokens`` as ``pack_tokens``, ``dtype``, ``separate``).
    """

    def __init__(
        self,
        policy: Policy,
        *,
        explain: bool = False,
        least_mass: float = 0.01,
        max_tokens: int = 120,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self.policy, self.explain, self.least_mass, self.max_tokens = policy, explain, least_mass, max_tokens
        self.name = name or str(policy.path)
        self.options = {"max_tokens" if k == "pack_tokens" else k: v for k, v in options.items()}

    @cached_property
    def version(self) -> str:
        """Of the weights: a folder's model may have been trained on since."""
        from halign.models import fingerprint

        return fingerprint(self.policy.model)

    @property
    def settings(self) -> dict[str, Any]:
        """What answers depend on."""
        told = {k: getattr(self, k) for k in ("version", "explain", "least_mass", "max_tokens")}
        return {"kind": "local", "model": str(self.policy.path), **told, **self.options}

    def ask(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answered | Failure]:
        """As ``Numbers``."""
        reasons = self._reasons(questions) if self.explain else [""] * len(questions)
        found: dict[int, Answered | Failure] = {}
        for allowed in dict.fromkeys(q.allowed for q in questions):
            places = [i for i, q in enumerate(questions) if q.allowed == allowed]
            asked = [self._asked(questions[i], reasons[i]) for i in places]
            logps = answer_logps(self.policy, asked, [str(k) for k in allowed], **self.options)
            for i, row in zip(places, logps, strict=True):
                found[i] = self._read(i, questions[i], reasons[i], row)
            if progress:
                progress(len(found), len(questions))
        return [found[i] for i in range(len(questions))]

    def dry_run(self, questions: Sequence[Question]) -> None:
        """Nothing is sent anywhere."""

    def _asked(self, question: Question, reason: str) -> Dialogue:
        if not self.explain:
            return asked_as(self.policy, question.words(_NUMBER))
        before = asked_as(self.policy, question.words(_REASON))
        if before.is_raw:
            return Dialogue.of(
                f"{before.messages[0].content}\n{reason}{question.words(_NUMBER)[len(question.text) :]}"
            )
        last = question.words(_NUMBER)[len(question.text) :].strip()
        return before + Message("assistant", reason) + Message("user", last)

    def _reasons(self, questions: Sequence[Question]) -> list[str]:
        from halign.sampling import TransformersSampler

        asked = [asked_as(self.policy, q.words(_REASON)) for q in questions]
        drawn = TransformersSampler(self.policy).sample(asked, temperature=0, max_new_tokens=self.max_tokens)
        return [samples[0].text.strip() for samples in drawn]

    def _read(self, index: int, question: Question, why: str, logps: Any) -> Answered | Failure:
        mass = float(logps.exp().sum())
        if mass < self.least_mass:
            problem = (
                f"the model gives the answers {question.allowed[0]} to {question.allowed[-1]} a probability of {mass:.2g} "
                f"together, less than {self.least_mass:g}: it does not answer"
            )
            return Failure(index, question.name, problem, answered=True)
        return Answered(dict(zip(question.allowed, logps.softmax(0).tolist(), strict=True)), why)
