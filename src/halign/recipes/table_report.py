"""What a table of models found, as evidence for a report, and where a user finds the files."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from halign.builders.contract import QUIET
from halign.builders.driver import report_path
from halign.evaluate import ALL, Reply, measures, paired, score
from halign.judges.rules import Grade
from halign.recipes.arms import Arm
from halign.recipes.commands import commands
from halign.recipes.engine import Outcome
from halign.recipes.origins import BASE, link_tree
from halign.recipes.steps import ROUNDS, read_rows
from halign.recipes.table import Graph
from halign.recipes.table_rewards import Rewarded, panel, rewarded, training_seconds
from halign.reporting import Evidence, GuardrailText, ModelEntry
from halign.reporting.rewards import reward_panel

KINDS = {
    "clean": "every earlier agent turn keeps the guardrails, which a reply can copy",
    "mixed": "earlier agent turns are as careless as real ones",
    "given": "the conversations as they are in the file",
}


@dataclass(frozen=True)
class Findings:
    """What a table found: what the page shows, and the models' mean rewards, if any were asked for."""

    evidence: Evidence
    rewards: list[Rewarded]


def find_out(
    name: str,
    settings: Mapping[str, Any],
    graph: Graph,
    outcome: Outcome,
    overrides: Sequence[str] = (),
    size: str | None = None,
) -> Findings:
    """Everything the report needs, read from the stages' folders."""
    replies = {n: _replies(n, graph, outcome) for n in graph.answers}
    rewards = rewarded(settings, graph, outcome, replies)
    shown = [n for n in graph.models if n in graph.answers or n in graph.arms]
    entries = [_entry(n, graph, outcome, replies.get(n, {})) for n in shown]
    trained = next((m.training for m in entries if m.training), None)
    judge = settings["judge"]
    data = outcome.folders[graph.data.name]
    evidence = Evidence(
        title=settings["title"] or name,
        intro=_intro(settings),
        models=entries,
        baseline=settings["reference"],
        pairs=compared(settings, graph) if graph.grades else [],
        panels=[p for p in (panel(rewards, settings["reference"]), *map(reward_panel, entries)) if p],
        prompts=_prompts(graph, data),
        kinds=KINDS,
        guardrails=guardrail_texts(settings["world"]) if judge is None else {},
        judged_by=(
            "Replies are graded by the exact rules of the world they come from, not by a model."
            if judge is None
            else f"Replies are graded by {judge}."
        ),
        data=_data(settings, graph, outcome),
        commands=commands(name, settings, graph, overrides, size),
        settings=yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True),
        environment=trained.environment if trained else {},
        seconds=sum(outcome.seconds.values()),
    )
    return Findings(evidence, rewards)


def _prompts(graph: Graph, data: Path) -> dict[str, Any]:
    from halign.readers import read_prompts

    return {h: read_prompts(data / f"prompts-{graph.split}-{h}.jsonl") for h in graph.histories}


def _replies(name: str, graph: Graph, outcome: Outcome) -> dict[str, list[Reply]]:
    """A model's replies by kind of prompt; with empty grades where nobody judged."""
    found = {}
    for h in graph.histories:
        if graph.grades is not None:
            rows = read_rows(outcome.folders[graph.grades.name] / name / f"{h}.jsonl")
            found[h] = [Reply.of(row) for row in rows]
            continue
        rows = read_rows(outcome.folders[graph.answers[name].name] / f"{h}.jsonl")
        found[h] = [
            Reply(r["conversation"], r["text"], Grade({}), len(r["ids"]), r["finished"], r["kl"])
            for r in rows
        ]
    return found


def _entry(name: str, graph: Graph, outcome: Outcome, replies: Mapping[str, list[Reply]]) -> ModelEntry:
    stage, arm = graph.models[name], graph.arms.get(name)
    shown = run_of(outcome.folders[stage.name] / "run", arm.round) if arm and arm.way != "prompt" else None
    return ModelEntry(
        name,
        _about(arm),
        shown,
        replies if graph.grades else {},
        training_seconds(name, graph, outcome),
        untrained=arm is None or arm.way == "prompt",
    )


def run_of(run: Path, number: int | None) -> Path | None:
    """The run folder that shows how a model was trained: of a loop of rounds, that of its last round, or of one of them."""
    rounds = sorted((f for f in (run / ROUNDS).glob("*/run") if f.is_dir()), key=lambda f: int(f.parent.name))
    if number is not None and (run / ROUNDS / str(number) / "run").is_dir():
        return run / ROUNDS / str(number) / "run"
    if rounds:
        return rounds[-1]
    return run if run.exists() else None


def _about(arm: Arm | None) -> str:
    if arm is None:
        return "what all training starts from"
    epochs = float(arm.settings.get("epochs", 1))
    times = "" if epochs == 1 or arm.way != "objective" else f", {epochs:g} times over"
    start = "the base" if arm.start == BASE else arm.start
    if arm.every_round:
        times = f", round {arm.round}" if arm.round else ", the last round"
    return f"{start}{'' if arm.way == 'prompt' else ', then'} {arm.label}{times}"


def compared(settings: Mapping[str, Any], graph: Graph) -> list[tuple[str, str]]:
    """The pairs to compare reply by reply, without those of a model that was left out."""
    return [(a, b) for a, b in settings["comparisons"] if {a, b} <= graph.answers.keys()]


def publish(
    output: Path, settings: Mapping[str, Any], graph: Graph, outcome: Outcome, found: Findings
) -> Path:
    """Fill the output folder: report.html, results.json, settings.yaml, data/, samples/, replies/ and runs/. Returns the
    report's path.
    """
    from halign.reporting import render

    output.mkdir(parents=True, exist_ok=True)
    for name, stage in graph.models.items():
        folder = outcome.folders[stage.name]
        source = folder / "run" if (folder / "run").exists() else folder / "model"
        if source.exists() and name == stage.name:  # a row of its own run, not of a round, nor of a prompt
            replace_folder(source, output / "runs" / name)
    replace_folder(outcome.folders[graph.data.name], output / "data")
    for name, stage in graph.samples.items():
        replace_folder(outcome.folders[stage.name], output / "samples" / name)
    answers = {f"replies/{name}": stage for name, stage in graph.answers.items()}
    for place, stage in ({"replies": graph.grades} if graph.grades else answers).items():
        replace_folder(outcome.folders[stage.name], output / place)
    (output / "settings.yaml").write_text(found.evidence.settings)
    (output / "results.json").write_text(json.dumps(results(found), indent=1))
    return render(found.evidence).save(output / "report.html")


def results(findings: Findings) -> dict[str, Any]:
    """The numbers of the report, for programs."""
    found = findings.evidence
    kinds = ["all", *found.prompts]

    def replies(m: ModelEntry, kind: str) -> list[Reply]:
        return m.pooled if kind == "all" else list(m.replies[kind])

    models: dict[str, Any] = {}
    for m in found.answered:
        models[m.name] = {}
        for kind in kinds:
            s = score(replies(m, kind))
            models[m.name][kind] = {
                **{k: i.to_dict() for k, i in s.shares.items()},
                "kl": s.kl.to_dict() if s.kl else None,
                "tokens": s.tokens.to_dict(),
                "repeats": s.repeats.value,
                "unfinished": s.unfinished.value,
            }
    compared = []
    others = [(m.name, found.baseline) for m in found.answered if found.base and m.name != found.baseline]
    for a, b in [*found.pairs, *others]:
        for kind in kinds:
            x, y = replies(found.model(a), kind), replies(found.model(str(b)), kind)
            advantage = {m: paired(x, y, m).to_dict() for m in measures(x)}
            compared.append({"a": a, "b": b, "prompts": kind, "advantage": advantage})
    rewards = {r.model: r.to_dict() for r in findings.rewards}
    return {"models": models, "rewards": rewards, "comparisons": compared}


def summary(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) for the terminal: the dimensions, all of them at once, rewards, and the distance."""
    found, rewards = findings.evidence, {r.model: r for r in findings.rewards}
    names = list(findings.rewards[0].means) if findings.rewards else []
    dimensions = ["guardrails kept", "natural", "nothing invented", "all three"] if found.answered else []
    rows = []
    for m in found.answered or [found.model(r.model) for r in findings.rewards]:
        cells = [m.name]
        if found.answered:
            s = score(m.pooled)
            cells += [f"{100 * s.shares[k].value:.0f} %" for k in (*list(s.shares)[:3], ALL)]
        cells += [f"{rewards[m.name].means[n].value:.3f}" for n in names]
        kl = rewards[m.name].kl if rewards else score(m.pooled).kl
        cells.append(f"{kl.value:.2f}" if kl and m.name != found.baseline else "–")
        rows.append(cells)
    return ["model", *dimensions, *names, "KL"], rows


def _intro(settings: Mapping[str, Any]) -> str:
    where = (
        "An online shop's support bot is given guardrails in its system message"
        if settings["data"] is None and settings["world"] == "care"
        else "A bot is given guardrails"
    )
    return (
        f"{where}: rules such as “address the customer by first name” or “ask for the order number first”. "
        f"{settings['intro']}"
    )


def guardrail_texts(world: str | None) -> dict[str, GuardrailText]:
    """A world's guardrails for people."""
    if world is None:
        return {}
    known = importlib.import_module(f"halign.worlds.{world}").GUARDRAILS
    return {
        name: GuardrailText(
            name,
            g.sentences[0],
            str(g.group),
            bool(g.held_out),
            frozenset((*g.sentences, *g.held_out_sentences)),
        )
        for name, g in known.items()
    }


def _data(settings: Mapping[str, Any], graph: Graph, outcome: Outcome) -> list[tuple[str, str]]:
    folder = outcome.folders[graph.data.name]
    rows = read_rows(folder / "train.jsonl")
    said = [m for r in rows for m in r.get("messages", [])]
    turns = sum(m["role"] == "assistant" for m in said)
    pairs = sum(len(m.get("alternatives", [])) for m in said)
    asked = ", ".join(f"{len(p):,} ({h} histories)" for h, p in _prompts(graph, folder).items())
    source = settings["data"] or f"made by the {settings['world']} world, seed {settings['seed']}"
    found = [("Conversations", f"{len({_conversation(r) for r in rows}):,} to train on, {source}")]
    if turns:
        found.append(("Good replies in them", f"{turns:,} agent turns"))
    if pairs:
        found.append(("Pairs in them", f"{pairs:,}: the agent's reply, and one that breaks one guardrail"))
    if (folder / "feedback.jsonl").exists():
        found.append(("Feedback set", f"{len(read_rows(folder / 'feedback.jsonl')):,} further conversations"))
    for name, stage in graph.samples.items():
        found.append((f"Samples: {name}", _samples(outcome.folders[stage.name])))
    held_out = {_conversation(r) for r in read_rows(folder / "validation.jsonl")}
    return [*found, ("Held out for the curves", f"{len(held_out):,} conversations"), ("Test prompts", asked)]


def _samples(folder: Path) -> str:
    """What samples hold: ranked replies, or what a builder made."""
    rows = read_rows(folder / "train.jsonl")
    report = report_path(folder / "train.jsonl")
    if not report.exists():
        return f"{sum(len(r['responses']) for r in rows):,} replies to {len(rows):,} prompts, ranked"
    told = json.loads(report.read_text(encoding="utf-8"))
    counts = {**told["tallies"], **{f"dropped: {why}": n for why, n in told["dropped"].items()}}
    said = "; ".join(f"{name} {n:,}" for name, n in counts.items() if not name.startswith(QUIET))
    return f"{len(rows):,} examples by {told['builder']}{f' ({said})' if said else ''}"


def _conversation(row: Mapping[str, Any]) -> Any:
    return row.get("conversation") or row["id"]


def replace_folder(source: Path, target: Path) -> None:
    """Put a (linked) copy of a folder in place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    link_tree(source, target)
