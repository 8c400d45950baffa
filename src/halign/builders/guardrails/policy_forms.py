"""What YAML and JSON policies look like: lists and sections of rules, STAR's tasks, ABCD's guidelines, SGD's services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halign.errors import HalignError

FIELDS = ("text", "id", "when", "tasks", "check")


@dataclass(frozen=True)
class Said:
    """A sentence of a policy, with what else is said about it.

    Attributes:
        rule: True if it is a rule whatever its words; else they decide.
    """

    text: str
    section: str = ""
    rule: bool = False
    id: str = ""
    when: str = ""
    tasks: tuple[str, ...] = ()
    check: Mapping[str, Any] = field(default_factory=dict)


def structured(found: Any, where: str, section: str = "", tasks: tuple[str, ...] = ()) -> Iterator[Said]:
    """The rules of a parsed document, in order.

    Raises:
        HalignError: something that is neither a rule nor a section.
    """
    if isinstance(found, str):
        yield Said(found, section, rule=True, tasks=tasks)
    elif isinstance(found, Sequence):
        for one in found:
            yield from structured(one, where, section, tasks)
    elif not isinstance(found, Mapping):
        raise HalignError(f"policy {where}: {section or 'the document'} holds {found!r}, which is no rule")
    elif "text" in found:
        yield _spelled_out(found, where, section, tasks)
    elif isinstance(found.get("policy"), Sequence) and "task" in found:  # STAR
        yield from structured(found["policy"], where, str(found["task"]), (str(found["task"]),))
    elif isinstance(found.get("subflows"), Mapping):  # ABCD
        for name, flow in found["subflows"].items():
            yield from _subflow(flow, f"{section} / {name}", (_slug(name),))
    elif isinstance(found.get("intents"), Sequence) and "service_name" in found:  # SGD
        yield from _service(found)
    else:
        for name, inner in found.items():
            below = f"{section} / {name}" if section else str(name)
            yield from structured(inner, where, below, tasks)


def _spelled_out(found: Mapping[str, Any], where: str, section: str, tasks: tuple[str, ...]) -> Said:
    for key in found:
        if key not in FIELDS:
            raise HalignError(f"policy {where}: a rule has no field {key!r}; it has {', '.join(FIELDS)}")
    own = found.get("tasks", tasks)
    return Said(
        str(found["text"]),
        section,
        True,
        str(found.get("id", "")),
        str(found.get("when", "")),
        (own,) if isinstance(own, str) else tuple(own),
        found.get("check") or {},
    )


def _subflow(flow: Mapping[str, Any], section: str, tasks: tuple[str, ...]) -> Iterator[Said]:
    """Instructions and actions. What stands in brackets is a button, and no word to the customer."""
    for text in flow.get("instructions", ()):
        yield Said(text, section, tasks=tasks)
    for action in flow.get("actions", ()):
        lead = _plain(action.get("text", ""))
        if len(lead) > 2:
            yield Said(lead, section, tasks=tasks)
        for text in action.get("subtext", ()):
            yield Said(_plain(text), section, tasks=tasks)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _service(service: Mapping[str, Any]) -> Iterator[Said]:
    """What a transaction needs is asked for before it, and it is confirmed first."""
    name = str(service["service_name"])
    about = {s["name"]: str(s["description"]) for s in service.get("slots", ())}
    for intent in service["intents"]:
        if not intent.get("is_transactional"):
            continue
        act = str(intent["description"]).rstrip(".")
        act = act[:1].lower() + act[1:]
        for slot in intent.get("required_slots", ()):
            thing = slot.replace("_", " ")
            yield Said(
                f"Ask for the {thing} before you {act}.",
                name,
                True,
                f"{name}-{intent['name']}-{slot}",
                tasks=(name,),
                check={"kind": "asks_before", "thing": thing, "action": act},
            )
        details = ", ".join(about.get(s, s) for s in intent.get("required_slots", ()))
        yield Said(
            f"Before you {act}, confirm the details with the user: {details}.",
            name,
            True,
            f"{name}-{intent['name']}-confirm",
            tasks=(name,),
            check={"kind": "confirms"},
        )


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")
