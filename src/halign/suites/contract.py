"""What an evaluation set is: questions, what a reply to them is worth, and what that is added up to.

A set's own file holds three small functions and a ``SUITE``. Sampling, files, resuming, intervals and tables are the driver's
(``run.py``), and every verdict is a ``GradeRecord`` or ``PairRecord`` of ``halign.judges.records``, so that statistics and
reports read an evaluated set as they read any folder of verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.judges.records import HISTORIES, Judged, JudgedItem, Record

if TYPE_CHECKING:
    from halign.evaluate import Interval
    from halign.suites.files import Files, SetFile


class SuiteSettings(BaseModel):
    """How replies are drawn; a set adds its own settings and changes defaults."""

    model_config = ConfigDict(extra="forbid")

    max_new_tokens: int = Field(1024, ge=1, description="longest reply, in tokens")
    temperature: float = Field(0.0, ge=0, description="0 takes the likeliest token, always")
    top_p: float = Field(1.0, gt=0, le=1, description="keep the likeliest tokens up to this probability")
    n: int = Field(1, ge=1, description="replies to each question")
    seed: int = Field(0, ge=0, description="for the draws")
    stop: tuple[str, ...] = Field((), description="strings at which a reply ends")


@dataclass(frozen=True)
class Question:
    """One question of a set.

    Attributes:
        prompt: what the model is asked first.
        then: what the user says after each of the model's own replies.
        conversation: what clusters the intervals; "": the question itself.
        meta: category, reference ...; goes into the judged items.
        temperature: of this question's replies, where the set says so; None: that of the settings.
        baseline: (name, reply) of a model that the set compares with.
    """

    id: str
    prompt: Dialogue
    then: tuple[str, ...] = ()
    conversation: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    temperature: float | None = None
    baseline: tuple[str, str] | None = None

    @property
    def cluster(self) -> str:
        """What clusters the intervals."""
        return self.conversation or self.id


@dataclass(frozen=True)
class Answered:
    """A question with the model's replies.

    Attributes:
        draws: draw -> its replies, one a turn.
        finished: draw -> turn -> False where a reply was cut off at ``max_new_tokens``.
    """

    question: Question
    draws: tuple[tuple[str, ...], ...]
    finished: tuple[tuple[bool, ...], ...] = ()

    def item(self, draw: int = 0, turn: int = 0) -> str:
        """Id of one reply's judged item: that of the question, with the turn and the draw where there are several.

        >>> Answered(Question("q", Dialogue.of("?"), ("more",)), (("a", "b"), ("c", "d"))).item(1, 0)
        'q.1~2'
        """
        turns = f".{turn + 1}" if self.question.then else ""
        return f"{self.question.id}{turns}{f'~{draw + 1}' if len(self.draws) > 1 else ''}"

    def prompt(self, draw: int = 0, turn: int = 0) -> Dialogue:
        """What the reply answers: the question, and for later turns the model's own replies before."""
        return self._after(self.draws[draw][:turn])

    def _after(self, replies: Sequence[str]) -> Dialogue:
        """The question, these replies, and what the user says after each."""
        asked = self.question.prompt
        for reply, user in zip(replies, self.question.then, strict=False):
            asked = asked + Message("assistant", reply) + Message("user", user)
        return asked

    def place(self, draw: int = 0, turn: int = 0) -> dict[str, Any]:
        """The fields of a record that say which reply it is about."""
        return {
            "item": self.item(draw, turn),
            "conversation": self.question.cluster,
            "turn": len(self.question.prompt) + 2 * turn,
        }

    def items(self, model: str, others: Mapping[str, Sequence[str]] | None = None) -> list[JudgedItem]:
        """One judged item for each reply; for a question that none was sampled for, one of the others. In a later turn the
        prompt has the model's own earlier replies, and ``meta["histories"]`` what the others' replies answer.

        Args:
            others: other models' replies to the same question, one a turn.
        """
        said = dict(others or {})
        if not self.draws:
            return [self._item(self.question.prompt, {n: r[0] for n, r in said.items()}, {}, 0, self.place())]
        found = []
        for d, draw in enumerate(self.draws):
            for t, reply in enumerate(draw):
                there = {n: r for n, r in said.items() if len(r) > t}
                replies = {model: reply, **{n: r[t] for n, r in there.items()}}
                before = {n: self._after(r[:t]) for n, r in there.items()} if t else {}
                found.append(self._item(self.prompt(d, t), replies, before, t, self.place(d, t)))
        return found

    def _item(
        self,
        prompt: Dialogue,
        replies: dict[str, str],
        before: Mapping[str, Dialogue],
        turn: int,
        place: Mapping[str, Any],
    ) -> JudgedItem:
        histories = {n: [m.to_dict() for m in of.messages] for n, of in before.items()} or None
        meta = {"agent_turn": turn + 1, **self.question.meta, "question": self.question.id}
        meta |= {HISTORIES: histories}
        return JudgedItem(
            prompt=[m.to_dict() for m in prompt.messages],
            replies=replies,
            guardrails=list(prompt.guardrails),
            meta={k: v for k, v in meta.items() if v is not None},
            **place,
        )


@dataclass(frozen=True)
class Bench:
    """What scoring may use.

    Attributes:
        model: the name that records give the model.
        files: the set's files.
        judge: one of ``halign.judges``, as named with ``--judge``; None: none.
        policy: the model itself, where it is in this process; for sets that read log-probabilities.
        run_code: whether replies may be run as programs.
        baseline: question's text -> a baseline's output, as given with ``--baseline``, and its name.
        remarks: what the table's reader has to know; added to as one goes.
    """

    model: str
    files: Files
    judge: Any = None
    policy: Any = None
    run_code: bool = False
    baseline: tuple[str, Mapping[str, str]] | None = None
    remarks: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Say something once."""
        if text not in self.remarks:
            self.remarks.append(text)


Totals = Callable[[Sequence[Answered], Judged, Any, Bench], "dict[str, Interval]"]
"""(answered, their items and verdicts, settings, bench) -> measure -> interval."""


@dataclass(frozen=True)
class Suite:
    """One evaluation set.

    Attributes:
        name: the word on the command line.
        summary: one line: what is asked, what is counted.
        files: key -> file of the set; the first one is the questions'.
        settings: its settings, a ``SuiteSettings``.
        questions: (files, settings) -> the questions, in the set's own order.
        score: (answered, settings, bench) -> verdicts. Called with some of the questions at a time.
        judge: whether a judge is needed, may be given, or is not asked.
        asks: what it is asked: the set's published words; yes or no; or each guardrail, which rules can tell, too.
        groups: keys of the items' meta by which results are also broken down; "guardrail" breaks down by the records' own.
        totals: numbers that are no means over records; None: there are none.
        sampled: False for a set that reads log-probabilities of given responses and samples nothing.
        code: True where scoring runs replies as programs.
        precheck: called before anything is sampled; raises what would stop the scoring.
        others: (answered, settings, bench) -> other models' replies that the model's are compared with, one a turn.
    """

    name: str
    summary: str
    files: Mapping[str, SetFile]
    settings: type[SuiteSettings]
    questions: Callable[[Files, Any], list[Question]]
    score: Callable[[Sequence[Answered], Any, Bench], Sequence[Record]]
    judge: Literal["needed", "possible", "none"] = "none"
    groups: tuple[str, ...] = ()
    totals: Totals | None = None
    sampled: bool = True
    code: bool = False
    asks: Literal["words", "yes", "guardrails"] = "words"
    precheck: Callable[[Any, Bench], None] = lambda settings, bench: None
    others: Callable[[Answered, Any, Bench], Mapping[str, Sequence[str]]] = lambda answered, settings, bench: {}


def one_turn(text: str) -> Dialogue:
    """A prompt of one user message."""
    return Dialogue.of([{"role": "user", "content": text}])


def wanted(value: Any, what: str) -> Any:
    """The value, or an error that says what is missing.

    Raises:
        HalignError: it is None.
    """
    if value is None:
        raise HalignError(what)
    return value
