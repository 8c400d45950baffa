"""A conversation along its flow charts: where the bot stands after every turn, and where it leaves the chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from halign.dialogue import Dialogue
from halign.dialogues.chart import FlowChart
from halign.dialogues.matching import LEAST, Match, NodeMatcher, Place

Step = Literal["edge", "condition", "free", "again", "ahead", "jump", "off", "unknown"]
ALLOWED: frozenset[str] = frozenset(("edge", "condition", "free", "again"))
WORDS: dict[str, str] = {
    "edge": "along an edge of the chart, or its beginning",
    "condition": "what the chart says under a condition",
    "free": "a reply of the chart that no edge governs",
    "again": "the same reply as before",
    "ahead": "further along the chart, with steps left out",
    "jump": "a reply of the chart to which no edge leads from here",
    "off": "nothing that the chart says",
    "unknown": "it cannot be told which reply of the chart it is",
}
_BEST: tuple[Step, ...] = ("edge", "condition", "again", "free", "ahead", "jump")


@dataclass(frozen=True)
class ChartTurn:
    """One agent turn.

    Attributes:
        place: index of the message in the conversation.
        steps: what each of its parts did; a turn may say several replies of the chart in a row.
        nodes: the node of each part; None where it is off the chart or cannot be told.
        matches: how each part was matched.
    """

    place: int
    steps: tuple[Step, ...]
    nodes: tuple[Place | None, ...]
    matches: tuple[Match, ...]

    @property
    def step(self) -> Step:
        """The worst of its parts: off, jump, ahead, unknown, else that of the first."""
        return next((s for s in ("off", "jump", "ahead", "unknown") if s in self.steps), self.steps[0])

    @property
    def allowed(self) -> bool | None:
        """Whether every part follows the chart; None where that cannot be told."""
        return None if self.step == "unknown" else self.step in ALLOWED


class ChartFollower:
    """Follows conversations along charts. Where several charts are in force, the bot has a place in each of them.

    Args:
        least: overlap from which on a reply counts as a node's (``matching``).
    """

    def __init__(self, charts: Sequence[FlowChart], least: float = LEAST) -> None:
        self.charts = {c.task: c for c in charts}
        self.matcher = NodeMatcher(charts, least)

    def follow(self, dialogue: Dialogue) -> list[ChartTurn]:
        """Every agent turn that says something, in order."""
        at: dict[str, str] = {}
        found = []
        for place, message in enumerate(dialogue.messages):
            if message.role != "assistant" or not message.content.strip():
                continue
            steps, nodes, matches = [], [], []
            for match in self._parts(message.content):
                step, node = self._step(match, at)
                steps.append(step)
                nodes.append(node)
                matches.append(match)
            found.append(ChartTurn(place, tuple(steps), tuple(nodes), tuple(matches)))
        return found

    def _parts(self, text: str) -> list[Match]:
        """The whole turn if it is one reply, else its lines, as many at a time as are one template."""
        whole = self.matcher.match(text)
        lines = [line for line in text.splitlines() if line.strip()]
        if whole.how == "template" or len(lines) == 1:
            return [whole]
        found: list[Match] = []
        while lines:
            for count in range(len(lines), 0, -1):
                match = self.matcher.by_template("\n".join(lines[:count]))
                if match is not None:
                    break
            else:
                match = self.matcher.match(lines[0])
            found.append(match)
            lines = lines[count:]
        return found if any(m.places for m in found) or not whole.places else [whole]

    def _step(self, match: Match, at: dict[str, str]) -> tuple[Step, Place | None]:
        """What a reply does from where the bot stands, the best that any of its nodes allows; moves the bot there. Where a reply
        that is all slots is allowed, words that match nothing may be that one."""
        if not match.places:
            wild = any(self._kind(p, at) in ALLOWED for p in self.matcher.unreadable)
            return ("unknown" if wild else "off"), None
        if not match.clear:
            return "unknown", None
        steps = {place: self._kind(place, at) for place in match.places}
        place = min(steps, key=lambda p: (_BEST.index(steps[p]), p[0] not in at))
        if steps[place] != "free":
            at[place[0]] = place[1]
        return steps[place], place

    def _kind(self, place: Place, at: dict[str, str]) -> Step:
        task, node = place
        chart, here = self.charts[task], at.get(task)
        if node in (chart.starts if here is None else chart.after(here)):
            return "edge"
        if node == here:
            return "again"
        if node in chart.free:
            return "free"
        if node in chart.conditional:
            return "condition"
        return "ahead" if node in chart.ahead(here) else "jump"


def first_departure(turns: Sequence[ChartTurn]) -> int | None:
    """The agent turn, from 1, at which the bot first leaves the chart; None: it is not known to leave it."""
    return next((n for n, t in enumerate(turns, 1) if t.allowed is False), None)
