"""Grades from 1 to 10 by a language model (direct RLAIF: Lee et al. 2023, arXiv 2309.00267): of each reply the mean
of its grades under their probabilities.

With replies that the writer draws and ``keep=best`` this is the self-distillation of Baize v2 (Xu et al. 2023, arXiv 2304.01196):
the model's own best reply, as another model finds it, becomes what it imitates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from halign.builders.candidates import CandidateSettings, candidates
from halign.builders.contract import Builder, Built, Made
from halign.builders.tools import Tools
from halign.builders.turns import Turn
from halign.builders.writers import DryYesNo
from halign.curation.filter import ByJudge, ByReward, Grader
from halign.curation.filter import Grade as Graded
from halign.curation.source import Row
from halign.dialogue import Message
from halign.errors import HalignError
from halign.examples import Demonstration, Example, Ranking, Rating
from halign.judges import DirectScorer
from halign.judges.yes_no import EndpointYesNo, LocalYesNo
from halign.llm import Failure, ItemsFailed, Reply

UNGRADED, LEVEL, LOW = (
    "replies without a grade",
    "prompts whose replies have one grade",
    "best reply graded too low",
)
Keep = Literal["all", "best"]


class Settings(CandidateSettings):
    """Of ``grade``."""

    keep: Keep = Field(
        "all",
        description="all: a ranking by grade, of one reply a rating; best: the best reply, as a demonstration",
    )
    good: float = Field(
        5.5,
        ge=1,
        le=10,
        description="a rating of this grade or more is good; with keep=best, the least that is kept",
    )


class _Dry:
    """Counts what a judge would be asked, and takes every grade for the middle of the scale."""

    def __init__(self, judge: DryYesNo, criteria: str) -> None:
        self.scorer = DirectScorer(judge.judge.client, criteria=criteria, seed=judge.judge.seed)
        self.planned = judge.planned

    def grade(self, asked: Sequence[tuple[object, str]]) -> list[Graded]:
        prompts, replies = [p for p, _ in asked], [r for _, r in asked]
        self.planned.add(self.scorer.dry_run(prompts, replies))  # type: ignore[arg-type]
        return [Graded(5.5)] * len(asked)


def grader(judge: object, criteria: str) -> Grader:
    """The judge as one that grades: the same model, asked for a number from 1 to 10.

    Raises:
        HalignError: for a judge that is neither an endpoint's nor a local model's.
    """
    if isinstance(judge, EndpointYesNo):
        return ByJudge(DirectScorer(judge.client, criteria=criteria, read=judge.read, seed=judge.seed))
    if isinstance(judge, LocalYesNo):
        from halign.rewards.language_model import LocalLanguageModelReward

        return ByReward(
            LocalLanguageModelReward(judge.policy, criteria=criteria, least_mass=judge.least_mass)
        )
    if isinstance(judge, DryYesNo):
        return _Dry(judge, criteria)
    if hasattr(judge, "grade"):
        return judge
    raise HalignError(
        f"grade: a {type(judge).__name__} gives no grades; take a model behind an endpoint or a local one"
    )


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """Every reply graded; those of one prompt make one example."""
    made = Made()
    groups = list(candidates(rows, settings, tools, made))
    asked = [(turn.prompt, m.content) for turn, replies in groups for m, _ in replies]
    grades = iter(_answered(grader(tools.judge, settings.criteria).grade(asked) if asked else [], tools))
    for turn, replies in groups:
        mine = [(m, next(grades), keys) for m, keys in replies]
        graded = [(m, g.value, (*keys, *g.replies)) for m, g, keys in mine if g.value is not None]
        made.dropped += Counter({UNGRADED: len(mine) - len(graded)})
        graded.sort(key=lambda one: -one[1])
        example = _example(turn, [(m, v) for m, v, _ in graded], settings, made)
        if example is not None:
            columns = {"grade": graded[0][1]} if settings.keep == "best" else {}
            keys = tuple(dict.fromkeys(k for *_, some in graded for k in some))
            made.built.append(Built(example, (turn.row,), keys, columns))
    return made


def _answered(grades: Sequence[Graded], tools: Tools) -> Sequence[Graded]:
    """The grades, if there are all or those that are missing may be left out.

    Raises:
        ItemsFailed: some are missing, and ``skip_failed`` is not set.
    """
    failures = [Failure(i, f"reply {i}", g.problem) for i, g in enumerate(grades) if g.value is None]
    if failures and not tools.skip_failed:
        raise ItemsFailed(failures, [None if g.value is None else Reply(str(g.value)) for g in grades])
    return grades


def _example(
    turn: Turn, graded: Sequence[tuple[Message, float]], settings: Settings, made: Made
) -> Example | None:
    """What the graded replies of one prompt, best first, make; None, counted, if nothing."""
    if not graded:
        return None
    best, value = graded[0]
    made.tallies["prompts graded"] += 1
    if settings.keep == "best":
        if value < settings.good:
            made.dropped[LOW] += 1
            return None
        return Demonstration(turn.prompt + best, turn.conversation, (len(turn.prompt),))
    if len(graded) == 1:
        return Rating(turn.prompt, best, value >= settings.good, turn.conversation, value)
    values = tuple(v for _, v in graded)
    if values[0] == values[-1]:
        made.dropped[LEVEL] += 1
        return None
    ranks = tuple(1 + sum(v > mine for v in values) for mine in values)
    return Ranking(turn.prompt, tuple(m for m, _ in graded), ranks, turn.conversation, values)


BUILDER = Builder(
    "grade",
    "grade replies from 1 to 10 by a model that judges: rankings, ratings, or the best reply",
    Settings,
    build,
    needs=("judge",),
    uses=("writer",),
)
