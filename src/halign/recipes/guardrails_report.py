"""The guardrails recipe's report: the page of a table of models, with findings and sections of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from halign.recipes import table_report
from halign.recipes.engine import Outcome
from halign.recipes.guardrails_data import CARD
from halign.recipes.guardrails_findings import Findings, findings
from halign.recipes.guardrails_panels import COLUMNS, built, rule_by_rule, shortened, table_rows, whole
from halign.recipes.guardrails_verdicts import BANS, DUTIES, SILENT_NAME, Row, groups, rules
from halign.recipes.steps import read_rows
from halign.recipes.table import Graph
from halign.reporting import GuardrailText

INTRO = (
    "A policy was read to rules, and the agent turns of the conversations that keep one of them were found. Each got a reply "
    "that breaks it. The models imitate the good turns (SFT) and then learn to prefer them (IPO). Do they keep the rules at "
    "turns that they have not seen?"
)


def find_out(
    settings: Mapping[str, Any],
    table: Mapping[str, Any],
    graph: Graph,
    outcome: Outcome,
    overrides: Sequence[str],
    size: str | None,
) -> Findings:
    """Everything the report needs, read from the stages' folders.

    Args:
        settings, table: of the recipe, and of the table of models that it ends in.
    """
    assert graph.grades is not None, "the recipe always judges"
    plain = table_report.find_out("guardrails", table, graph, outcome, overrides, size).evidence
    folder, graded = outcome.folders[graph.data.name], outcome.folders[graph.grades.name]
    names = [*graph.answers, SILENT_NAME]
    found = Findings(plain, {n: read_rows(graded / "verdicts" / f"{n}.jsonl") for n in names})
    judge = settings["llm"]["model"]
    evidence = replace(
        plain,
        intro=INTRO,
        findings=findings(found),
        panels=[whole(found), rule_by_rule(found), built(folder, graded), *plain.panels],
        guardrails={r["text"]: _text(r) for r in found.asked},
        judged_by=(
            "Verdicts are given by the checks of the rules"
            + (
                f" and, where these cannot tell, by {judge}'s yes or no."
                if judge
                else ", without any language model."
            )
        ),
        commands=[*plain.commands[:1], *_build_command(settings), *plain.commands[1:]],
    )
    return replace(found, evidence=evidence)


def _text(row: Row) -> GuardrailText:
    return GuardrailText(
        row["text"],
        shortened(row["text"]),
        BANS if row["forbids"] else DUTIES,
        wordings=frozenset({row["text"]}),
    )


def _build_command(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the pairs alone are built, of all conversations."""
    if settings["conversations"] is None:
        return []
    given = {"policy": settings["policy"], **settings["build"]}
    words = [f"{k}={quote(str(v))}" for k, v in given.items() if v is not None]
    words += [f"--guardrails {quote(settings['rules_column'])}"] if settings["rules_column"] else []
    command = (
        f"halign data build guardrails {quote(str(settings['conversations']))} pairs.jsonl {' '.join(words)}"
    )
    return [("Pairs of all conversations, without models", command.strip())]


def summary(found: Findings) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) for the terminal."""
    return list(COLUMNS), table_rows(found)


def results(found: Findings) -> dict[str, Any]:
    """The verdicts' shares, for programs."""
    of_group = {
        g: {n: t.to_dict() for n, t in found.tallies(p).items()} for g, p in groups(found.asked).items()
    }
    of_rule = {
        rule: {
            "text": found.asked[places[0]]["text"],
            "forbids": found.asked[places[0]]["forbids"],
            "models": {n: t.to_dict() for n, t in found.tallies(places).items()},
        }
        for rule, places in rules(found.asked).items()
    }
    return {"kept": of_group, "rules": of_rule}


def publish(output: Path, table: Mapping[str, Any], graph: Graph, outcome: Outcome, found: Findings) -> Path:
    """Fill the output folder as a table's, with card.html and the verdicts in results.json. Returns the report's path."""
    page = table_report.publish(output, table, graph, outcome, table_report.Findings(found.evidence, []))
    shutil.copyfile(outcome.folders[graph.data.name] / CARD, output / CARD)
    numbers = json.loads((output / "results.json").read_text())
    (output / "results.json").write_text(json.dumps({**results(found), **numbers}, indent=1))
    return page
