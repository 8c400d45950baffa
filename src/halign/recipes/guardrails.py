"""Guardrails: the builder of that name, then a table of models on what it built.

chats, policy ── build (rules, tags, broken replies, card) ── table: SFT ── SFT+ipo ── answers ── grades ── report
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.recipes import table_recipe as table
from halign.recipes.engine import Outcome, Report
from halign.recipes.origins import fingerprint
from halign.recipes.recipe import Finished, Recipe, Settings
from halign.recipes.settings import frame, merged
from halign.recipes.stages import Stage, Store

NAME = "guardrails"
OWN = ("chats", "policy", "rules_column", "build", "llm")
"""Settings of this recipe; the others are the table's."""
PAIRS, CARD = "pairs.jsonl", "card.html"


class Job:
    """The recipe on some settings: the data in one round, the models in the next, since they depend on what was built."""

    def __init__(self, settings: Settings, store: Store) -> None:
        for needed in ("chats", "model"):
            if settings[needed] is None:
                raise HalignError(f"{NAME} needs {needed}=: halign run {NAME} --help says what it is")
        self.settings, self.store = settings, store
        self.build = _stage(settings)
        self.table: table.Job | None = None

    def rounds(self) -> Iterator[Sequence[Stage]]:
        """The data; then what the table needs."""
        yield [self.build]
        pairs = self.store.folder(self.build) / PAIRS
        if not pairs.exists():  # a plan, before anything is built
            return
        shared = {k: v for k, v in self.settings.items() if k not in OWN}
        whole = merged(frame("table"), {**shared, "world": None, "data": str(pairs)}, f"{NAME}.yaml")
        self.table = table.Job(NAME, whole)
        yield from self.table.rounds()

    def publish(self, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
        """The table's report and models, and beside them the data, its card and what the builder says of it."""
        assert self.table is not None, "published after all rounds"
        done = self.table.publish(output, outcome, overrides, size)
        for file in self.store.folder(self.build).iterdir():
            if file.name.startswith(PAIRS) or file.name == CARD:
                shutil.copyfile(file, output / file.name)
        return done


def _stage(settings: Settings) -> Stage:
    policy = settings["policy"]
    return Stage(
        "guardrails",
        "halign.recipes.guardrails:build",
        settings={
            **{k: settings[k] for k in OWN},
            "chats": str(Path(settings["chats"]).resolve()),
            "policy": None if policy is None else str(Path(policy).resolve()),
            "fingerprints": [fingerprint(Path(f)) for f in (settings["chats"], policy) if f is not None],
            "seed": settings["seed"],
        },
        title="Reading the policy, breaking its rules",
        why="Every turn that follows a rule gets a reply that breaks it, so that the rule can be learnt from both.",
        cost=30,
        resumable=True,
    )


def build(
    output: Path,
    *,
    inputs: Mapping[str, Path],
    progress: Report,
    threads: int,
    chats: str,
    policy: str | None,
    rules_column: str | None,
    build: Mapping[str, Any],
    llm: Mapping[str, Any],
    fingerprints: Sequence[str],
    seed: int,
) -> None:
    """``pairs.jsonl`` with its lineage and report, and ``card.html``. Goes on with what an interrupted call left there."""
    from halign.builders import build as run
    from halign.builders import find, resolve
    from halign.curation.source import RowSource
    from halign.reporting.data_card import data_card

    builder = find(NAME)
    settings = resolve(builder, {"seed": seed, "policy": policy, **build})
    source = RowSource(chats, guardrails=rules_column)
    run(builder, source, output / PAIRS, settings, _tools(llm), overwrite=True)
    data_card(RowSource(output / PAIRS), about={"title": "Guardrail pairs"}).save(output / CARD)


def _tools(llm: Mapping[str, Any]) -> Any:
    """Writer and judge behind the endpoint, if one is named.

    Raises:
        HalignError: an address without a model, or a model without an address.
    """
    from halign.builders import Tools
    from halign.builders.writers import EndpointWriter
    from halign.judges.yes_no import EndpointYesNo
    from halign.llm import Client, Endpoint

    given = {k: v for k, v in llm.items() if v is not None}
    if not given:
        return Tools()
    if "url" not in given or "model" not in given:
        raise HalignError("llm.url and llm.model go together: the address, and the model's name there")
    budget = given.pop("budget", None)
    client = Client(Endpoint(given.pop("url"), given.pop("model"), **given), budget=budget)
    return Tools(EndpointWriter(client), EndpointYesNo(client))


RECIPE = Recipe(
    NAME,
    "a policy and conversations -> replies that break its rules -> SFT, then IPO, judged per rule",
    Job,
    table.show,
    no_tune="build the data first (halign data build guardrails), then tune flow1 on it (data=pairs.jsonl)",
    later="Models, answers and grades follow from what is built of the conversations.",
)
