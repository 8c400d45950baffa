"""Rows that are good enough: by conditions in words, and by the grade that a judge or a reward gives their responses.

With a language model that grades from 0 to 5 and a threshold of 4.5 this is AlpaGasus (Chen et al. 2023, arXiv 2307.08701), whose
question is ``ALPAGASUS``; here the grade is the expectation under the probabilities of the answer's first token where the
endpoint gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Protocol

from halign.conditioning.responses import responses
from halign.curation.conditions import Condition
from halign.curation.output import Decision, Outcome, write_decided
from halign.curation.source import Row, RowSource, Watch, unwatched
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.examples import Conversation, Demonstration
from halign.judges import DirectScorer
from halign.lineage import Step
from halign.llm import Estimate, Failure
from halign.rewards.protocol import Reward

BATCH = 256
"""Rows that are graded together."""
SCALE = range(6)
"""AlpaGasus's grades."""
ALPAGASUS = """\
We would like to request your feedback on the performance of an AI assistant in response to the conversation displayed \
following.

Conversation:
{{ conversation }}

Response:
{{ reply }}

Please rate according to the {{ criteria }} of the response to the conversation. The assistant receives a score on a scale of 0 \
to 5, where a higher score indicates a higher level of the {{ criteria }}. Answer with the score alone, one number from 0 to 5."""

Over = Literal["min", "mean", "max"]
_OVER: dict[str, Callable[[Sequence[float]], float]] = {"min": min, "mean": fmean, "max": max}
LOW, UNGRADED = "grade below the threshold", "no grade (the judge gave no answer)"

Asked = tuple[Dialogue, str]


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade, None where there was no answer, and the cache keys of the replies that it was read from."""

    value: float | None
    replies: tuple[str, ...] = ()
    problem: str = ""


class Grader(Protocol):
    """Grades responses."""

    def grade(self, asked: Sequence[Asked]) -> list[Grade]:
        """One grade for each (prompt, response), in order."""
        ...


class ByReward:
    """Any reward as a grader: rules, a reward model, a function."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    def grade(self, asked: Sequence[Asked]) -> list[Grade]:
        """Rewards."""
        return [Grade(float(v)) for v in self.reward.score([p for p, _ in asked], [r for _, r in asked])]


class ByJudge:
    """A language model behind an endpoint. What it has answered is in the cache: an interrupted job begun again pays for nothing
    twice.
    """

    def __init__(self, scorer: DirectScorer) -> None:
        self.scorer = scorer

    def grade(self, asked: Sequence[Asked]) -> list[Grade]:
        """Expected grades.

        Raises:
            HalignError: as ``Client.ask``, such as a budget that is spent.
        """
        prompts, replies = [p for p, _ in asked], [r for _, r in asked]
        scores = self.scorer.score(prompts, replies).scores
        keys = self.scorer.reply_keys(prompts, replies)
        return [
            Grade(None, (), s.problem) if isinstance(s, Failure) else Grade(s, k)
            for s, k in zip(scores, keys, strict=True)
        ]

    def dry_run(self, source: RowSource, conditions: Sequence[Condition] = ()) -> Estimate:
        """What grading the file would call for; nothing is sent. All questions are held in memory for it."""
        asked = [a for row in source if all(c(row) for c in conditions) for a in responses_of(row)]
        return self.scorer.dry_run([p for p, _ in asked], [r for _, r in asked])


def responses_of(row: Row) -> list[Asked]:
    """(prompt, response) of what the row teaches: every agent turn of a conversation; of judged responses the best."""
    example = row.example
    if example is None:
        return []
    if isinstance(example, Conversation):
        example = Demonstration(example.dialogue, example.conversation)
    found = [(r.prompt, r.message.content) for r in responses(example)]
    return found if isinstance(example, Demonstration) else found[:1]


def keep(
    source: RowSource,
    output: Path,
    *,
    conditions: Sequence[str] = (),
    grader: Grader | None = None,
    above: float | None = None,
    over: Over = "min",
    settings: dict[str, Any] | None = None,
    dropped: bool = False,
    watch: Watch[Row] = unwatched,
) -> Outcome:
    """Write the rows for which all conditions hold and whose grade is at least ``above``.

    A graded row gets the columns ``grade`` and, where it has several responses, ``grades``. Conditions are looked at first; only
    what they leave is graded. They do not see grades of this very run.

    Args:
        over: of the grades of a conversation's agent turns, which one counts.
        settings: what says which grader it is, for the lineage.

    Raises:
        HalignError: a grader without a threshold or the reverse, nothing to filter by, or most responses got no grade.
    """
    if (grader is None) != (above is None):
        raise HalignError("above: a threshold needs a judge or a reward, and the reverse")
    if grader is None and not conditions:
        raise HalignError("filter: nothing to filter by; give a condition, a reward or a judge")
    wanted = [Condition(text) for text in conditions]
    about = {"conditions": list(conditions), **(settings or {}), **source.settings}
    if above is not None:
        about |= {"above": above, "over": over}
    step = Step.of("filter", about, source.file)

    def decided() -> Iterator[Decision]:
        rows = iter(watch(source, "filtering"))
        asked = answered = 0
        while batch := list(islice(rows, BATCH)):
            whys = [next((f"not: {c.text}" for c in wanted if not c(row)), "") for row in batch]
            if grader is None or above is None:
                yield from (Decision(row, why) for row, why in zip(batch, whys, strict=True))
                continue
            grades = _graded(grader, [row for row, why in zip(batch, whys, strict=True) if not why])
            for row, why in zip(batch, whys, strict=True):
                found = [] if why else next(grades)
                asked, answered = asked + len(found), answered + sum(g.value is not None for g in found)
                yield Decision(row, why) if why else _judged(row, found, above, over)
            if asked >= 20 and 2 * answered < asked:
                raise HalignError(
                    f"{asked - answered} of {asked} responses got no grade; the last: {_last(found)}"
                )

    return write_decided(decided(), output, step, dropped=dropped)


def _graded(grader: Grader, rows: Sequence[Row]) -> Iterator[list[Grade]]:
    """The grades of each row's responses; all rows are asked for at once."""
    asked = [responses_of(row) for row in rows]
    grades = iter(grader.grade([a for some in asked for a in some]) if any(asked) else [])
    return iter([list(islice(grades, len(some))) for some in asked])


def _judged(row: Row, grades: Sequence[Grade], above: float, over: Over) -> Decision:
    values = [g.value for g in grades if g.value is not None]
    replies = tuple(k for g in grades for k in g.replies)
    if not values or len(values) < len(grades):
        return Decision(row, UNGRADED, details={"problem": _last(grades)}, replies=replies)
    grade = float(_OVER[over](values))
    add: dict[str, Any] = {"grade": grade, **({"grades": values} if len(values) > 1 else {})}
    return Decision(row, "" if grade >= above else LOW, add, {"grade": grade}, replies)


def _last(grades: Iterable[Grade]) -> str:
    return next((g.problem for g in grades if g.problem), "the row has no response")
