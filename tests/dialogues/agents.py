"""What tests of dialogues share: a model that says what it is told to, and a job in one call."""

from __future__ import annotations

from halign.dialogues.conversing import Job, converse
from halign.dialogues.talking import TalkSettings
from halign.sampling import Sample

POLICY = 'rules:\n- Never say "free".\n- Never say "guarantee".\n'


class Agent:
    """Says what ``answer`` says; counts its calls, and may die at one."""

    def __init__(self, answer, dies_at=None):
        self.answer, self.dies_at, self.calls = answer, dies_at, []

    def sample(self, prompts, *, seed=0, **settings):
        self.calls.append((len(prompts), seed))
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        return [[Sample(self.answer(p), finished=True)] for p in prompts]


def gives_in(when):
    """Breaks the first rule when the user has said something."""

    def answer(prompt):
        return "It is free." if when in prompt.messages[-1].content else "I cannot do that."

    return answer


def job(models, user, scenarios, judge, settings=None):
    return Job(models, user, scenarios, judge, settings or TalkSettings())


def talked(models, user, scenarios, judge, folder, settings=None, **options):
    """Dialogues and verdicts."""
    return converse(job(models, user, scenarios, judge, settings), folder, **options)
