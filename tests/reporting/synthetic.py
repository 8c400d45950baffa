"""Evidence without training: models that keep guardrails with a known probability, and a made-up run
folder.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import yaml

from halign.errors import HalignError
from halign.evaluate import Reply
from halign.judges import RulesJudge
from halign.reporting import Evidence, GuardrailText, ModelEntry
from halign.worlds import care


def prompts(n: int) -> dict:
    return {h: care.test_prompts(n, split="test", seed=3, history=h) for h in ("clean", "mixed")}


def answer(prompt, rng, keep, honest):
    text = care.good_reply(prompt, seed=rng.randrange(1000))
    if rng.random() > keep:
        for pole in rng.sample(sorted(prompt.meta["active"].values()), len(prompt.meta["active"])):
            try:
                text = care.break_guardrail(prompt, pole, seed=0)
                break
            except HalignError:
                continue
    if rng.random() > honest:
        text += " It costs 9999 dollars."
    return text


def model(name, asked, keep, honest=0.9, kl=1.0, about="", run=None, seconds=None):
    rng, judge, replies = random.Random(name), RulesJudge(care.assess), {}
    for kind, ps in asked.items():
        texts = [answer(p, rng, keep, honest) for p in ps]
        replies[kind] = [
            Reply(p.meta["conversation"], t, g, len(t.split()), True, rng.gauss(kl, 0.5))
            for p, t, g in zip(ps, texts, judge.grade(ps, texts), strict=True)
        ]
    return ModelEntry(name, about, run, replies, seconds)


def run_folder(path: Path, objective="ipo", steps=40, last_loss=None) -> Path:
    path.mkdir(parents=True)
    config = {
        "objective": {objective: 1.0},
        "learning_rate": 3e-5,
        "epochs": 1.0,
        "batch_items": 8,
        "model": "<b>base</b>",
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "environment.json").write_text(json.dumps({"torch": "2.13"}))
    (path / "preflight.txt").write_text("policy equals reference at step 0: yes\n<script>alert(1)</script>\n")
    rng, rows = random.Random(0), []
    for step in range(0, steps + 1, 1):
        if step % 20 == 0:
            rows.append(
                {"step": step, "split": "eval", "loss": 25 - 0.3 * step, "accuracy": 0.5 + step / 100}
            )
        if step:
            loss = 25 - 0.3 * step + rng.random()
            rows.append({"step": step, "split": "train", "loss": loss, "margin": 0.1 * step, "sharing": 3.0})
    if last_loss is not None:
        rows.append({"step": steps + 1, "split": "train", "loss": last_loss})
    (path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (path / "done").write_text(json.dumps({"steps": steps, "seconds": 31.0}))
    return path


def evidence(folder: Path, n: int = 40, **keep: float) -> Evidence:
    asked = prompts(n)
    keep = {"base": 0.5, "M1SFT": 0.7, "Mipo": 0.85, **keep}
    models = []
    for name, rate in keep.items():
        run = None if name == "base" else run_folder(folder / name, "sft" if "SFT" in name else "ipo")
        models.append(model(name, asked, rate, about=f"{name} in words", run=run, seconds=12.0))
    models[0] = replace(
        models[0], replies={k: [replace(r, kl=0.0) for r in v] for k, v in models[0].replies.items()}
    )
    guardrails = {
        g.id: GuardrailText(
            g.id, g.sentences[0], g.group, g.held_out, frozenset((*g.sentences, *g.held_out_sentences))
        )
        for g in care.GUARDRAILS.values()
    }
    return Evidence(
        "A made-up report",
        models,
        baseline="base",
        pairs=[("Mipo", "M1SFT")],
        prompts=asked,
        kinds={"clean": "fine histories", "mixed": "careless histories"},
        guardrails=guardrails,
        intro="Nothing here was trained.",
        judged_by="Graded by rules.",
        data=[("Conversations", "600")],
        commands=[("Everything", "halign run flow1"), ("One", "halign train ipo --model runs/base")],
        settings="seed: 0\n",
        environment={"torch": "2.13"},
        seconds=400.0,
    )
