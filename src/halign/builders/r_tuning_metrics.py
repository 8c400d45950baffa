"""What R-Tuning comes to: average precision, accuracy on what was answered, refusal rate (arXiv 2311.09677).

The confidence in an answer is (p + P(sure)) / 2 as in the paper's code, where p is the geometric mean of the probabilities of the
answer's tokens and P(sure) = P("I am sure.") / (P("I am sure.") + P("I am unsure.")) once the model is asked. (The code leaves
the token out that ends the answer, and reads P(sure) off the first token of each word.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from halign.builders.answers import Match, matches
from halign.builders.r_tuning import ASK, REFUSALS, SURE, UNSURE
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.likelihood import as_path, logps, make_renderer
from halign.models import Policy


@dataclass(frozen=True)
class Certainty:
    """One answer.

    Attributes:
        correct: it is right. A refusal is not.
        probability: geometric mean of its tokens' probabilities, the turn's end among them.
        sure: P(sure), in [0, 1].
        refused: it is one of ``REFUSALS``, or P(sure) is at most 1/2.
    """

    correct: bool
    probability: float
    sure: float
    refused: bool

    @property
    def confidence(self) -> float:
        """(probability + P(sure)) / 2."""
        return (self.probability + self.sure) / 2


@dataclass(frozen=True)
class Summary:
    """Of many answers.

    Attributes:
        average_precision: with right answers as positives, ranked by confidence; NaN if none is right.
        accuracy: share of right answers among those that were not refused; NaN if all were.
        refusal_rate: share of the questions that were refused.
        accuracy_of_all: share of right answers, refused or not.
    """

    questions: int
    average_precision: float
    accuracy: float
    refusal_rate: float
    accuracy_of_all: float


def certainties(
    policy: Policy,
    prompts: Sequence[Dialogue],
    replies: Sequence[str],
    right: Sequence[str],
    match: Match = "contains",
) -> list[Certainty]:
    """What a policy thinks of its own replies to questions with a right answer.

    Raises:
        HalignError: the sequences differ in length.
    """
    if not len(prompts) == len(replies) == len(right):
        raise HalignError(
            f"r_tuning: {len(prompts)} questions, {len(replies)} replies and {len(right)} right answers; one of each is needed"
        )
    renderer = make_renderer(policy)
    said = [(p, Message("assistant", r)) for p, r in zip(prompts, replies, strict=True)]
    totals = logps(policy, said).tolist()
    lengths = [len(as_path(renderer, p, m).response) for p, m in said]
    again = [(p + m + Message("user", ASK), verdict) for p, m in said for verdict in (SURE, UNSURE)]
    verdicts = logps(policy, again).tolist()
    found = []
    for i, (reply, answer) in enumerate(zip(replies, right, strict=True)):
        sure = 1 / (1 + math.exp(verdicts[2 * i + 1] - verdicts[2 * i]))
        refused = reply.strip() in REFUSALS or sure <= 0.5
        correct = reply.strip() not in REFUSALS and matches(reply, answer, match)
        found.append(Certainty(correct, math.exp(totals[i] / lengths[i]), sure, refused))
    return found


def summary(answers: Sequence[Certainty]) -> Summary:
    """The paper's figures.

    Raises:
        HalignError: there are no answers.
    """
    if not answers:
        raise HalignError("r_tuning: no answers to summarise")
    given = [a for a in answers if not a.refused]
    return Summary(
        len(answers),
        average_precision([a.correct for a in answers], [a.confidence for a in answers]),
        sum(a.correct for a in given) / len(given) if given else math.nan,
        1 - len(given) / len(answers),
        sum(a.correct for a in answers) / len(answers),
    )


def average_precision(positive: Sequence[bool], scores: Sequence[float]) -> float:
    """sum over thresholds n of (R_n - R_(n-1)) P_n, with precision P and recall R of what scores at least the threshold; equal
    scores come in together. NaN without a positive.

    >>> average_precision([True, False, True], [0.9, 0.8, 0.7])
    0.8333333333333333
    """
    total = sum(positive)
    if not total:
        return math.nan
    ranked = sorted(zip(scores, positive, strict=True), key=lambda one: -one[0])
    seen = hits = 0
    area = 0.0
    for _, group in groupby(ranked, key=lambda one: one[0]):
        some = [p for _, p in group]
        seen, hits = seen + len(some), hits + sum(some)
        area += sum(some) / total * hits / seen
    return area
