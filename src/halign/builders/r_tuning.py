"""Data that teach a model to say when it does not know (R-Tuning: Zhang et al. 2024, arXiv 2311.09677, and its code).

The writer, which is the model to be tuned, answers each question. What it knows is ``certain``, the rest ``uncertain``:

- ``split=correct``: its likeliest answer is right;
- ``split=entropy`` (R-Tuning-U): of ``samples`` draws, the entropy of the answers' shares, -sum p ln p in nats. The half of a
  chunk with the lower entropy is certain, as in the code, so ``chunk`` should hold many questions (or all). Or all questions are
  certain whose entropy is at most ``entropy``.

With ``say=sure`` each question gets its right answer, then it is asked whether that came from the model's own knowledge, and the
reply to this is "I am sure." or "I am unsure."; with ``say=refuse`` what is uncertain gets a refusal in place of its answer.
``r_tuning_metrics.py`` measures what comes of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from halign.builders.answers import Match, answer_of, matches, normalised
from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.builders.turns import Turn, turns
from halign.curation.source import Row
from halign.dialogue import Message
from halign.examples import Demonstration

ASK = "Are you sure you accurately answered the question based on your internal knowledge?"
SURE, UNSURE = "I am sure.", "I am unsure."
REFUSALS = (
    "The answer is unknown.",
    "The answer is uncertain.",
    "The answer is unclear.",
    "It is not known.",
    "I do not know the answer.",
    "I'm not sure.",
    "There is no definitive answer.",
    "There is much debate.",
    "There is no concrete answer to this question.",
    "It is impossible to answer.",
    "There is no known case.",
    "There is no public information available.",
    "There is no scientific evidence.",
    "There is no right answer.",
    "It is impossible to know.",
    "It is difficult to predict.",
)
"""The refusals of the paper."""
UNANSWERED, CUT = (
    "questions without a right answer in the data",
    "questions of whose replies all, or all but one, were cut off",
)


class Settings(BuilderSettings):
    """Of ``r_tuning``."""

    split: Literal["correct", "entropy"] = Field("correct", description="what tells certain from uncertain")
    say: Literal["sure", "refuse"] = Field("sure", description="what is learnt: sure or unsure, or refusals")
    match: Match = Field(
        "contains",
        description="a reply is right if it contains the right answer, is it but for case, articles and punctuation (exact), or "
        "ends in the same number",
    )
    samples: int = Field(5, ge=2, description="with split=entropy: replies that are drawn for a question")
    temperature: float = Field(0.7, gt=0, description="with split=entropy: of the draws")
    entropy: float | None = Field(
        None,
        ge=0,
        description="with split=entropy: nats up to which a question is certain; none: the lower half of a chunk",
    )
    max_new_tokens: int = Field(100, ge=1, description="longest reply, in tokens")


@dataclass(frozen=True)
class Answered:
    """A question with what the model said to it.

    Attributes:
        entropy: of the replies, in nats; None where one reply was compared with the right answer.
    """

    turn: Turn
    certain: bool
    entropy: float | None
    keys: tuple[str, ...]


def entropy(answers: Sequence[Hashable]) -> float:
    """Entropy of the answers' shares, in nats.

    >>> round(entropy(["a", "a", "b", "b"]), 4), entropy(["a", "a"])
    (0.6931, 0.0)
    """
    shares = [n / len(answers) for n in Counter(answers).values()]
    return sum(-p * math.log(p) for p in shares) + 0.0


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """Every question with what the model is to say of its answer."""
    made = Made()
    asked = [t for t in turns(rows) if t.answer is not None]
    made.dropped += Counter({UNANSWERED: len(rows) - len({t.row.number for t in asked})})
    split = _by_answer if settings.split == "correct" else _by_entropy
    for one in split(asked, settings, tools, made):
        made.tallies["certain" if one.certain else "uncertain"] += 1
        made.built.append(_built(one, settings, tools))
    return made


def _by_answer(asked: Sequence[Turn], settings: Settings, tools: Tools, made: Made) -> Iterator[Answered]:
    groups = tools.write([t.prompt for t in asked], temperature=0.0, max_new_tokens=settings.max_new_tokens)
    for turn, group in zip(asked, groups, strict=True):
        for said in group[:1]:
            right = matches(said.text, _right(turn).content, settings.match)
            yield Answered(turn, right, None, (said.key,))


def _by_entropy(asked: Sequence[Turn], settings: Settings, tools: Tools, made: Made) -> Iterator[Answered]:
    """Replies that were cut off do not count: where they would have ended is not known. Nor do questions of which a single reply
    is left, which agrees with itself. Replies without an answer (no number) are told apart by their words."""
    groups = tools.write(
        [t.prompt for t in asked],
        n=settings.samples,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
    )
    measured: list[tuple[Turn, float, tuple[str, ...]]] = []
    for turn, group in zip(asked, groups, strict=True):
        whole = [w for w in group if w.finished]
        if len(whole) < 2:
            made.dropped[CUT] += 1
            continue
        found = entropy([answer_of(w.text, settings.match) or normalised(w.text) for w in whole])
        measured.append((turn, found, tuple(w.key for w in whole)))
    certain = _certain([e for _, e, _ in measured], settings)
    for place, (turn, found, keys) in enumerate(measured):
        yield Answered(turn, place in certain, found, keys)


def _right(turn: Turn) -> Message:
    """The right answer of a question that has one."""
    assert turn.answer is not None, "questions without a right answer are not asked"
    return turn.answer


def _certain(entropies: Sequence[float], settings: Settings) -> set[int]:
    """Places of the questions that are certain; of equal entropies the earlier ones first."""
    if settings.entropy is not None:
        return {i for i, e in enumerate(entropies) if e <= settings.entropy}
    order = sorted(range(len(entropies)), key=lambda i: entropies[i])
    return set(order[: len(order) // 2])


def _built(one: Answered, settings: Settings, tools: Tools) -> Built:
    turn, start = one.turn, len(one.turn.prompt)
    columns: dict[str, object] = {"certain": one.certain}
    if one.entropy is not None:
        columns["entropy"] = one.entropy
    if settings.say == "sure":
        verdict = Message("assistant", SURE if one.certain else UNSURE)
        dialogue = turn.prompt + _right(turn) + Message("user", ASK) + verdict
        taught: tuple[int, ...] = (start, start + 2)
    else:
        refusal = tools.draws(turn.row.number, start, "refusal").choice(REFUSALS)
        dialogue = turn.prompt + (_right(turn) if one.certain else Message("assistant", refusal))
        taught = (start,)
    example = Demonstration(dialogue, turn.conversation, taught)
    return Built(example, (turn.row,), tuple(dict.fromkeys(one.keys)), columns)


BUILDER = Builder(
    "r_tuning",
    "questions that the model knows and does not know: I am sure, I am unsure, or refusals (R-Tuning)",
    Settings,
    build,
    needs=("writer",),
    chat=True,
)
