"""Guardrail adherence, the headline: per rule, per turn and per conversation, with the first violation and its drift over turns.

The conversations are one's own (canonical, with guardrails), or the care world's. At every agent turn the model replies to what
was said before: to the data's own history (``given``), or to its own earlier replies with the data's user turns between
(``own``). Each rule in force at a turn is one verdict: by the care world's exact rules, by checks recognised from the rule's
words, or by a language model that is asked whether the rule applies at this turn and whether the reply keeps it. A turn at
which no rule is known to be broken, but of some there is no verdict, has none either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.evaluate import Interval
from halign.examples import Conversation, Demonstration
from halign.judges.guardrail_questions import GuardrailMarks, whole
from halign.judges.making import rules
from halign.judges.protocol import Mark, marks_of
from halign.judges.records import GradeRecord, Judged
from halign.judges.rubric import REFERENCE
from halign.judges.rules import ADHERENCE
from halign.suites import sessions
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings
from halign.suites.files import Files, SetFile
from halign.suites.judging import judge_name

RULE, TURN = "rule kept", "turn without violation"
SHOWN = 8
"""Turns of the survival curve that become measures."""


class GuardrailSettings(SuiteSettings):
    """Settings of guardrail adherence."""

    max_new_tokens: int = Field(200, ge=1, description="longest reply, in tokens")
    history: Literal["given", "own"] = Field(
        "given", description="what stands before a turn: the data's replies, or the model's own"
    )
    conversations: int = Field(100, ge=1, description="of the care world, where no data is given")
    world_seed: int = Field(0, ge=0, description="of the care world's conversations")


def questions(files: Files, settings: GuardrailSettings) -> list[Question]:
    """Of ``given`` history one question for each agent turn, of ``own`` one for each conversation."""
    found: list[Question] = []
    for name, dialogue in conversations(files, settings):
        places = [i for i, m in enumerate(dialogue.messages) if m.role == "assistant" and i]
        if settings.history == "given":
            found += [
                Question(
                    f"{name}/{turn}",
                    dialogue[:i],
                    conversation=name,
                    meta={"agent_turn": turn, REFERENCE: dialogue.messages[i].content},
                )
                for turn, i in enumerate(places, 1)
            ]
        elif places:
            found.append(Question(name, dialogue[: places[0]], _users(dialogue, places), name))
    if not found:
        raise HalignError(f"guardrails: no agent turns in {files.path('questions') or 'the conversations'}")
    return found


def conversations(files: Files, settings: GuardrailSettings) -> list[tuple[str, Dialogue]]:
    """(name, dialogue) of those with guardrails.

    Raises:
        HalignError: the data has no conversation with guardrails.
    """
    path = files.path("questions")
    if path is None:
        from halign.worlds import care

        drawn = care.conversations(settings.conversations, split="test", seed=settings.world_seed)
        return [(c.conversation, c.dialogue) for c in drawn]
    from halign.readers import read

    found: dict[str, Dialogue] = {}
    for example in read(path):
        if not isinstance(example, Conversation | Demonstration):
            raise HalignError(
                f"guardrails reads conversations; {path} holds a {type(example).__name__} (halign data shows what a file is)"
            )
        if example.dialogue.guardrails:
            found[example.conversation] = example.dialogue
    if not found:
        raise HalignError(f"guardrails: no conversation in {path} carries guardrails")
    return list(found.items())


def _users(dialogue: Dialogue, places: Sequence[int]) -> tuple[str, ...]:
    """What the user says between the agent's turns, as far as there is one user message between two of them."""
    said = []
    for before, after in pairwise(places):
        between = dialogue.messages[before + 1 : after]
        if len(between) != 1 or between[0].role != "user":
            break
        said.append(between[0].content)
    return tuple(said)


def score(answered: Sequence[Answered], settings: GuardrailSettings, bench: Bench) -> list[GradeRecord]:
    """One verdict for each rule in force at each reply; and one for the reply, where a rule is in force."""
    asked = [(a, d, t) for a in answered for d, draw in enumerate(a.draws) for t in range(len(draw))]
    prompts = [_shown(a, d, t) for a, d, t in asked]
    found = rule_marks(prompts, [a.draws[d][t] for a, d, t in asked], bench)
    records = []
    for (a, d, t), marks in zip(asked, found, strict=True):
        own: dict[str, Any] = {"judge": _judge(bench), "model": bench.model, **a.place(d, t)}
        records += reply_records(marks, own)
    return records


def reply_records(marks: Sequence[Mark], own: Mapping[str, Any]) -> list[GradeRecord]:
    """The records of one reply: of every rule, and of all of them together where there is any."""
    if not marks:
        return []
    broken = "; ".join(str(m.guardrail) for m in marks if m.acceptable is False)
    turn = rule_record(TURN, replace(whole(TURN, marks), why=broken), own)
    return [*(rule_record(RULE, m, own) for m in marks), turn]


def _shown(answered: Answered, draw: int, turn: int) -> Dialogue:
    """What the reply answers, with the data's own reply as evidence of what the turn is about, where it is known."""
    prompt = answered.prompt(draw, turn)
    good = answered.question.meta.get(REFERENCE)
    return prompt if good is None else replace(prompt, meta={**prompt.meta, REFERENCE: good})


def rule_marks(prompts: Sequence[Dialogue], replies: Sequence[str], bench: Bench) -> list[list[Mark]]:
    """For each reply a mark for every rule that is in force and has something to say there."""
    judge: Any = bench.judge or rules()
    remark_unchecked(prompts, bench)
    if hasattr(judge, "numbers"):
        found = GuardrailMarks(judge.numbers).marks(ADHERENCE, prompts, replies)
    else:
        found = marks_of(judge, prompts, replies)
    return [[m for m in marks if m.guardrail is not None] for marks in found]


def remark_unchecked(prompts: Sequence[Dialogue], bench: Bench) -> None:
    """Say which of the rules in force the judge cannot check."""
    if not hasattr(bench.judge, "unchecked"):
        return
    for text in dict.fromkeys(g for p in prompts for g in p.guardrails):
        if bench.judge.unchecked([text]):
            bench.remark(f"no check for the rule: {text}")


def rule_record(dimension: str, mark: Mark, own: Mapping[str, Any]) -> GradeRecord:
    """A mark as yes or no."""
    return GradeRecord(
        dimension=dimension,
        value=None if mark.acceptable is None else float(mark.acceptable),
        acceptable=mark.acceptable,
        guardrail=mark.guardrail,
        why=(mark.why,) if mark.why else (),
        trouble=mark.trouble,
        **own,
    )


def _judge(bench: Bench) -> str:
    return judge_name(bench) if bench.judge else "care"


def totals(
    answered: Sequence[Answered], judged: Judged, settings: GuardrailSettings, bench: Bench
) -> dict[str, Interval]:
    """Sessions: share held, survival over turns, mean turn of the first violation, drift."""
    numbers = {
        a.item(d, t): (a.question.cluster, d, int(a.question.meta.get("agent_turn", t + 1)))
        for a in answered
        for d, draw in enumerate(a.draws)
        for t in range(len(draw))
    }
    kept = {
        numbers[r.item]: bool(r.value)
        for r in judged.records
        if isinstance(r, GradeRecord) and r.dimension == TURN and r.value is not None
    }
    of = sessions.sessions_of(kept)
    if not of:
        return {}
    found: dict[str, Interval | None] = {"conversation without violation": sessions.held(of)}
    curve = sessions.survival(of)
    found |= {f"unbroken through turn {t}": i for t, i in curve.items() if t <= SHOWN}
    found["turn of the first violation, where there is one"] = sessions.first_violation(of)
    found["drift: later half of a session less earlier half"] = sessions.drift(of)
    return {name: i for name, i in found.items() if i is not None}


def _precheck(settings: GuardrailSettings, bench: Bench) -> None:
    path = bench.files.path("questions")
    if path is not None and bench.judge is None:
        raise HalignError(
            "guardrails: who says whether a rule of your conversations is kept? --judge checks (from the rules' words), "
            "llm:NAME@URL, local:FOLDER; care only for the care world's"
        )
    if path is None and _judge(bench) != "care":
        bench.remark(f"the care world's conversations, judged by {_judge(bench)} and not by its own rules")


SUITE = Suite(
    "guardrails",
    "guardrail adherence of replies: per rule, per turn, per conversation; first violation, stability over a session",
    {
        "questions": SetFile(
            (),
            "your own conversations with guardrails (without --data FILE: the care world's)",
            optional=True,
        )
    },
    GuardrailSettings,
    questions,
    score,
    judge="possible",
    asks="guardrails",
    groups=("guardrail", "agent_turn"),
    totals=totals,
    precheck=_precheck,
)
