"""Items from what models have answered: files of ``halign sample``, whole conversations, or a folder that was judged before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.examples import Conversation, Demonstration
from halign.judges.records import HISTORIES, ITEMS, JudgedItem, read_items, rows
from halign.readers import read
from halign.readers.files import rows_of


@dataclass(frozen=True)
class Stored:
    """Items that several models have answered.

    Attributes:
        left_out: answers to prompts that not every model answered.
    """

    items: list[JudgedItem]
    left_out: int = 0

    @property
    def models(self) -> list[str]:
        """The models that answered every item, in order."""
        shared = set.intersection(*(set(i.replies) for i in self.items)) if self.items else set()
        return [m for m in (self.items[0].replies if self.items else ()) if m in shared]


def items_of(folder: str | Path) -> Stored:
    """The items of a folder.

    Raises:
        HalignError: it holds none.
        DataError: a row that is no item.
    """
    file = Path(folder) / ITEMS
    found = read_items(file)
    if not found:
        raise HalignError(f"{folder} holds no items: there is no {ITEMS}, or it is empty")
    return Stored(list(found.values()))


def stored_items(files: Mapping[str, str | Path]) -> Stored:
    """Items from the replies of several models to the same prompts.

    A row of a file has ``prompt`` and ``responses`` (as ``halign sample`` writes them), or ``completion``, ``response`` or
    ``output``. Several responses to a prompt are items of their own, of one conversation. A row with ``messages`` is a whole
    conversation (whatever ``halign.readers`` takes for one), and every agent turn of it is a reply to what stands before; the
    same turn of a conversation in the files of several models is one item, though each has its own earlier turns. Prompts or
    turns that not every model answered are left out and counted.

    Args:
        files: model -> JSONL.

    Raises:
        HalignError: no such file, or no prompt that all have answered.
        DataError: a row that holds no prompt and reply, with file and line.
    """
    given = {model: _read(Path(file)) for model, file in files.items()}
    first, *others = given.values()
    shared = [k for k in first if all(k in found for found in others)]
    if not shared:
        raise HalignError(
            f"{', '.join(map(str, files.values()))}: there is no prompt that all of them answer"
        )
    taken: Counter[str] = Counter()
    items = []
    for key in shared:
        item = first[key][0]
        name = item.item
        taken[name] += 1
        if taken[name] > 1:
            name = f"{name}#{taken[name]}"
        replies = {m: found[key][1] for m, found in given.items()}
        before = {m: found[key][0].prompt for m, found in given.items()}
        apart = {HISTORIES: before} if any(p != item.prompt for p in before.values()) else {}
        items.append(replace(item, item=name, replies=replies, meta={**item.meta, **apart}))
    return Stored(items, sum(len(found) - len(shared) for found in given.values()))


def item_of(prompt: Dialogue, replies: Mapping[str, str], number: int = 1) -> JudgedItem:
    """An item for a prompt; ``number``: which of several of this prompt it is."""
    conversation = str(prompt.meta.get("conversation", ""))
    turn = None if prompt.is_raw else len(prompt)
    name = f"{conversation}:{len(prompt)}" + (f"#{number}" if number > 1 else "")
    meta = {k: v for k, v in prompt.meta.items() if k not in ("conversation", "item")}
    messages = [m.to_dict() for m in prompt.messages]
    return JudgedItem(name, conversation, messages, dict(replies), list(prompt.guardrails), turn, meta)


def _read(file: Path) -> dict[str, tuple[JudgedItem, str]]:
    """What identifies a prompt and a draw -> an item without replies, and the reply."""
    if not file.is_file():
        raise HalignError(f"no file of replies at {file}")
    if _holds_conversations(file):
        return _turns(file)
    found: dict[str, tuple[JudgedItem, str]] = {}
    seen: Counter[str] = Counter()
    for line, row in rows(file):
        try:
            prompt, replies = _prompt(row), _replies(row)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"no prompt and reply: {error}", file=str(file), line=line) from None
        words = json.dumps(
            [[m.to_dict() for m in prompt.messages], list(prompt.guardrails), prompt.meta.get("conversation")]
        )
        for reply in replies:
            seen[words] += 1
            found[f"{words}{seen[words]}"] = (item_of(prompt, {}, seen[words]), reply)
    return found


def _holds_conversations(file: Path) -> bool:
    """Whether the first row is a whole conversation."""
    _, row = next(iter(rows_of(file).rows), (0, None))
    return isinstance(row, Mapping) and "messages" in row and not {"prompt", "instruction"} & set(row)


def _turns(file: Path) -> dict[str, tuple[JudgedItem, str]]:
    """What identifies an agent turn -> an item without replies, and what was said there."""
    found: dict[str, tuple[JudgedItem, str]] = {}
    seen: Counter[str] = Counter()
    for example in read(file):
        if not isinstance(example, Conversation | Demonstration):
            raise HalignError(
                f"{file} holds a {type(example).__name__} among conversations (halign data shows what a file is)"
            )
        dialogue = example.dialogue
        seen[example.conversation] += 1
        places = [i for i, m in enumerate(dialogue.messages) if m.role == "assistant"]
        for turn, i in enumerate(places, 1):
            prompt = replace(dialogue[:i], meta={**dialogue.meta, "conversation": example.conversation})
            item = replace(item_of(prompt, {}, seen[example.conversation]), turn=i)
            key = json.dumps([example.conversation, seen[example.conversation], turn])
            found[key] = (item, dialogue.messages[i].content)
    return found


def _prompt(row: Mapping[str, Any]) -> Dialogue:
    said = row["prompt"] if "prompt" in row else row["instruction"]
    meta = {**row.get("meta", {}), **{k: row[k] for k in ("reference",) if k in row}}
    conversation = row.get("conversation", row.get("id"))
    if conversation is None:
        conversation = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    messages: Sequence[Any] = [{"role": "user", "content": said}] if isinstance(said, str) else said
    return Dialogue.of(
        messages,
        guardrails=tuple(row.get("guardrails", ())),
        meta={**meta, "conversation": str(conversation)},
    )


def _replies(row: Mapping[str, Any]) -> list[str]:
    if "responses" in row:
        return [r if isinstance(r, str) else str(r["content"]) for r in row["responses"]]
    for name in ("completion", "response", "output"):
        if name in row:
            said = row[name]
            return [said if isinstance(said, str) else str(said[-1]["content"])]
    raise KeyError("responses")
