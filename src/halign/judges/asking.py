"""Numbers asked of an endpoint: from the probabilities of the answer's tokens where it gives them, else from draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from halign.errors import HalignError
from halign.judges.questions import first_words, number_in
from halign.llm import Client, Estimate, Failure, Reply, Request, TokenChoices
from halign.llm.cache import ReplyCache

if TYPE_CHECKING:
    from halign.sampling.protocol import Progress

Read = Literal["auto", "logprobs", "samples"]
Answer = dict[int, float]
"""Number -> probability (or share of the draws); adds up to 1."""

Reader = Callable[[list[TokenChoices]], dict[int, float] | None]
"""The positions of an answer, from its first word on -> number -> unnormalised probability; None: cannot be told."""

_TOP = 20  # the most that endpoints give
_SHORT = 4  # tokens that are enough to see where a number begins and ends
_LEAST = 0.5  # of the probability must lie on the allowed numbers, or the answer was another one


@dataclass(frozen=True)
class Asked:
    """Answers, and how they were read: ``by_logprobs`` and ``by_samples`` count questions."""

    answers: list[Answer | Failure]
    by_logprobs: int
    by_samples: int


def ask_numbers(
    client: Client,
    questions: Sequence[Request],
    allowed: range,
    reader: Reader,
    *,
    read: Read,
    samples: int,
    seed: int,
    progress: Progress | None = None,
) -> Asked:
    """One distribution over ``allowed`` per question.

    ``auto`` asks the shortest question for log-probabilities, and draws where the endpoint gives none; ``logprobs`` fails such
    questions. Questions whose log-probabilities leave the answer open are drawn, unless ``read`` is ``logprobs``.

    Raises:
        HalignError: ``read`` or ``samples`` out of range, or as ``Client.ask``.
    """
    if read not in ("auto", "logprobs", "samples") or samples < 1:
        raise HalignError(
            f"judge: read = {read!r}, samples = {samples} is out of range (auto, logprobs, samples; 1 or more)"
        )
    found: list[Answer | Failure | None] = [None] * len(questions)
    if questions and read != "samples":
        precise = _precise(questions, seed)
        count = len(precise) if read == "logprobs" or _gives(client, min(precise, key=_length)) else 0
        for i, reply in enumerate(client.ask(precise[:count], progress=progress)):
            found[i] = _read(i, questions[i], reply, reader, final=read == "logprobs")
    exact = sum(isinstance(f, dict) for f in found)
    left = [i for i, f in enumerate(found) if f is None]
    drawn = _drawn(client, [questions[i] for i in left], allowed, samples, seed, progress)
    for i, answer in zip(left, drawn, strict=True):
        found[i] = replace(answer, index=i) if isinstance(answer, Failure) else answer
    return Asked([f for f in found if f is not None], exact, len(left))


def _gives(client: Client, request: Request) -> bool:
    """Whether the endpoint answers with log-probabilities; some ignore the wish, some refuse it."""
    (answer,) = client.ask([request])
    return isinstance(answer, Reply) and answer.logprobs is not None


def _length(request: Request) -> int:
    return sum(len(str(m["content"])) for m in request.messages)


def _read(
    index: int, question: Request, answer: Reply | Failure, reader: Reader, *, final: bool
) -> Answer | Failure | None:
    """None: to be drawn."""
    if isinstance(answer, Failure):
        return answer
    positions = first_words(answer.logprobs)
    masses = reader(positions) if positions else None
    if masses is not None and sum(masses.values()) >= _LEAST:
        return _normalised(masses)
    if not final:
        return None
    why = (
        f"its log-probabilities do not say which number is meant (it wrote {answer.text[:40]!r})"
        if positions
        else "the endpoint gives no log-probabilities"
    )
    return Failure(
        index, question.shown, f'{why}; read="samples" asks for words instead', answered=bool(positions)
    )


def _normalised(masses: dict[int, float]) -> Answer:
    total = sum(masses.values())
    return {k: v / total for k, v in masses.items()}


def _draws(questions: Sequence[Request], samples: int, seed: int) -> list[Request]:
    heat = 0.0 if samples == 1 else 1.0
    return [replace(q, temperature=heat).drawn(seed, s) for q in questions for s in range(samples)]


def _precise(questions: Sequence[Request], seed: int) -> list[Request]:
    return [replace(q, temperature=1.0, top_logprobs=_TOP, max_tokens=_SHORT, seed=seed) for q in questions]


def planned(client: Client, questions: Sequence[Request], *, read: Read, samples: int, seed: int) -> Estimate:
    """What these questions would call for; ``auto`` is taken to find log-probabilities."""
    return client.dry_run(
        _draws(questions, samples, seed) if read == "samples" else _precise(questions, seed)
    )


def answered(
    client: Client, questions: Sequence[Request], *, samples: int, seed: int
) -> list[tuple[str, ...]]:
    """For each question the cache keys of the answers that have come, to its log-probabilities or its draws."""
    draws = _draws(questions, samples, seed)
    found = []
    with ReplyCache(client.file) as cache:
        for i, precise in enumerate(_precise(questions, seed)):
            keys = [r.key(client.endpoint) for r in (precise, *draws[i * samples : (i + 1) * samples])]
            found.append(tuple(k for k in keys if cache.get(k) is not None))
    return found


def _drawn(
    client: Client,
    questions: Sequence[Request],
    allowed: range,
    samples: int,
    seed: int,
    progress: Progress | None,
) -> list[Answer | Failure]:
    """Shares of the numbers among ``samples`` draws at temperature 1; one draw is the likeliest answer (temperature 0)."""
    requests = _draws(questions, samples, seed)
    answers = client.ask(requests, progress=progress)
    groups = [answers[i : i + samples] for i in range(0, len(answers), samples)]
    return [_shares(group, q, allowed) for group, q in zip(groups, questions, strict=True)]


def _shares(answers: Sequence[Reply | Failure], question: Request, allowed: range) -> Answer | Failure:
    numbers = [n for a in answers if isinstance(a, Reply) and (n := number_in(a.text, allowed)) is not None]
    if numbers:
        return {k: numbers.count(k) / len(numbers) for k in set(numbers)}
    for answer in answers:
        if isinstance(answer, Failure):
            return answer
    said = next(a for a in answers if isinstance(a, Reply))
    cut = f" (cut off at max_tokens = {question.max_tokens})" if said.finish == "length" else ""
    return Failure(
        0,
        question.shown,
        f"the judge named no one number from {allowed[0]} to {allowed[-1]}: {said.text[:60]!r}{cut}",
        answered=True,
    )
