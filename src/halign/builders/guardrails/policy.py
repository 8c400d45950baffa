"""Policy documents -> guardrails: Markdown and plain text by their headings, lists and sentences, YAML and JSON by their keys.

A sentence is a rule if it says what is to be done or left: it has a word such as must, never, only, or begins with a verb. The
rest (what a profile contains, say) is description, and only counted.

YAML and JSON hold a list of rules, or sections of such lists. A rule is a text, or an object: ``text``, and as far as wanted
``id``, ``when``, ``tasks`` and ``check`` (``{kind: longest, most: 40}``). The forms of STAR's tasks, ABCD's guidelines and SGD's
services are read as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from halign.builders.guardrails.contract import Guardrail
from halign.builders.guardrails.policy_forms import Said, structured
from halign.builders.guardrails.recognise import of_settings, recognise
from halign.errors import HalignError

_ORDERS = re.compile(
    r"\b(must|should|shall|never|always|only|cannot|can't|can not|may not|do not|don't|need to|needs to|have to|has to|required?|"
    r"make sure|ensure|please|not allowed|in order)\b",
    re.I,
)
_VERBS = frozenset(
    re.findall(
        r"\w+",
        "add address answer apologize apologise ask avoid be begin check close collect confirm deny end escalate explain find "
        "follow gather get give go greet help include inform keep let list look make mention obtain offer provide pull record "
        "refer refuse remember remind reply request respond return say select send speak start stay tell thank transfer try use "
        "verify wait welcome wrap write",
    )
)
_WHEN = re.compile(
    r"^(?:[\w -]{1,40}: )?((?:if|when|whenever|after|before|once|unless|for)\b[^,:]*)[,:] ", re.I
)
_ITEM = re.compile(r"^(\s*)([-*+•]|\d+[.)])\s+(.*)$")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")


@dataclass(frozen=True)
class Policy:
    """A policy that was read.

    Attributes:
        skipped: sentences that are no rule.
    """

    guardrails: tuple[Guardrail, ...]
    skipped: int


def read_policy(path: Path) -> Policy:
    """The guardrails of a document (.md, .txt, .yaml, .yml, .json), in order; a rule said twice for the same tasks stands once.

    Raises:
        HalignError: no such file, a suffix or a form that is not known, no rule in it.
    """
    readers = {".md": _text, ".markdown": _text, ".txt": _text, ".yaml": _keys, ".yml": _keys, ".json": _keys}
    if path.suffix.lower() not in readers:
        raise HalignError(f"policy {path}: {path.suffix or 'no suffix'} is none of {', '.join(readers)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HalignError(f"policy {path} cannot be read: {error}") from None
    found: dict[tuple[str, tuple[str, ...]], Guardrail] = {}
    skipped = 0
    for said in readers[path.suffix.lower()](text, str(path)):
        if not said.rule and not is_rule(said.text):
            skipped += 1
            continue
        found.setdefault((said.text, said.tasks), guardrail(said, str(path)))
    if not found:
        raise HalignError(
            f"policy {path}: no rule found among {skipped} sentences; write rules as orders (must, never, ask ...)"
        )
    return Policy(_numbered(found.values()), skipped)


def is_rule(text: str) -> bool:
    """True if a sentence says what is to be done or left.

    >>> is_rule("Greet the customer."), is_rule("Orders have an id."), is_rule("If it is late, apologise.")
    (True, False, True)
    """
    bare = re.sub(r"^\[[^\]]*\]\s*", "", text)
    first = re.match(r"[A-Za-z']+", _WHEN.sub("", bare))
    return bool(_ORDERS.search(bare)) or (first is not None and first[0].lower() in _VERBS)


def guardrail(said: Said, where: str = "policy") -> Guardrail:
    """A rule with its condition, id and check.

    Raises:
        HalignError: a check that is spelled out wrongly.
    """
    condition = said.when or (found[1] if (found := _WHEN.match(said.text)) else "")
    check = of_settings(said.check, f"{where}: {said.text[:60]!r}") if said.check else recognise(said.text)
    return Guardrail(
        said.id or _name(said.text),
        said.text,
        "when" if condition else "always",
        condition,
        said.tasks,
        said.section,
        check,
    )


@lru_cache(maxsize=16384)
def of_text(text: str) -> Guardrail | None:
    """The guardrail of a rule that a conversation carries itself; None for what is no rule."""
    return guardrail(Said(text)) if is_rule(text) or recognise(text) is not None else None


def _name(text: str) -> str:
    """Its first words, and four digits of its hash."""
    words = re.findall(r"[a-z0-9]+", text.lower())[:6]
    return f"{'-'.join(words)}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


def _numbered(found: Any) -> tuple[Guardrail, ...]:
    """Ids made unique."""
    seen: dict[str, int] = {}
    rules = []
    for g in found:
        seen[g.id] = seen.get(g.id, 0) + 1
        again = f"-{seen[g.id]}" if seen[g.id] > 1 else ""
        rules.append(Guardrail(g.id + again, g.text, g.scope, g.when, g.tasks, g.section, g.check))
    return tuple(rules)


def _keys(text: str, where: str) -> Iterator[Said]:
    try:
        found = json.loads(text) if where.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise HalignError(
            f"policy {where} is no {'JSON' if where.endswith('.json') else 'YAML'}: {error}"
        ) from None
    if not isinstance(found, Mapping | Sequence) or isinstance(found, str):
        raise HalignError(f"policy {where}: a list of rules, or sections of lists, is needed")
    return structured(found, where)


def _text(text: str, where: str) -> Iterator[Said]:
    """Headings are sections; an item below a line that ends in a colon is said with that line."""
    heading, lead, level = "", "", ""
    for block in _blocks(text):
        if found := _HEADING.match(block):
            heading, lead = found[1], ""
            continue
        item = _ITEM.match(block)
        mark = f"{item[1]}{'1' if item[2][0].isdigit() else item[2]}" if item else ""
        body = _plain((item[3] if item else block).strip()).strip("* ")
        if body.endswith(":"):
            lead, level = body, mark
            continue
        if item and lead and mark != level:
            yield Said(f"{lead} {body}", section=heading, rule=is_rule(lead))
            continue
        lead = ""
        for sentence in _sentences(body):
            yield Said(sentence, section=heading)


def _plain(text: str) -> str:
    """A text without Markdown's emphasis and code marks; the underscores of a name such as ``order_id`` are letters.

    >>> _plain("**Never** call `cancel_my_order` _twice_.")
    'Never call cancel_my_order twice.'
    """
    bare = re.sub(r"([*`]{1,3})(\S.*?\S|\S)[*`]{1,3}", r"\2", text)
    return re.sub(r"(?<!\w)(_{1,3})(\S.*?\S|\S)\1(?!\w)", r"\2", bare)


def _sentences(text: str) -> list[str]:
    """The sentences of a paragraph; what is quoted is not divided.

    >>> _sentences("Say 'Wait. I ask. I come back.' to the user. Don't guess.")
    ["Say 'Wait. I ask. I come back.' to the user.", "Don't guess."]
    """
    found: list[str] = []
    parts = [p for p in re.split(r"(?<=[.!?])\s+(?=[A-Z'\"“(])", text) if p.strip()]
    for i, part in enumerate(parts):
        if found and _quotes(found[-1]) and any(map(_closes, parts[i:])):
            found[-1] = f"{found[-1]} {part.strip()}"
        else:
            found.append(part.strip())
    return found


_OPENED, _CLOSED = re.compile(r"(?<!\w)['‘](?=\w)|“"), re.compile(r"(?<=[\w.!?,])['’](?!\w)|”")


def _quotes(text: str) -> bool:
    """True if a quotation is begun and not ended."""
    return text.count('"') % 2 == 1 or len(_OPENED.findall(text)) > len(_CLOSED.findall(text))


def _closes(text: str) -> bool:
    """True if a quotation is ended that was not begun here."""
    return text.count('"') % 2 == 1 or len(_CLOSED.findall(text)) > len(_OPENED.findall(text))


def _blocks(text: str) -> Iterator[str]:
    """Headings, items and paragraphs, their lines joined."""
    block = ""
    for line in [*text.splitlines(), ""]:
        starts = _HEADING.match(line) or _ITEM.match(line)
        if block and (not line.strip() or starts or _HEADING.match(block)):
            yield block
            block = ""
        if line.strip():
            block = f"{block} {line.strip()}" if block else line.rstrip()
