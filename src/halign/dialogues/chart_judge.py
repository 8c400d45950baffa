"""A policy given as a flow chart, as a judge: does the reply follow an allowed edge from where the conversation stands?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue, Message
from halign.dialogues.chart import FlowChart, of_tasks, read_charts
from halign.dialogues.following import WORDS, ChartFollower, ChartTurn, first_departure
from halign.dialogues.matching import LEAST
from halign.evaluate import Interval, share
from halign.judges.protocol import Mark, PlainVerdicts, Prompts, Replies, Ruling, Trouble
from halign.judges.records import GradeRecord
from halign.judges.rules import rulings_from

DIMENSION = "flow chart"
TASKS = "tasks"
"""Where a prompt's ``meta`` has the tasks whose charts are in force; without it all charts are."""


class FlowChartJudge(PlainVerdicts):
    """Judges replies by flow charts. Blind to order, and asks no model.

    A reply of which it cannot be told has no verdict, and trouble "abstained".

    Args:
        charts: a file, or charts by task (``read_charts``).
        least: overlap from which on a reply counts as a chart's (``matching``).

    Raises:
        HalignError: as ``read_charts``.
    """

    dimensions = (DIMENSION,)
    sees_order = False
    name = DIMENSION

    def __init__(self, charts: str | Path | Mapping[str, FlowChart], least: float = LEAST) -> None:
        self.charts = dict(charts) if isinstance(charts, Mapping) else read_charts(charts)
        self.least = least
        self._followers: dict[tuple[str, ...], ChartFollower] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """For judging.json: which charts, in which version of them."""
        words = json.dumps([asdict(c) for c in self.charts.values()], sort_keys=True, default=str)
        version = hashlib.sha256(words.encode()).hexdigest()[:12]
        return {"kind": "flow chart", "tasks": list(self.charts), "version": version, "least": self.least}

    def follow(self, dialogue: Dialogue) -> list[ChartTurn]:
        """Every agent turn of a conversation.

        Raises:
            HalignError: its ``meta["tasks"]`` names a task without a chart.
        """
        tasks = tuple(dialogue.meta.get(TASKS) or ())
        if tasks not in self._followers:
            self._followers[tasks] = ChartFollower(of_tasks(self.charts, tasks), self.least)
        return self._followers[tasks].follow(dialogue)

    def marks(self, prompts: Prompts, replies: Replies) -> list[list[Mark]]:
        """Each reply after its conversation: 1 on the chart, 0 off it, as an empty one is; trouble where it cannot be told."""
        found = []
        for prompt, reply in zip(prompts, replies, strict=True):
            turns = self.follow(prompt + Message("assistant", reply)) if reply.strip() else []
            allowed, why = (turns[-1].allowed, in_words(turns[-1])) if turns else (False, WORDS["off"])
            value = None if allowed is None else float(allowed)
            trouble: Trouble | None = "abstained" if allowed is None else None
            found.append([Mark(DIMENSION, value, acceptable=allowed, why=why, trouble=trouble)])
        return found

    def rulings(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[list[Ruling]]:
        """The verdicts that follow from the two marks; none where one of them cannot be told."""
        of_a, of_b = self.marks(prompts, a), self.marks(prompts if others is None else others, b)
        return [rulings_from(x, y) for x, y in zip(of_a, of_b, strict=True)]

    def records(self, dialogue: Dialogue, conversation: str, model: str) -> list[GradeRecord]:
        """One verdict for each agent turn; the item is ``conversation:place``, as for stored replies."""
        return [
            GradeRecord(
                f"{conversation}:{t.place}",
                conversation,
                DIMENSION,
                self.name,
                model,
                None if t.allowed is None else float(t.allowed),
                acceptable=t.allowed,
                turn=t.place,
                why=(in_words(t),),
                trouble="abstained" if t.allowed is None else None,
            )
            for t in self.follow(dialogue)
        ]


def in_words(turn: ChartTurn) -> str:
    """What a turn did, for people."""
    node = turn.nodes[turn.steps.index(turn.step)]
    return WORDS[turn.step] + (f" ({node[1]})" if node else "")


@dataclass(frozen=True)
class Following:
    """How far conversations follow their charts. Intervals are clustered by conversation.

    Attributes:
        allowed: share of the agent turns that are known to follow the chart, among those of which it can be told.
        whole: share of the conversations without a departure; one with a turn that cannot be told and no departure counts.
        departures: agent turn, from 1 -> conversations that first leave the chart there.
        steps: what turns did -> how many.
    """

    allowed: Interval
    whole: Interval
    departures: Mapping[int, int]
    steps: Mapping[str, int]

    def __str__(self) -> str:
        turns = sum(self.steps.values())
        rows = [
            f"turns on the chart        {self.allowed} of {self.allowed.n:,} turns of which it can be told"
        ]
        rows += [f"conversations without departure  {self.whole} of {self.whole.n:,}"]
        rows += [f"  {count / turns:6.1%}  {count:6,}  {WORDS[step]}" for step, count in self.steps.items()]
        return "\n".join(rows)


def following(conversations: Iterable[tuple[str, Sequence[ChartTurn]]]) -> Following:
    """The numbers of (conversation, its turns).

    Raises:
        ValueError: no turn can be told.
    """
    given = [(name, turns) for name, turns in conversations if turns]
    told = [(bool(t.allowed), name) for name, turns in given for t in turns if t.allowed is not None]
    ends = [(first_departure(turns), name) for name, turns in given]
    steps: Counter[str] = Counter(t.step for _, turns in given for t in turns)
    return Following(
        share([ok for ok, _ in told], [name for _, name in told]),
        share([end is None for end, _ in ends], [name for _, name in ends]),
        dict(sorted(Counter(end for end, _ in ends if end is not None).items())),
        {step: steps[step] for step in WORDS if steps[step]},
    )
