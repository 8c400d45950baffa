"""Conversations between a model that asks and one that answers (Parrot: Sun et al. 2023, arXiv 2310.07301).

The one that asks is trained on users' turns (``halign train sft ... roles=user``: Parrot-Ask) and named by ``asker``; the writer
answers. Without ``asker`` the writer asks as well: the conversation is shown to it with the roles exchanged, and it is told to
speak as the user. Each conversation begins with the first query of its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.builders.turns import Turn, same_words, turns
from halign.builders.writers import LocalWriter, Written
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Demonstration
from halign.items import Ids
from halign.render import Renderer

PLAY = """\
You speak as the user of an assistant, and what is said to you is the assistant's reply. Say what this user would say next: ask \
on, refer to what was said before, ask for changes, or go on to something near. Say nothing but the user's next message. When \
the user has nothing more to say, answer with END alone."""
OPENING = "(The conversation begins.)"
END = "END"
SILENT, SHORT = "queries without an answer", "conversations with too few exchanges"


class Settings(BuilderSettings):
    """Of ``parrot_ask``."""

    asker: Path | None = Field(
        None, description="folder of a model trained with roles=user; none: the writer asks as well"
    )
    exchanges: int = Field(4, ge=1, description="queries of a conversation at most")
    least: int = Field(1, ge=1, description="exchanges that a conversation must have")
    temperature: float = Field(1.0, ge=0, description="of both")
    max_new_tokens: int = Field(200, ge=1, description="longest message of either, in tokens")


class AskingRenderer(Renderer):
    """Renders prompts of the user's turn."""

    def prompt(self, dialogue: Dialogue, role: str = "user") -> Ids:
        """As ``Renderer.prompt``."""
        return super().prompt(dialogue, role)


def prepare(settings: Settings) -> LocalWriter | None:
    """The model that asks; None if the writer is to.

    Raises:
        HalignError: it cannot be loaded, or was not trained on users' turns.
    """
    if settings.asker is None:
        return None
    from halign.models import fingerprint, load
    from halign.sampling import TransformersSampler

    policy = load(settings.asker)
    if "user" not in policy.rendering.get("roles", ()):
        raise HalignError(
            f"asker {settings.asker}: was not trained on users' turns; train it with halign train sft ... roles=user"
        )
    renderer = AskingRenderer(policy.tokenizer, **{"stop_ids": policy.stop_ids, **policy.rendering})
    return LocalWriter(
        TransformersSampler(policy, renderer=renderer), fingerprint(policy.model), settings.asker.name
    )


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """A conversation from each row's first query on."""
    made = Made()
    starts = [t for t in turns(rows) if t.prompt.messages[-1].role == "user"]
    talks = [Talk(t) for t in {t.row.number: t for t in reversed(starts)}.values()][::-1]
    asker = tools if tools.prepared is None else replace(tools, writer=tools.prepared)
    for number in range(settings.exchanges):
        if number:
            _ask([t for t in talks if not t.over], settings, asker)
        _answer([t for t in talks if not t.over], settings, tools)
    for talk in talks:
        count = len(talk.answers)
        if count < settings.least:
            made.dropped[SHORT if count else SILENT] += 1
            continue
        made.tallies["exchanges"] += count
        example = Demonstration(talk.dialogue, talk.turn.conversation, tuple(talk.answers))
        made.built.append(Built(example, (talk.turn.row,), tuple(dict.fromkeys(talk.keys))))
    return made


class Talk:
    """One conversation on its way.

    Attributes:
        answers: places of the writer's answers in the dialogue.
        over: nothing more is said.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn, self.dialogue, self.over = turn, turn.prompt, False
        self.keys: list[str] = []
        self.answers: list[int] = []


def _answer(talks: Sequence[Talk], settings: Settings, tools: Tools) -> None:
    """The assistant's turn; where there is none, the query that it would answer goes as well."""
    for talk, said in zip(talks, _said([t.dialogue for t in talks], settings, tools), strict=True):
        if said is None:
            talk.over = True
            if talk.answers:
                talk.dialogue = talk.dialogue[:-1]
            continue
        talk.answers.append(len(talk.dialogue))
        talk.dialogue += Message("assistant", said.text)
        talk.keys.append(said.key)


def _ask(talks: Sequence[Talk], settings: Settings, tools: Tools) -> None:
    """The user's turn. A conversation is over where there is none, or where a query is repeated."""
    shown = [t.dialogue if tools.prepared is not None else exchanged(t.dialogue) for t in talks]
    for talk, said in zip(talks, _said(shown, settings, tools), strict=True):
        asked = [m.content for m in talk.dialogue.messages if m.role == "user"]
        if said is None or said.text.strip(" .") == END or any(same_words(said.text, a) for a in asked):
            talk.over = True
            continue
        talk.dialogue += Message("user", said.text)
        talk.keys.append(said.key)


def exchanged(dialogue: Dialogue) -> Dialogue:
    """The conversation as the user's part sees it: what the assistant said is said to it, and the reverse. Guardrails and system
    messages are the assistant's affair."""
    roles = {"user": "assistant", "assistant": "user"}
    said = [Message(roles[m.role], m.content) for m in dialogue.messages if m.role in roles]
    return Dialogue((Message("system", PLAY), Message("user", OPENING), *said))


def _said(prompts: Sequence[Dialogue], settings: Settings, tools: Tools) -> list[Written | None]:
    """A whole message each; None where there is none."""
    groups = tools.write(prompts, temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
    return [g[0] if g and g[0].finished and g[0].text else None for g in groups]


BUILDER = Builder(
    "parrot_ask",
    "conversations between a model that asks as users do and one that answers (Parrot)",
    Settings,
    build,
    needs=("writer",),
    prepare=prepare,
    chat=True,
)
