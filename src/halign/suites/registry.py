"""Evaluation sets by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from halign.errors import HalignError
from halign.named_settings import checked
from halign.outsiders import imported
from halign.suites.contract import Suite, SuiteSettings

BUILT_IN: tuple[str, ...] = (
    *("mt_bench", "vicuna", "user_oriented", "alpaca_eval", "arena_hard"),
    *("ifeval", "gsm8k", "bbh", "humaneval", "xstest"),
    *("flask", "toxicity", "hhh", "overlap", "guardrails"),
)
"""Modules of this folder that hold a ``SUITE`` of their own name."""


def names() -> list[str]:
    """The sets there are, in the order of their list."""
    return list(BUILT_IN)


def find(name: str) -> Suite:
    """The set of that name; ``package.module:SUITE`` names one of one's own.

    Raises:
        HalignError: there is none.
    """
    if ":" in name:
        found = imported(name, "suite")
        if not isinstance(found, Suite):
            raise HalignError(f"suite {name!r} is no halign.suites.Suite")
        return found
    plain = name.replace("-", "_")
    if plain not in BUILT_IN:
        near = difflib.get_close_matches(plain, BUILT_IN, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(BUILT_IN)}"
        raise HalignError(f"no suite {name!r}; {hint}")
    suite: Suite = importlib.import_module(f"halign.suites.{plain}").SUITE
    return suite


def resolve(suites: Sequence[Suite], given: Mapping[str, Any]) -> dict[str, SuiteSettings]:
    """Settings of each set: ``shots`` for every set that has it, a mapping ``gsm8k`` for one.

    Raises:
        HalignError: a setting that none of them has, or a bad value.
    """
    own: dict[str, dict[str, Any]] = {s.name: {} for s in suites}
    for key, value in given.items():
        if key in own and isinstance(value, Mapping):
            own[key].update(value)
            continue
        takers = [s for s in suites if key in s.settings.model_fields]
        if not takers:
            known = sorted({f for s in suites for f in s.settings.model_fields})
            near = difflib.get_close_matches(key, known, 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}"
            raise HalignError(f"no suite of {', '.join(own)} has a setting {key!r}; {hint}")
        for taker in takers:
            own[taker.name].setdefault(key, value)
    return {s.name: checked(s.name, s.settings, own[s.name]) for s in suites}
