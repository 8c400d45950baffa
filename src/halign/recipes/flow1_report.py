"""What Flow 1 found, as evidence for a report, and where a user finds the files."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from halign.evaluate import ALL, Reply, measures, paired, score
from halign.recipes.engine import Outcome
from halign.recipes.flow1 import BASE, LABELS, Graph, commands
from halign.recipes.steps import link_tree, read_rows
from halign.reporting import Evidence, GuardrailText, ModelEntry

KINDS = {
    "clean": "every earlier agent turn keeps the guardrails, which a reply can copy",
    "mixed": "earlier agent turns are as careless as real ones",
    "given": "the conversations as they are in the file",
}


def evidence(
    settings: Mapping[str, Any],
    graph: Graph,
    outcome: Outcome,
    overrides: Sequence[str] = (),
    size: str | None = None,
) -> Evidence:
    """Everything the report needs, read from the stages' folders."""
    from halign.readers import read_prompts

    data = outcome.folders[graph.data.name]
    prompts = {h: read_prompts(data / f"prompts-{graph.split}-{h}.jsonl") for h in graph.histories}
    grades = outcome.folders[graph.grades.name]
    models = []
    for name, stage in graph.arms.items():
        run = outcome.folders[stage.name] / "run"
        replies = {
            h: [Reply.of(row) for row in read_rows(grades / name / f"{h}.jsonl")] for h in graph.histories
        }
        models.append(
            ModelEntry(
                name,
                _about(name, settings),
                run if name != BASE and run.exists() else None,
                replies,
                outcome.seconds[stage.name],
            )
        )
    trained = next((m.training for m in models if m.training), None)
    return Evidence(
        title="Do guardrails need alignment, or is fine-tuning enough?",
        intro=_intro(settings),
        models=models,
        baseline=BASE,
        pairs=[(a, b) for a, b in settings["comparisons"]],
        prompts=prompts,
        kinds=KINDS,
        guardrails=guardrail_texts(settings["world"]) if settings["judge"] is None else {},
        judged_by=(
            "Replies are graded by the exact rules of the world they come from, not by a model."
            if settings["judge"] is None
            else f"Replies are graded by {settings['judge']}."
        ),
        data=_data(settings, data, prompts),
        commands=commands(settings, overrides, size),
        settings=yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True),
        environment=trained.environment if trained else {},
        seconds=sum(outcome.seconds.values()),
    )


def publish(
    output: Path, settings: Mapping[str, Any], graph: Graph, outcome: Outcome, found: Evidence, page: Any
) -> Path:
    """Fill the output folder: report.html, results.json, settings.yaml, data/ and runs/. Returns the
    report's path.
    """
    output.mkdir(parents=True, exist_ok=True)
    for name, stage in graph.arms.items():
        folder = outcome.folders[stage.name]
        source = folder / "run" if (folder / "run").exists() else folder / "model"
        if source.exists():
            replace_folder(source, output / "runs" / name)
    replace_folder(outcome.folders[graph.data.name], output / "data")
    replace_folder(outcome.folders[graph.grades.name], output / "replies")
    (output / "settings.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
    (output / "results.json").write_text(json.dumps(results(found), indent=1))
    target: Path = page.save(output / "report.html")
    return target


def results(found: Evidence) -> dict[str, Any]:
    """The numbers of the report, for programs."""
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
    for a, b in [*found.pairs, *((m.name, BASE) for m in found.answered if m.name != BASE)]:
        for kind in kinds:
            x, y = replies(found.model(a), kind), replies(found.model(b), kind)
            advantage = {m: paired(x, y, m).to_dict() for m in measures(x)}
            compared.append({"a": a, "b": b, "prompts": kind, "advantage": advantage})
    return {"models": models, "comparisons": compared}


def summary(found: Evidence) -> list[tuple[str, str, str, str, str, str]]:
    """Rows for the terminal: model, three dimensions, all three, KL."""
    rows = []
    for m in found.answered:
        s = score(m.pooled)
        shares = [f"{100 * s.shares[k].value:.0f} %" for k in (*list(s.shares)[:3], ALL)]
        kl = f"{s.kl.value:.2f}" if s.kl and m.name != BASE else "–"
        rows.append((m.name, shares[0], shares[1], shares[2], shares[3], kl))
    return rows


def _about(name: str, settings: Mapping[str, Any]) -> str:
    if name == BASE:
        return "what all training starts from"
    arm = settings["arms"][name]
    epochs = arm.get("epochs", 1)
    times = "" if epochs == 1 else f", {epochs:g} times over"
    start = "the base" if arm["from"] == BASE else arm["from"]
    return f"{start}, then {LABELS.get(arm['objective'], arm['objective'])}{times}"


def _intro(settings: Mapping[str, Any]) -> str:
    where = (
        "An online shop's support bot is given guardrails in its system message"
        if settings["data"] is None and settings["world"] == "care"
        else "A bot is given guardrails"
    )
    return (
        f"{where}: rules such as “address the customer by first name” or “ask for the order number first”. "
        "SFT models imitate good replies; IPO and KTO models learn from good replies and from replies that "
        "break one guardrail. Which of them keep the rules, and at what price?"
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


def _data(
    settings: Mapping[str, Any], folder: Path, prompts: Mapping[str, Sequence[Any]]
) -> list[tuple[str, str]]:
    rows = read_rows(folder / "train.jsonl")
    turns = sum(m["role"] == "assistant" for r in rows for m in r["messages"])
    pairs = sum(len(m.get("alternatives", [])) for r in rows for m in r["messages"])
    of = settings["sft_conversations"]
    held_out = len(read_rows(folder / "validation.jsonl"))
    asked = ", ".join(f"{len(p):,} ({h} histories)" for h, p in prompts.items())
    source = settings["data"] or f"made by the {settings['world']} world, seed {settings['seed']}"
    return [
        ("Conversations", f"{len(rows):,} to train on, {source}"),
        ("SFT learns from", f"{turns:,} agent turns" + (f" of the first {of:,} conversations" if of else "")),
        ("IPO and KTO learn from", f"{pairs:,} pairs: the agent's reply, and one that breaks one guardrail"),
        ("Held out for the curves", f"{held_out:,} conversations"),
        ("Test prompts", asked),
    ]


def replace_folder(source: Path, target: Path) -> None:
    """Put a (linked) copy of a folder in place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    link_tree(source, target)
