"""Soft labels by a language model (RLAIF: Lee et al. 2023, arXiv 2309.00267).

Every pair of replies is asked in both orders, "is the reply shown first the better one?", and what is kept is the mean
    P(a better) = (P(first | a first) + 1 - P(first | b first)) / 2
of the probabilities, in which a judge's liking for a position cancels. The replies are those of the data, whose own labels
are not looked at, or the writer's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import Field

from halign.builders.candidates import Candidates, CandidateSettings, candidates
from halign.builders.contract import Builder, Built, Made
from halign.builders.tools import Tools
from halign.builders.turns import Turn, same_words
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Preference
from halign.judges.labeller import Label
from halign.judges.questions import filled, transcript

QUESTION = """\
You compare two replies of an assistant to one conversation. What counts is {{ criteria }}.

Conversation:
{{ conversation }}

Reply 1:
{{ first }}

Reply 2:
{{ second }}

Is reply 1 better than reply 2?"""

SAME, ALONE = "replies that say the same", "prompts with fewer than two replies"
CLOSE, TORN = "pairs between which the judge does not decide", "pairs on which the two orders disagree"
UNANSWERED = "pairs without an answer"
Pair = tuple[Dialogue, str, str]


class Settings(CandidateSettings):
    """Of ``rlaif``."""

    samples: int = Field(2, ge=2, description="replies that the writer draws for a prompt")
    over: float = Field(
        0.5,
        ge=0.5,
        lt=1,
        description="pairs stay whose better reply is the better one with more than this probability",
    )
    agreeing: bool = Field(False, description="leave out the pairs on which the two orders disagree")


def compare(pairs: Sequence[Pair], tools: Tools, criteria: str) -> list[tuple[Label, tuple[str, ...]] | None]:
    """(label, keys of the answers) for each (prompt, a, b), from two questions; None where either has no answer."""
    forward = [_question(prompt, a, b, criteria) for prompt, a, b in pairs]
    backward = [_question(prompt, b, a, criteria) for prompt, a, b in pairs]
    answers = tools.ask(forward + backward)
    return [
        None if x is None or y is None else (Label(x.yes, 1 - y.yes), (*x.keys, *y.keys))
        for x, y in zip(answers[: len(pairs)], answers[len(pairs) :], strict=True)
    ]


def _question(prompt: Dialogue, first: str, second: str, criteria: str) -> str:
    return filled(QUESTION, criteria=criteria, conversation=transcript(prompt), first=first, second=second)


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """All pairs of replies to each prompt, labelled."""
    made = Made()
    asked = list(_pairs(candidates(rows, settings, tools, made), made))
    labels = compare([(t.prompt, a.content, b.content) for t, a, b, _ in asked], tools, settings.criteria)
    for (turn, a, b, keys), found in zip(asked, labels, strict=True):
        if found is None:
            made.dropped[UNANSWERED] += 1
            continue
        label, answers = found
        _count(made, label, settings)
        if why := _unsure(label, settings):
            made.dropped[why] += 1
            continue
        made.built.append(_built(turn, a, b, label, (*keys, *answers)))
    return made


def _pairs(
    found: Iterable[Candidates], made: Made
) -> Iterator[tuple[Turn, Message, Message, tuple[str, ...]]]:
    for turn, replies in found:
        if len(replies) < 2:
            made.dropped[ALONE] += 1
        for (a, mine), (b, others) in itertools.combinations(replies, 2):
            if same_words(a.content, b.content):
                made.dropped[SAME] += 1
            else:
                yield turn, a, b, (*mine, *others)


def _unsure(label: Label, settings: Settings) -> str:
    if settings.agreeing and not label.agrees:
        return TORN
    return CLOSE if max(label.preference, 1 - label.preference) <= settings.over else ""


def _count(made: Made, label: Label, settings: Settings) -> None:
    made.tallies["pairs judged"] += 1
    made.tallies["orders disagree"] += not label.agrees
    made.tallies["the reply shown first favoured in both orders"] += label.first > 0.5 > label.second
    if settings.candidates == "given":
        made.tallies["the data's own order found"] += label.preference > 0.5


def _built(turn: Turn, a: Message, b: Message, label: Label, keys: tuple[str, ...]) -> Built:
    p = label.preference
    chosen, rejected, p = (a, b, p) if p >= 0.5 else (b, a, 1 - p)
    example = Preference(turn.prompt, chosen, rejected, turn.conversation, preference=p)
    return Built(example, (turn.row,), tuple(dict.fromkeys(keys)))


def notes(settings: Settings, prepared: None, tallies: Mapping[str, int]) -> list[str]:
    """How far the labels are to be trusted."""
    judged = tallies.get("pairs judged", 0)
    if not judged:
        return []
    torn, first = (
        tallies.get("orders disagree", 0),
        tallies.get("the reply shown first favoured in both orders", 0),
    )
    said = [
        f"{judged:,} pairs judged in both orders; the orders disagree on {torn / judged:.1%}, in {first:,} of {torn:,} because "
        "the reply shown first is favoured both times"
    ]
    if settings.candidates == "given":
        own = tallies.get("the data's own order found", 0)
        said.append(
            f"the judge finds the order in which the data gives the replies in {own / judged:.1%} of the pairs"
        )
    return said


BUILDER = Builder(
    "rlaif",
    "label pairs of replies by a model that judges, in both orders, as probabilities",
    Settings,
    build,
    needs=("judge",),
    uses=("writer",),
    notes=notes,
)
