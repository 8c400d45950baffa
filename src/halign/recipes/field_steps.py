"""What the stages of ``field`` do with one method: train it, ask it, grade it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.recipes.field_data import FORMS
from halign.recipes.origins import Inputs, Report
from halign.recipes.steps import find_judge, model_folder, read_rows, watched

FAILED, RESULT = "failed", "result.json"


def attempt(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    objective: str,
    form: str,
    updates: int,
    settings: Mapping[str, Any],
    histories: Sequence[str],
    prompts: int,
    sampling: Mapping[str, Any],
    world: str,
    seed: int,
) -> None:
    """One setting of one method, scored on validation prompts: ``result.json``. The model is not kept."""
    policy, about = trained(output, inputs, progress, objective, form, updates, settings, seed)
    if policy is not None:
        replies = [
            r
            for h in histories
            for r in answers(policy, inputs["data"], "validation", h, prompts, sampling, world, seed)
        ]
        about["reward"] = sum(r.grade.worth for r in replies) / len(replies)
        about["all right"] = sum(r.grade.all_right for r in replies) / len(replies)
        about["unfinished"] = sum(not r.finished for r in replies) / len(replies)
    shutil.rmtree(output / "run", ignore_errors=True)
    (output / RESULT).write_text(json.dumps(about, indent=1))


def measure(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    objective: str | None,
    form: str | None,
    updates: int,
    settings: Mapping[str, Any],
    histories: Sequence[str],
    prompts: int,
    kl_prompts: int,
    sampling: Mapping[str, Any],
    world: str,
    seed: int,
) -> None:
    """A method at its chosen setting on the test prompts: replies per history (``evaluate.Reply``), ``drift.jsonl``
    and ``result.json``. Without an objective: the model that training starts from.
    """
    from halign.models import load
    from halign.readers import write_rows

    start = load(model_folder(inputs["model"]))
    if objective is None or form is None:
        policy, about = load(model_folder(inputs["model"])), {FAILED: None, "updates": 0, "items": 0}
    else:
        policy, about = trained(output, inputs, progress, objective, form, updates, settings, seed)
    if policy is not None:
        for number, history in enumerate(histories):
            progress(number, len(histories), "answering")
            replies = answers(
                policy,
                inputs["data"],
                "test",
                history,
                prompts,
                sampling,
                world,
                seed,
                None if objective is None else start,
                kl_prompts,
            )
            write_rows((r.to_dict() for r in replies), output / f"{history}.jsonl")
        progress(0, 0, "good and broken replies")
        write_rows(drift(policy, inputs["responses"] / "drift.jsonl"), output / "drift.jsonl")
    (output / RESULT).write_text(json.dumps(about, indent=1))


def trained(
    output: Path,
    inputs: Inputs,
    progress: Report,
    objective: str,
    form: str,
    updates: int,
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[Any, dict[str, Any]]:
    """(the trained policy, or None if training diverged; what is known about the run)."""
    file, how = FORMS[form]
    given = {**settings, **how, "seed": seed}
    data = inputs["responses"] / file
    return fitted(output, inputs["model"], data, progress, objective, updates, given)


def fitted(
    output: Path,
    model: Path,
    data: Path,
    progress: Report,
    objective: str,
    updates: int,
    settings: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """Train the model of a stage on a file in one pass of exactly ``updates`` updates: (the trained policy, or None if training
    diverged; what is known about the run, which lies in ``output/run``).

    Raises:
        HalignError: if there are fewer items than updates.
    """
    from halign.config import resolve
    from halign.models import load
    from halign.prepare import prepare
    from halign.readers import read
    from halign.training import Diverged, train

    examples = read(data)
    policy = load(model_folder(model))
    items = len(prepare(policy, examples, None, resolve(objective, dict(settings))).train)
    if items < updates:
        raise HalignError(
            f"{objective}: {items} items do not make {updates} updates; set updates= or conversations="
        )
    given = {**settings, "batch_items": items // updates, "max_steps": updates, "epochs": 1}
    about: dict[str, Any] = {
        FAILED: None,
        "items": items,
        "updates": updates,
        "batch_items": items // updates,
    }
    shutil.rmtree(output / "run", ignore_errors=True)
    try:
        with watched(output / "run" / "metrics.jsonl", 1.0, progress):
            run = train(
                policy,
                examples,
                objective,
                output=output / "run",
                quiet=True,
                record={"data": data.name},
                **given,
            )
        policy = run.policy
        if not all(p.isfinite().all() for p in policy.model.parameters()):
            raise Diverged("weights are not finite")
    except Diverged as error:
        return None, {**about, FAILED: str(error)}
    return policy, {**about, "updates": sum(r["split"] == "train" for r in run.metrics)}


def answers(
    policy: Any,
    data: Path,
    split: str,
    history: str,
    count: int,
    sampling: Mapping[str, Any],
    world: str,
    seed: int,
    start: Any = None,
    kl_prompts: int = 0,
) -> list[Any]:
    """Graded replies to the prompts of a split; with how far the first ``kl_prompts`` have moved from ``start``
    (None: the policy is ``start``, and has not moved).
    """
    from halign.evaluate import Reply, log_ratios
    from halign.readers import read_prompts
    from halign.sampling import TransformersSampler

    asked = read_prompts(data / f"prompts-{split}-{history}.jsonl")[:count]
    samples = [row[0] for row in TransformersSampler(policy).sample(asked, seed=seed, **sampling)]
    measured = asked[:kl_prompts]
    ids = [s.ids for s in samples[: len(measured)]]
    dtype = "bf16" if sampling.get("fast_prompts") else "fp32"
    moved = [0.0] * len(measured) if start is None else log_ratios(policy, start, measured, ids, dtype=dtype)
    grades = find_judge(world, None).grade(asked, [s.text for s in samples])
    return [
        Reply(p.meta["conversation"], s.text, g, len(s.ids), s.finished, k)
        for p, s, g, k in zip_longest(asked, samples, grades, moved)
    ]


def drift(policy: Any, file: Path) -> list[dict[str, Any]]:
    """By how many nats the model has raised the good and the broken replies of held-out conversations."""
    from halign.examples import Preference
    from halign.likelihood import logps
    from halign.readers import read

    rows, examples = read_rows(file), [e for e in read(file) if isinstance(e, Preference)]
    sides = {
        side: logps(policy, [(e.prompt, getattr(e, side)) for e in examples]).tolist()
        for side in ("chosen", "rejected")
    }
    return [
        {"conversation": r["conversation"], **{s: sides[s][i] - r[f"{s}_logp"] for s in sides}}
        for i, r in enumerate(rows)
    ]
