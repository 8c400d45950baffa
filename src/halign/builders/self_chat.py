"""One model plays both sides of a conversation about a seed (Baize: Xu et al. 2023, arXiv 2304.01196, section 3).

The writer is given a topic, the last message of the row's prompt, and writes the whole transcript, each statement behind [Human]
or [AI]. What it wrote is cut where the two no longer take turns. For Baize v2's self-distillation, ``grade`` with
``candidates=written keep=best`` takes the best of a model's replies to the turns of what was built here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.builders.turns import turns
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Demonstration
from halign.judges.questions import filled

TRANSCRIPT = """\
Write the transcript of a conversation between a human and an AI assistant, who take turns, about the topic below. Statements of \
the human begin with [Human], those of the assistant with [AI]. The human asks about the topic, about what is near to it, \
or about what was said before, and stops when there is nothing more to ask. The assistant tries not to ask questions.
{% if guardrails %}
The assistant keeps these rules:
{% for rule in guardrails %}- {{ rule }}
{% endfor %}{% endif %}
Topic: {{ topic }}

Write the transcript in exactly this form and nothing else:
[Human] ...
[AI] ..."""

_SPEAKER = re.compile(r"^[ \t]*\[(Human|AI)\]:?", re.MULTILINE)
_ROLES = {"Human": "user", "AI": "assistant"}
SILENT, SHORT = "topics without a transcript", "transcripts with too few exchanges"


class Settings(BuilderSettings):
    """Of ``self_chat``."""

    least: int = Field(1, ge=1, description="exchanges that a conversation must have")
    temperature: float = Field(1.0, ge=0, description="of the writer")
    max_new_tokens: int = Field(1000, ge=1, description="longest transcript, in tokens")


def conversation(text: str, finished: bool = True) -> tuple[Message, ...]:
    """The turns of a transcript, from the human's first, in whole exchanges; of one that was cut off without its last statement.

    >>> [m.content for m in conversation("[AI] Hi!\\n[Human] Who?\\n[AI] Ann.\\n[Human] Bye")]
    ['Who?', 'Ann.']
    """
    _, *parts = _SPEAKER.split(text)
    said = [(_ROLES[who], words.strip()) for who, words in zip(parts[::2], parts[1::2], strict=True)]
    said = said if finished else said[:-1]
    while said and said[0][0] != "user":
        said.pop(0)
    found: list[Message] = []
    for (asks, question), (answers, reply) in zip(said[::2], said[1::2], strict=False):
        if (asks, answers) != ("user", "assistant") or not question or not reply:
            break
        found += [Message("user", question), Message("assistant", reply)]
    return tuple(found)


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """A conversation about the first prompt of each row."""
    made = Made()
    seeds = list({t.row.number: t for t in reversed(list(turns(rows)))}.values())[::-1]
    asked = [
        Dialogue(
            (
                Message(
                    "user",
                    filled(TRANSCRIPT, topic=t.prompt.messages[-1].content, guardrails=t.prompt.guardrails),
                ),
            )
        )
        for t in seeds
    ]
    groups = tools.write(asked, temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
    for turn, group in zip(seeds, groups, strict=True):
        if not group:
            made.dropped[SILENT] += 1
            continue
        said = conversation(group[0].text, group[0].finished)
        if len(said) < 2 * settings.least:
            made.dropped[SHORT] += 1
            continue
        made.tallies["exchanges"] += len(said) // 2
        dialogue = Dialogue(said, turn.prompt.guardrails)
        made.built.append(Built(Demonstration(dialogue, turn.conversation), (turn.row,), (group[0].key,)))
    return made


BUILDER = Builder(
    "self_chat",
    "one model plays both sides of a conversation about each row's topic (Baize)",
    Settings,
    build,
    needs=("writer",),
    chat=True,
)
