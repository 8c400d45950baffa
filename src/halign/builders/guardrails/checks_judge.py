"""The checks that are recognised from guardrails' words, as a judge: ``--judge checks``."""

from __future__ import annotations

from collections.abc import Iterable

from halign.builders.guardrails.contract import Turn, Verdict
from halign.builders.guardrails.policy import of_text
from halign.dialogue import Dialogue
from halign.judges.guardrail_questions import whole
from halign.judges.protocol import Mark, PlainVerdicts, Prompts, Replies, Ruling
from halign.judges.rubric import REFERENCE
from halign.judges.rules import ADHERENCE, rulings_from


class ChecksJudge(PlainVerdicts):
    """Marks a reply on every guardrail of its prompt that has a check which can tell; the others it leaves out (``unchecked``).

    Where ``meta["reference"]`` of a prompt has a good reply, it is evidence of what the turn is about; else the reply itself is.
    """

    name = "checks"
    dimensions = (ADHERENCE,)
    sees_order = False

    def marks(self, prompts: Prompts, replies: Replies) -> list[list[Mark]]:
        """For each reply a mark for all of adherence and one for each guardrail that is known to be kept or broken."""
        return [_marks(p, r) for p, r in zip(prompts, replies, strict=True)]

    def rulings(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[list[Ruling]]:
        """The verdicts that follow from the marks of both replies."""
        of_a, of_b = self.marks(prompts, a), self.marks(prompts if others is None else others, b)
        return [rulings_from(x, y) for x, y in zip(of_a, of_b, strict=True)]

    def unchecked(self, guardrails: Iterable[str]) -> list[str]:
        """Those that no check fits."""
        found = ((text, of_text(text)) for text in guardrails)
        return [text for text, rule in found if rule is None or rule.check is None]


def _marks(prompt: Dialogue, reply: str) -> list[Mark]:
    good = prompt.meta.get(REFERENCE)
    turn = Turn(prompt.messages, good if isinstance(good, str) else reply)
    found = []
    for text in prompt.guardrails:
        rule = of_text(text)
        said = Verdict.OPEN if rule is None or rule.check is None else rule.check.judge(turn, reply)
        if said is not Verdict.OPEN:
            kept = said is Verdict.KEPT
            found.append(Mark(ADHERENCE, float(kept), acceptable=kept, guardrail=text))
    return [whole(ADHERENCE, found), *found]
