"""Builders by name, and their settings checked."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from halign.builders.contract import Builder, BuilderSettings
from halign.errors import HalignError
from halign.named_settings import checked
from halign.outsiders import imported

BUILT_IN: tuple[str, ...] = (
    "capo",
    "chain_of_thought",
    "critique",
    "grade",
    "guardrails",
    "interactive_translation",
    "multilingual",
    "parrot_ask",
    "policy_chats",
    "promptsource",
    "r_tuning",
    "rlaif",
    "self_chat",
    "self_instruct",
)
"""Modules of this folder that hold a ``BUILDER`` of their own name."""


def names() -> list[str]:
    """The builders there are, sorted."""
    return sorted(BUILT_IN)


def find(name: str) -> Builder:
    """The builder of that name, or the one that ``package.module:NAME`` names.

    Raises:
        HalignError: if there is none.
    """
    if ":" in name:
        brought = imported(name, "builder")
        if not isinstance(brought, Builder):
            raise HalignError(
                f"builder {name!r} is a {type(brought).__name__}, not a halign.builders.Builder"
            )
        return brought
    if name not in BUILT_IN:
        near = difflib.get_close_matches(name, BUILT_IN, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names()) or 'none yet'}"
        raise HalignError(f"no builder {name!r}; {hint}")
    found: Builder = importlib.import_module(f"halign.builders.{name}").BUILDER
    return found


def resolve(builder: Builder, given: Mapping[str, Any]) -> BuilderSettings:
    """The settings of a builder, checked and complete.

    Raises:
        HalignError: for an unknown key (it suggests the nearest one) or a bad value.
    """
    return checked(builder.name, builder.settings, given)
