"""A policy given as a flow chart, as a judge: does the reply follow an allowed edge from where the conversation stands?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue, Message
from halign.dialogues.chart import FlowChart, of_tasks, read_charts
from halign.dialogues.following import WORDS, ChartFollower, ChartTurn, first_departure
from halign.dialogues.matching import LEAST
from halign.evaluate import Interval, share
from halign.judges.protocol import Verdict
from halign.judges.records import GradeRecord
from halign.judges.rules import Grade, verdict

DIMENSION = "flow chart"
TASKS = "tasks"
"""Where a prompt's ``meta`` has the tasks whose charts are in force; without it all charts are."""


class FlowChartJudge:
    """Judges replies by flow charts. Blind to order, and asks no model.

    A reply of which it cannot be told has no verdict: its grade lacks the dimension.

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
        """For judging.json."""
        return {"kind": "flow chart", "tasks": list(self.charts), "least": self.least}

    def follow(self, dialogue: Dialogue) -> list[ChartTurn]:
        """Every agent turn of a conversation.

        Raises:
            HalignError: its ``meta["tasks"]`` names a task without a chart.
        """
        tasks = tuple(dialogue.meta.get(TASKS) or ())
        if tasks not in self._followers:
            self._followers[tasks] = ChartFollower(of_tasks(self.charts, tasks), self.least)
        return self._followers[tasks].follow(dialogue)

    def grade(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[Grade]:
        """Each reply after its conversation; an empty one is off the chart."""
        found = []
        for prompt, reply in zip(prompts, replies, strict=True):
            turns = self.follow(prompt + Message("assistant", reply)) if reply.strip() else []
            allowed = turns[-1].allowed if turns else False
            why = in_words(turns[-1]) if turns else WORDS["off"]
            told = {} if allowed is None else {DIMENSION: allowed}
            found.append(Grade(told, reasons={} if allowed else {DIMENSION: why}))
        return found

    def compare(
        self, prompts: Sequence[Dialogue], a: Sequence[str], b: Sequence[str]
    ) -> list[dict[str, Verdict]]:
        """The verdicts that follow from the two grades; none where one of them cannot be told."""
        pairs = zip(self.grade(prompts, a), self.grade(prompts, b), strict=True)
        return [
            {d: verdict(x.acceptable[d], y.acceptable[d]) for d in x.acceptable if d in y.acceptable}
            for x, y in pairs
        ]

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
    steps = Counter(t.step for _, turns in given for t in turns)
    return Following(
        share([ok for ok, _ in told], [name for _, name in told]),
        share([end is None for end, _ in ends], [name for _, name in ends]),
        dict(sorted(Counter(end for end, _ in ends if end is not None).items())),
        {step: steps[step] for step in WORDS if steps[step]},
    )
