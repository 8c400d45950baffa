"""Guardrails: a policy and conversations -> pairs, aligned models, and whether the rules are kept at held-out turns.

    conversations, policy ── data ──┬── SFT ── SFT+ipo
    base ───────────────────────────┘     every model ── answers ── grades ── report

A table of models (``table.py``) whose data are built by the builder of this name and whose judge knows which rules each held-out
turn is known to keep (``builders/guardrails/judging.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from halign.errors import HalignError
from halign.recipes.arms import check_settings
from halign.recipes.engine import Outcome
from halign.recipes.guardrails_data import CARD, resolved
from halign.recipes.guardrails_llm import tools_of
from halign.recipes.origins import fingerprint, world_version
from halign.recipes.recipe import Finished, Recipe, Settings
from halign.recipes.settings import frame, merged
from halign.recipes.stages import Stage, Store
from halign.recipes.table import Builder
from halign.recipes.table_recipe import show_findings

NAME = "guardrails"
OWN = (
    *("policy", "conversations", "rules_column", "llm", "build", "train_conversations"),
    *("test_conversations", "test_turns"),
)
"""Settings of this recipe alone; the others are the table's."""


class GuardrailTable(Builder):
    """The table's stages, with data and grades of this recipe."""

    def __init__(self, settings: Settings) -> None:
        self.own = settings
        super().__init__(table_settings(settings), "test")

    def _data(self) -> Stage:
        s = self.own
        files = {k: s[k] and str(Path(s[k]).resolve()) for k in ("policy", "conversations")}
        made = s["world"] if s["conversations"] is None else None
        return Stage(
            "data",
            "halign.recipes.guardrails_data:data",
            settings={
                **files,
                "fingerprints": [fingerprint(Path(f)) for f in files.values() if f],
                "world": made,
                "world_version": world_version(made),
                "rules_column": s["rules_column"],
                "build": dict(s["build"]),
                "llm": dict(s["llm"]),
                "seed": s["seed"],
                "most": {part: s[f"{part}_conversations"] for part in ("train", "validation", "test")},
                "turns": s["test_turns"],
            },
            title="Reading the policy, breaking its rules",
            why="Turns that keep a rule get a reply that breaks it; held out are turns at which a rule is known to apply.",
            cost=30,
            resumable=True,
        )

    def _grades(self, answers: Mapping[str, Stage], limit: int | None) -> Stage:
        s = self.own
        return Stage(
            "grades",
            "halign.recipes.guardrails_verdicts:judge",
            settings={
                "policy": s["policy"] and f"policy{Path(s['policy']).suffix.lower()}",
                "build": dict(s["build"]),
                "llm": dict(s["llm"]),
                "seed": s["seed"],
            },
            inputs={"data": self.data, **answers},
            title="Asking of every reply whether it keeps the rules",
            why="Kept, broken, or cannot tell: all three are counted.",
            cost=15,
        )


def table_settings(settings: Settings) -> dict[str, Any]:
    """The settings of the table of models that this recipe ends in."""
    shared = {k: v for k, v in settings.items() if k not in (*OWN, "arms")}
    given = {
        "data": settings["conversations"],
        "conversations": settings["train_conversations"],
        "test_prompts": settings["test_turns"],
        "judge": "halign.builders.guardrails.judging",
        "histories": ["given"],
    }
    whole = merged(frame("table"), {**shared, **given}, f"{NAME}.yaml")
    return {**whole, "arms": settings["arms"]}  # as they are: one that is left out is null


class Job:
    """The recipe on some settings: everything in one round."""

    def __init__(self, settings: Settings, store: Store) -> None:
        check(settings)
        self.settings = settings
        table = GuardrailTable(settings)
        self.table, self.graph = table.settings, table.graph(None, None)
        check_settings(list(self.graph.arms.values()))

    def rounds(self) -> Iterator[Sequence[Stage]]:
        """The grades, and the models."""
        yield self.graph.wanted

    def publish(self, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
        """Report, results, card, data, replies with their verdicts, models."""
        from halign.recipes.guardrails_report import find_out, publish

        found = find_out(self.settings, self.table, self.graph, outcome, overrides, size)
        return Finished(output, publish(output, self.table, self.graph, outcome, found), found, outcome)


def check(settings: Settings) -> None:
    """Refuses what cannot be run, before anything is made.

    Raises:
        HalignError: no model, no conversations, a file that is not there, settings that builder or endpoint do not take.
    """
    for key, what in (("model", "the model to align"), ("conversations", "the conversations to learn from")):
        if settings[key] is None and settings["world"] is None:
            raise HalignError(
                f"{NAME} needs --{key}, {what} (or world=care, which brings its own); halign run {NAME} --help lists all"
            )
    if settings["conversations"] is None and settings["policy"] is not None and settings["world"] is not None:
        raise HalignError(
            f"policy: conversations of the world {settings['world']} carry their own rules; give --conversations with --policy"
        )
    for key in ("policy", "conversations"):
        if settings[key] is not None:
            fingerprint(Path(settings[key]))
    policy = settings["policy"]
    resolved(settings["build"], settings["seed"], None if policy is None else Path(policy))
    tools_of(settings["llm"])


def show(console: Console, done: Finished) -> None:
    """What was found, and where it lies."""
    from halign.recipes.guardrails_report import summary

    show_findings(console, done, *summary(done.evidence))
    console.print(f"Data card: {done.folder / CARD}", highlight=False, soft_wrap=True)


RECIPE = Recipe(
    NAME,
    "a policy and conversations -> pairs -> SFT, then IPO, judged rule by rule against the start model",
    Job,
    show,
    no_tune="build the pairs first (halign data build guardrails), then tune flow1 on them (data=pairs.jsonl)",
    options={
        **{f"--{k}": k for k in ("policy", "conversations", "model")},
        "--llm": "llm.url",
        "--llm-model": "llm.model",
        "--key-env": "llm.key_env",
        "--budget": "llm.budget",
    },
)
