"""Rounds of sampling, judging, building and training: what ``raft``, ``rso``, ``spin``, ``sppo``, ``online_dpo`` ... declare.

A round N of an output is a folder ``rounds/N``: replies are drawn (samples.jsonl) and judged (judged.jsonl), a builder makes
examples of them (data.jsonl), ``halign.training.train`` learns those (run/, an ordinary run folder), and held-out prompts are
answered (evaluation.jsonl; ``rounds/0`` has those of the start). The output has a row for every round in metrics.jsonl, and in
the end model/.

Whatever ends the process, the same call goes on: from the last chunk of prompts that was written down, or the last checkpoint of
training. Draws depend on seed, round and chunk alone, so files and weights come out as they would have.

A loop is a file with a builder, its settings and a ``LOOP``:

>>> from halign.loops.raft import LOOP, raft
>>> from halign.loops.groups import Group
>>> from halign.dialogue import Dialogue
>>> made = raft([Group(Dialogue.of("2+2="), "sums", ("5", "4"), rewards=(0.0, 1.0))], samples=2)
>>> made.examples[0].dialogue.messages[-1].content, LOOP.name
('4', 'raft')
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from halign.convert import Converted
from halign.examples import Example
from halign.loops.contract import Loop, Need, Task
from halign.loops.groups import Group, Pair
from halign.loops.round_settings import RoundSettings

if TYPE_CHECKING:
    from halign.training import Run

Builder = Callable[..., Converted[Any]]
"""Groups, and by keyword those of the loop's settings that it names -> examples. It is pure: no tensors, no draws but by
``Group.seed``."""


@dataclass(frozen=True)
class Rounds:
    """A loop of rounds, as its file declares it.

    Attributes:
        settings: its own settings, with its defaults: the objective, which model a round starts from (``start``), how many
            earlier rounds' examples are mixed in (``mix``).
        build: makes the examples of a round.
        asks: which pairs of a group preferences have to compare, from the group as judged so far; keyword arguments as of
            ``build``. None: none.
    """

    name: str
    about: str
    settings: type[RoundSettings]
    needs: tuple[Need, ...]
    build: Builder
    asks: Callable[..., Sequence[Pair]] | None = None

    def loop(self) -> Loop:
        """As ``halign.loops.run`` knows it."""
        return Loop(self.name, self.about, self.settings, self.needs, self.run)

    def run(self, task: Task) -> Run:
        """All rounds."""
        from halign.loops.round_job import Job

        return Job(self, task).run()

    def examples(self, groups: Sequence[Group], settings: RoundSettings) -> Converted[Example]:
        """What ``build`` makes with these settings."""
        made: Converted[Example] = self.build(groups, **_of(self.build, settings))
        return made

    def pairs(self, settings: RoundSettings) -> Callable[[Group], Sequence[Pair]] | None:
        """``asks`` with these settings."""
        asks = self.asks
        if asks is None:
            return None
        own = _of(asks, settings)
        return lambda group: asks(group, **own)


def _of(function: Callable[..., Any], settings: RoundSettings) -> Mapping[str, Any]:
    """The settings that a function names as keyword-only arguments."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: getattr(settings, p.name) for p in parameters if p.kind is p.KEYWORD_ONLY}
