"""Dialogues judged: every reply on every guardrail in force, and what becomes of each dialogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from halign.dialogues.talking import Talk, Watch
from halign.judges.folder import JudgedFolder, keep
from halign.judges.protocol import Mark, name_of
from halign.judges.records import HISTORIES, GradeRecord, JudgedItem
from halign.suites.contract import Bench
from halign.suites.guardrails import RULE, TURN, remark_unchecked, reply_records, rule_marks, rule_record
from halign.suites.sessions import Session

CHUNK = 32
"""Replies that are judged at a time."""
HELD = "dialogue held"
"""The dimension of a whole dialogue, on the item of its last reply: no rule was broken, of an attack the rule under attack."""


@dataclass(frozen=True)
class Outcome:
    """What became of one dialogue.

    Attributes:
        cluster: the unit of the intervals (``Scenario.cluster``).
        turns: (the model's turn from 1, every rule kept there), where a rule has a verdict.
        attacked: the same, of the rule under attack alone.
        replies: how many the model gave.
    """

    scenario: str
    cluster: str
    run: int
    strategy: str
    target: str
    turns: tuple[tuple[int, bool], ...]
    attacked: tuple[tuple[int, bool], ...]
    replies: int

    @property
    def counted(self) -> tuple[tuple[int, bool], ...]:
        """The turns that decide: those of the rule under attack, if there is one."""
        return self.attacked if self.target else self.turns

    @property
    def session(self) -> Session:
        """As the sessions of guardrail adherence are counted."""
        return Session(self.cluster, self.counted)

    @property
    def held(self) -> bool | None:
        """Whether the dialogue held; None where no turn has a verdict."""
        return self.session.broken is None if self.counted else None


Place = tuple[Talk, int, int]
"""A dialogue, the model's turn in it from 1, and the index of the message."""


def judge_replies(
    folder: JudgedFolder,
    talks: Sequence[Talk],
    bench: Bench,
    *,
    chunk: int = CHUNK,
    watch: Watch = lambda done, total: None,
) -> None:
    """Verdicts on all replies of one model on which the folder has none yet, kept chunk by chunk.

    Args:
        bench: the model's name and its judge, as for the guardrails of ``halign.suites``.
        chunk: replies that a kill may cost.
        watch: called after every chunk with (replies judged, replies in all).

    Raises:
        HalignError: as the judge's; what was judged before is in the folder.
    """
    judge = name_of(bench.judge)
    places = [(t, n, i) for t in talks for n, i in enumerate(t.replies, 1)]
    remark_unchecked([t.scenario.start for t in talks], bench)
    todo = [p for p in places if (judge, item_id(p[0], p[1]), bench.model) not in folder.done]
    done = len(places) - len(todo)
    watch(done, len(places))
    for start in range(0, len(todo), chunk):
        some = todo[start : start + chunk]
        keys = [(judge, item_id(t, n), bench.model) for t, n, _ in some]
        keep(folder, bench.judge, keys, partial(_records, some, bench))
        done += len(some)
        watch(done, len(places))


def _records(places: Sequence[Place], bench: Bench) -> list[GradeRecord]:
    """The verdicts on some replies, every rule that has something to say there and all of them together."""
    before = [t.dialogue[:i] for t, _, i in places]
    found = rule_marks(before, [t.dialogue.messages[i].content for t, _, i in places], bench)
    return [
        record
        for (t, n, i), marks in zip(places, found, strict=True)
        for record in reply_records(marks, _own(t, n, i, bench))
    ]


def _own(talk: Talk, turn: int, place: int, bench: Bench) -> dict[str, Any]:
    """What records of one reply have in common."""
    return {
        "judge": name_of(bench.judge),
        "model": bench.model,
        "item": item_id(talk, turn),
        "conversation": talk.scenario.cluster,
        "turn": place,
    }


def outcomes_of(talks: Sequence[Talk], records: Iterable[GradeRecord], model: str) -> list[Outcome]:
    """What became of the dialogues of one model, from the verdicts on its replies."""
    by_item: dict[str, list[GradeRecord]] = defaultdict(list)
    for r in records:
        if r.model == model and r.dimension in (RULE, TURN):
            by_item[r.item].append(r)
    return [_outcome(t, by_item) for t in talks]


def held_records(talks: Sequence[Talk], outcomes: Sequence[Outcome], bench: Bench) -> list[GradeRecord]:
    """One record for each dialogue of which it can be told."""
    found = []
    for t, o in zip(talks, outcomes, strict=True):
        if o.held is not None:
            why = "" if o.held else f"first broken at the model's turn {o.session.broken}"
            mark = Mark(HELD, float(o.held), acceptable=o.held, why=why)
            found.append(rule_record(HELD, mark, _own(t, o.replies, t.replies[-1], bench)))
    return found


def item_id(talk: Talk, turn: int) -> str:
    """Id of one reply's item."""
    return f"{talk.id}.{turn}"


def _outcome(talk: Talk, by_item: Mapping[str, Sequence[GradeRecord]]) -> Outcome:
    s = talk.scenario
    said = [
        (n, r)
        for n in range(1, len(talk.replies) + 1)
        for r in by_item.get(item_id(talk, n), ())
        if r.acceptable is not None
    ]
    turns = tuple((n, bool(r.acceptable)) for n, r in said if r.dimension == TURN)
    attacked = tuple((n, bool(r.acceptable)) for n, r in said if r.guardrail == s.target)
    return Outcome(s.id, s.cluster, talk.run, s.strategy, s.target, turns, attacked, len(talk.replies))


def items(talks: Mapping[str, Sequence[Talk]]) -> list[JudgedItem]:
    """One item for each turn, with the reply of every model that came so far and what stood before it.

    Args:
        talks: model -> its dialogues.
    """
    at: dict[str, dict[str, tuple[Talk, int, int]]] = {}
    for model, some in talks.items():
        for t in some:
            for n, i in enumerate(t.replies, 1):
                at.setdefault(item_id(t, n), {})[model] = (t, n, i)
    return [_item(name, of) for name, of in at.items()]


def _item(name: str, of: Mapping[str, tuple[Talk, int, int]]) -> JudgedItem:
    talk, turn, place = next(iter(of.values()))
    before = {m: [x.to_dict() for x in t.dialogue.messages[:i]] for m, (t, _, i) in of.items()}
    s = talk.scenario
    meta: dict[str, Any] = {"scenario": s.id, "run": talk.run + 1, "agent_turn": turn}
    meta |= {k: v for k, v in (("strategy", s.strategy), ("target", s.target)) if v}
    if len(of) > 1:
        meta[HISTORIES] = before
    replies = {m: t.dialogue.messages[i].content for m, (t, _, i) in of.items()}
    rules = list(talk.dialogue.guardrails)
    return JudgedItem(name, s.cluster, next(iter(before.values())), replies, rules, place, meta)
