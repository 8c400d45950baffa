"""Overlap with reference replies: BLEU, chrF and ROUGE on any data that has them."""

from __future__ import annotations

from collections.abc import Sequence

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.evaluate import Interval
from halign.evaluate.overlap import corpus, rouge, sentence_chrf
from halign.examples import Conversation, Demonstration, Preference, Ranking
from halign.judges.records import GradeRecord, Judged
from halign.readers import read
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings
from halign.suites.files import Files, SetFile

SCALE = (0.0, 100.0)


def questions(files: Files, settings: SuiteSettings) -> list[Question]:
    """One question for each reply of an agent that the data holds: what was said before, and that reply as the reference.

    Raises:
        HalignError: the data holds no replies.
    """
    found: list[Question] = []
    for example in read(files.path("questions")):
        for prompt, reference in _referenced(example):
            found.append(
                Question(
                    f"overlap-{len(found)}",
                    prompt,
                    conversation=example.conversation,
                    meta={"reference": reference},
                )
            )
    if not found:
        raise HalignError(f"overlap: {files.path('questions')} holds no replies to compare with")
    return found


def _referenced(example: object) -> list[tuple[Dialogue, str]]:
    """(prompt, best reply) of an example."""
    if isinstance(example, Preference):
        return [(example.prompt, example.chosen.content)]
    if isinstance(example, Ranking):
        return [(example.prompt, example.responses[0].content)]
    if isinstance(example, Conversation | Demonstration):
        dialogue = example.dialogue
        turns = example.turns if isinstance(example, Demonstration) else None
        wanted = (
            turns
            if turns is not None
            else [i for i, m in enumerate(dialogue.messages) if m.role == "assistant" and i]
        )
        return [(dialogue[:i], dialogue.messages[i].content) for i in wanted]
    return []


def score(answered: Sequence[Answered], settings: SuiteSettings, bench: Bench) -> list[GradeRecord]:
    """ROUGE's F1 and chrF of each reply."""
    found = []
    for a in answered:
        reference = a.question.meta["reference"]
        for d, (reply, *_) in enumerate(a.draws):
            values = {**rouge(reply, reference), "chrF, mean of replies": sentence_chrf(reply, reference)}
            found += [
                GradeRecord(
                    dimension=name, judge="overlap", model=bench.model, value=v, scale=SCALE, **a.place(d)
                )
                for name, v in values.items()
            ]
    return found


def totals(
    answered: Sequence[Answered], judged: Judged, settings: SuiteSettings, bench: Bench
) -> dict[str, Interval]:
    """BLEU and chrF of the corpus, first replies."""
    replies = [a.draws[0][0] for a in answered]
    references = [a.question.meta["reference"] for a in answered]
    clusters = [a.question.cluster for a in answered]
    return {
        f"{name}, corpus": corpus(metric, replies, references, clusters)
        for name, metric in (("BLEU", "bleu"), ("chrF", "chrf"))
    }


SUITE = Suite(
    "overlap",
    "data with reference replies: BLEU and chrF of the corpus, ROUGE of each reply",
    {"questions": SetFile((), "any data with replies (demonstrations, conversations, pairs): --data FILE")},
    SuiteSettings,
    questions,
    score,
    totals=totals,
)
