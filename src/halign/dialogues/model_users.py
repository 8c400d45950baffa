"""A language model as the user, as in tau-bench (Yao et al. 2024, arXiv 2406.12045): told what it wants, it says so bit by bit.

The conversation is shown to it with the roles exchanged. It says END alone when it has what it wants, or cannot get it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halign.builders.parrot_ask import END, OPENING, exchanged
from halign.builders.turns import same_words
from halign.dialogue import Dialogue, Message
from halign.dialogues.scenarios import GOAL
from halign.dialogues.scenarios import OPENING as FIRST
from halign.judges.questions import filled
from halign.sampling.versions import version_of

TOLD = """\
You speak as the user of an assistant, and what is said to you is the assistant's reply. This is what you want and know:
{{ goal }}
Say only the user's next message, in one to three sentences. Do not say everything at once: say what is asked for, or what comes
next. Invent nothing that is not told here; if you are asked for it, say that you do not know. When you have what you want, or see
that you cannot get it, answer with END alone."""


class ModelUsers:
    """A model that speaks as the user of ``read_scenarios``.

    Args:
        sampler: the model (``halign.sampling.Sampler``).
        temperature, max_new_tokens, seed: of its messages.
    """

    def __init__(
        self,
        sampler: Any,
        name: str,
        *,
        temperature: float = 1.0,
        max_new_tokens: int = 200,
        seed: int = 0,
    ) -> None:
        self.sampler, self.name = sampler, name
        self.settings = {"temperature": temperature, "max_new_tokens": max_new_tokens}
        self.seed = seed

    @property
    def version(self) -> list[Any]:
        """What its words depend on beside the scenarios, for jobs that go on."""
        return [version_of(self.sampler), self.settings, self.seed]

    def speak(self, dialogues: Sequence[Dialogue]) -> list[Dialogue | None]:
        """Every dialogue with the user's next turn; None where the user is content, says nothing, or repeats a message.

        Raises:
            HalignError: as the sampler's.
        """
        found: list[Dialogue | None] = [_opened(d) for d in dialogues]
        asked = [i for i, d in enumerate(found) if d is None]
        if asked:
            turn = max(sum(m.role == "assistant" for m in d.messages) for d in dialogues)
            groups = self.sampler.sample(
                [_shown(dialogues[i]) for i in asked], seed=self.seed + turn, **self.settings
            )
            for i, (said,) in zip(asked, groups, strict=True):
                found[i] = _continued(dialogues[i], said.text.strip())
        return found


def _opened(dialogue: Dialogue) -> Dialogue | None:
    """The dialogue with the words that its scenario begins with; None if it has begun, or has none."""
    first = dialogue.meta.get(FIRST)
    if not first or any(m.role == "user" for m in dialogue.messages):
        return None
    return dialogue + Message("user", first)


def _shown(dialogue: Dialogue) -> Dialogue:
    """The conversation as the user's model sees it."""
    _, opening, *said = exchanged(dialogue).messages
    told = Message("system", filled(TOLD, goal=dialogue.meta[GOAL]))
    return Dialogue((told, opening, *said), meta={"conversation": dialogue.meta.get("conversation", "")})


def _continued(dialogue: Dialogue, words: str) -> Dialogue | None:
    before = [m.content for m in dialogue.messages if m.role == "user"]
    over = not words or words.strip(" .") == END or words == OPENING
    if over or any(same_words(words, b) for b in before):
        return None
    return dialogue + Message("user", words)
