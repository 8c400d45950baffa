"""The methods of ``frontier`` as its settings have them, each with the values of the setting that says how far it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from halign.errors import HalignError
from halign.recipes.frontier_steps import FORMS

KEYS = {"objective", "loop", "form", "strength", "values", "settings"}


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        objective, loop: which of the two trains it; the other is None.
        form: what the objective takes (``FORMS``); None for a loop.
        strength: the setting that is swept: beta, or a loop's rounds.
        values: what it takes, in the order of the plot.
        settings: the others.
    """

    name: str
    objective: str | None
    loop: str | None
    form: str | None
    strength: str
    values: tuple[float, ...]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> Method:
        """A method as the YAML has it.

        Raises:
            HalignError: for an unknown key, form or loop, or where there is nothing to sweep.
        """
        if unknown := entry.keys() - KEYS:
            raise HalignError(
                f"methods.{name}: unknown key {min(unknown)!r}; known: {', '.join(sorted(KEYS))}"
            )
        objective, loop, form = entry.get("objective"), entry.get("loop"), entry.get("form")
        if bool(objective) == bool(loop):
            raise HalignError(f"methods.{name}: give either an objective or a loop")
        if objective and form not in FORMS:
            raise HalignError(f"methods.{name}.form: {form!r} is none of {', '.join(FORMS)}")
        if loop and form:
            raise HalignError(f"methods.{name}.form has no effect on a loop; leave it out")
        if not entry.get("strength") or not entry.get("values"):
            raise HalignError(f"methods.{name}: strength (a setting's name) and values (to sweep) are needed")
        values = tuple(entry["values"])
        return cls(name, objective, loop, form, entry["strength"], values, dict(entry.get("settings") or {}))

    def label(self, value: float) -> str:
        """One point of the sweep, for people."""
        return f"{self.name} {self.strength}={value:g}"

    def given(self, value: float, budget: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of one point, with what follows from the budget where a loop spends it."""
        own = {**self.settings, self.strength: value}
        return own if self.loop is None else {**spending(self.loop, own, budget), **own}


def spending(loop: str, settings: Mapping[str, Any], budget: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with which a loop sees every training prompt once, ``samples`` replies to each, in ``updates`` updates.

    A loop of rounds divides prompts and updates among its rounds; a policy gradient takes one
    step of all that it sampled per update.

    Raises:
        HalignError: where the budget does not divide evenly.
    """
    from halign.loops import find

    prompts, updates, samples = budget["prompts"], budget["updates"], budget["samples"]
    if prompts % updates:
        raise HalignError(
            f"budget: {prompts} prompts do not divide into {updates} updates; set budget.prompts="
        )
    each = prompts // updates
    if "rounds" in find(loop).settings.model_fields:
        rounds = int(settings.get("rounds", 1))
        if updates % rounds:
            raise HalignError(f"budget: {updates} updates do not divide into {rounds} rounds of {loop}")
        train = {"batch_items": each, "epochs": 1, **(settings.get("train") or {})}
        return {"prompts": prompts // rounds, "samples": samples, "train": train}
    return {"iterations": updates, "prompts": each, "samples": samples}
