"""Replies to the questions of a set: sampled turn by turn and kept as they come, or read from a file of stored outputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.judges.records import append_rows, rows
from halign.readers.files import rows_of
from halign.sampling.protocol import Sampler
from halign.suites.contract import Answered, Question, SuiteSettings

REPLIES = "replies.jsonl"
CHUNK = 32
"""Questions answered between two writes."""

Told = Callable[[int, int], None]
"""Called with (questions done, questions in all)."""


@dataclass(frozen=True)
class Stored:
    """Outputs that somebody wrote before: question's text -> reply.

    Attributes:
        name: of the model that wrote them.
    """

    name: str
    outputs: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Stored:
        """AlpacaEval's outputs: rows of ``instruction``, ``output`` and ``generator``, as JSON or JSONL.

        Raises:
            HalignError: the file cannot be read, or holds no such rows.
        """
        found: dict[str, str] = {}
        names: dict[str, None] = {}
        for number, row in rows_of(path).rows:
            if not isinstance(row, Mapping) or "instruction" not in row or "output" not in row:
                raise HalignError(
                    f"{path}: row {number} is no stored output; such rows have instruction, output, generator"
                )
            found[str(row["instruction"])] = str(row["output"])
            names[str(row.get("generator", path.stem))] = None
        if len(names) != 1:
            raise HalignError(
                f"{path}: outputs of one generator are wanted, there are {', '.join(names) or 'none'}"
            )
        return cls(next(iter(names)), found)

    def answers(self, questions: Sequence[Question], suite: str) -> list[Answered]:
        """The stored reply to each question.

        Raises:
            HalignError: a question has several turns, or no stored reply.
        """
        if any(q.then for q in questions):
            raise HalignError(
                f"{suite} has several turns, and stored outputs hold one: give the model itself"
            )
        texts = [q.prompt.messages[-1].content for q in questions]
        missing = [t for t in texts if t not in self.outputs]
        if missing:
            raise HalignError(
                f"{suite}: {len(missing)} of {len(texts)} questions have no stored output, such as {missing[0][:60]!r}"
            )
        return [Answered(q, ((self.outputs[t],),), ((True,),)) for q, t in zip(questions, texts, strict=True)]


def sampled(
    questions: Sequence[Question],
    sampler: Sampler,
    settings: SuiteSettings,
    folder: Path,
    told: Told = lambda done, total: None,
) -> Iterator[list[Answered]]:
    """The questions with replies, chunk by chunk in order; what ``folder`` holds already is not sampled again.

    A reply's draw depends on the seed, its chunk's place and its own place there: a job that was cut off goes on with the draws
    that it would have had, and for that draws a chunk of which something is missing as a whole.
    """
    file = folder / REPLIES
    kept = {row["id"]: row for _, row in rows(file)}
    for start in range(0, len(questions), CHUNK):
        chunk = questions[start : start + CHUNK]
        missing = {q.id for q in chunk if q.id not in kept}
        if missing:
            drawn = settings.temperature > 0 or any(q.temperature for q in chunk)
            again = chunk if drawn else [q for q in chunk if q.id in missing]
            new = [_row(a) for a in _sample(again, sampler, settings, start) if a.question.id in missing]
            append_rows(file, new)
            kept.update({row["id"]: row for row in new})
        told(start + len(chunk), len(questions))
        yield [_answered(q, kept[q.id]) for q in chunk]


def _sample(
    questions: Sequence[Question], sampler: Sampler, settings: SuiteSettings, place: int
) -> list[Answered]:
    """All turns of all draws; a later turn is asked on the model's own replies."""
    found: list[list[list[tuple[str, bool]]]] = [[[] for _ in range(settings.n)] for _ in questions]
    heats: dict[float, list[int]] = defaultdict(list)
    for i, q in enumerate(questions):
        heats[settings.temperature if q.temperature is None else q.temperature].append(i)
    how: dict[str, Any] = {
        "max_new_tokens": settings.max_new_tokens,
        "top_p": settings.top_p,
        "stop": settings.stop,
    }
    for heat, group in heats.items():
        first = sampler.sample(
            [questions[i].prompt for i in group],
            n=settings.n,
            temperature=heat,
            seed=_seed(settings.seed, place, 0),
            **how,
        )
        for i, samples in zip(group, first, strict=True):
            for d, s in enumerate(samples):
                found[i][d].append((s.text, s.finished))
        for turn in range(1, 1 + max(len(questions[i].then) for i in group)):
            asked = [(i, d) for i in group if len(questions[i].then) >= turn for d in range(settings.n)]
            prompts = [
                Answered(questions[i], (tuple(text for text, _ in found[i][d]),)).prompt(0, turn)
                for i, d in asked
            ]
            later = sampler.sample(prompts, temperature=heat, seed=_seed(settings.seed, place, turn), **how)
            for (i, d), (s,) in zip(asked, later, strict=True):
                found[i][d].append((s.text, s.finished))
    return [
        Answered(
            q,
            tuple(tuple(text for text, _ in draw) for draw in draws),
            tuple(tuple(done for _, done in draw) for draw in draws),
        )
        for q, draws in zip(questions, found, strict=True)
    ]


def _seed(seed: int, place: int, turn: int) -> int:
    """Seeds of chunks and turns apart from each other."""
    return seed * 1_000_003 + place * 1_009 + turn


def _row(answered: Answered) -> dict[str, Any]:
    return {
        "id": answered.question.id,
        "draws": [list(d) for d in answered.draws],
        "finished": [list(d) for d in answered.finished],
    }


def _answered(question: Question, row: Mapping[str, Any]) -> Answered:
    return Answered(question, tuple(map(tuple, row["draws"])), tuple(map(tuple, row["finished"])))
