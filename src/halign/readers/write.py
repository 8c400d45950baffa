"""Examples -> canonical JSONL, such that reading it back gives equal examples."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import HalignError
from halign.examples import Alternative, Conversation, Demonstration, Example, Preference, Ranking, Rating


def write_jsonl(examples: Iterable[Example], path: str | os.PathLike[str]) -> int:
    """Write the examples to ``path``, gzipped if it ends in ``.gz``, all or nothing; returns their number.

    The same examples give the same bytes: no name and no time goes into the gzip header.
    """
    return write_rows((to_row(e) for e in examples), path)


def write_rows(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> int:
    """Write JSON rows to ``path``, gzipped if it ends in ``.gz``; an interrupted write leaves nothing."""
    with RowWriter(path) as file:
        for row in rows:
            file.write(row)
    return file.count


def see_writable(path: str | os.PathLike[str]) -> None:
    """See that a file can be written there, before hours go into what it is to hold.

    Raises:
        HalignError: a folder is there, or nothing may be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise HalignError(f"{path} is a folder: name a file")
    there = next(p for p in path.absolute().parents if p.exists())
    if not there.is_dir():
        raise HalignError(f"{path}: {there} is a file, and a folder is wanted there")
    if not os.access(there, os.W_OK | os.X_OK):
        raise HalignError(f"{path}: nothing may be written in {there}; name another place")


class RowWriter:
    """A file of JSON rows that is written beside its place and appears there whole, or not at all.

    Attributes:
        count: rows written so far.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.count = Path(path), 0

    def __enter__(self) -> RowWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, self._beside = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        self._raw = os.fdopen(handle, "wb")
        packed = self.path.suffix == ".gz"
        self._to: IO[bytes] | gzip.GzipFile = (
            gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0) if packed else self._raw
        )
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """One row, one line."""
        self._to.write(json.dumps(row, ensure_ascii=False, default=str).encode("utf-8") + b"\n")
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self._to is not self._raw:
                self._to.close()
            self._raw.close()
            if kind is None:
                os.chmod(self._beside, 0o666 & ~_umask())
                os.replace(self._beside, self.path)
        finally:
            Path(self._beside).unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_row(example: Example) -> dict[str, Any]:
    """The canonical row of one example (DESIGN section 5)."""
    match example:
        case Conversation():
            own: dict[str, Any] = {"id": example.conversation, **about(example.dialogue)}
            own["messages"] = _with_alternatives(example)
        case Demonstration():
            own = {
                "conversation": example.conversation,
                **about(example.dialogue),
                **_demonstration(example),
            }
        case Preference():
            own = {
                "conversation": example.conversation,
                **about(example.prompt),
                "prompt": _prompt(example.prompt),
            }
            own |= {"chosen": _reply(example.chosen), "rejected": _reply(example.rejected)}
            if example.preference != 1.0:
                own["preference"] = example.preference
            for name in ("chosen_win_rate", "rejected_win_rate", "violates"):
                if getattr(example, name) is not None:
                    own[name] = getattr(example, name)
        case Ranking():
            own = {
                "conversation": example.conversation,
                **about(example.prompt),
                "prompt": _prompt(example.prompt),
            }
            own["responses"] = _responses(example)
        case Rating():
            own = {
                "conversation": example.conversation,
                **about(example.prompt),
                "prompt": _prompt(example.prompt),
            }
            own |= {"completion": _reply(example.response), "label": example.desirable}
            if example.score is not None:
                own["score"] = example.score
    if example.weight != 1.0:
        own["weight"] = example.weight
    return own


def about(dialogue: Dialogue) -> dict[str, Any]:
    """What is known of a dialogue besides its messages; only what there is."""
    about = {
        "guardrails": list(dialogue.guardrails),
        "tools": [dict(t) for t in dialogue.tools],
        "meta": dict(dialogue.meta),
    }
    return {k: v for k, v in about.items() if v}


def _prompt(prompt: Dialogue) -> str | list[dict[str, Any]]:
    """A raw prompt as one string, any other as messages."""
    if len(prompt) == 1 and prompt.is_raw and _bare(prompt.messages[0]):
        return prompt.messages[0].content
    return [m.to_dict() for m in prompt.messages]


def _reply(message: Message) -> str | list[dict[str, Any]]:
    if message.role == RAW and _bare(message):
        return message.content
    return [message.to_dict()]


def _bare(message: Message) -> bool:
    """True if role and content say all there is."""
    return not message.extra and message.learn is None


def _demonstration(example: Demonstration) -> dict[str, Any]:
    turns = example.dialogue.messages
    plain = example.dialogue.is_raw and all(map(_bare, turns))
    if plain and len(turns) == 1 and example.turns is None:
        return {"text": turns[0].content}
    if plain and len(turns) == 2 and example.turns == (1,):
        return {"prompt": turns[0].content, "completion": turns[1].content}
    row: dict[str, Any] = {"messages": [m.to_dict() for m in turns]}
    if example.turns is not None:
        row["turns"] = list(example.turns)
    return row


def _responses(example: Ranking) -> list[dict[str, Any]]:
    """Responses with their score where there is one (ranks follow from it), else with their rank."""
    scores = example.scores
    if scores is not None and any(a < b for a, b in itertools.pairwise(scores)):
        raise HalignError(
            f"a ranking of conversation {example.conversation!r} is not sorted by its scores, best first"
        )
    name, values = ("rank", example.ranks) if scores is None else ("score", scores)
    placed = [{**_response(m), name: v} for m, v in zip(example.responses, values, strict=True)]
    return placed + [{**_response(m), name: None} for m in example.unranked]


def _response(message: Message) -> dict[str, Any]:
    """A reply without its role, which the prompt implies."""
    return {k: v for k, v in message.to_dict().items() if k != "role"}


def _with_alternatives(example: Conversation) -> list[dict[str, Any]]:
    rows = [m.to_dict() for m in example.dialogue.messages]
    for turn, alternatives in example.alternatives.items():
        rows[turn]["alternatives"] = [_alternative(a) for a in alternatives]
    if not any(example.alternatives.values()) and rows:
        rows[-1]["alternatives"] = []  # the key alone tells a conversation from a demonstration
    return rows


def _alternative(a: Alternative) -> dict[str, Any]:
    row = _response(a.message)
    for name in ("rank", "score", "label", "violates"):
        if getattr(a, name) is not None:
            row[name] = getattr(a, name)
    return row
