"""What the stages of ``frontier`` do: sample, train by an objective or in a loop, ask, and score.

All take (output, *, inputs, progress, threads, **settings), as the engine hands them over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import HalignError
from halign.examples import Ranking
from halign.recipes.field_steps import FAILED, RESULT, fitted
from halign.recipes.origins import Inputs, Report, prompts_of
from halign.recipes.steps import ROUNDS, model_folder, read_rows, watched

RANKINGS = "train.jsonl"
"""Of a stage of ranked replies, named as data to train on are."""
FORMS: dict[str, dict[str, Any]] = {
    "pairs": {"pairs": "best_rest"},
    "singles": {"pairs": "best_rest"},
    "lists": {},
}
"""What an objective takes -> the training settings that make it of the rankings: each of the best replies with each worse one;
the best are good and the others bad."""


def replies(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    reward: Any,
    world_version: str | None,
    skip: int,
    prompts: int,
    samples: int,
    sampling: Mapping[str, Any],
    seed: int,
) -> None:
    """What methods learn from: the start model's own replies to training prompts, ranked by their reward.

    train.jsonl has a row for each of the first ``prompts`` prompts after ``skip`` conversations, best reply first. Replies
    that were cut off are left out, since the model never said that they end there, and prompts with fewer than two others.

    Raises:
        HalignError: if there are not that many prompts, or all replies were cut off.
    """
    from halign.models import load
    from halign.readers import read, write_jsonl
    from halign.rewards.find import find_reward
    from halign.sampling import TransformersSampler

    asked = [p for e in list(read(inputs["data"] / "train.jsonl"))[skip:] for p in prompts_of(e)][:prompts]
    if len(asked) < prompts:
        raise HalignError(f"replies.prompts: {prompts}, but there are {len(asked)}; set conversations=")
    said = TransformersSampler(load(model_folder(inputs["model"]))).sample(
        asked,
        n=samples,
        seed=seed,
        progress=lambda done, total: progress(done, total, "sampling"),
        **sampling,
    )
    texts = [[s.text for s in row if s.finished and s.text] for row in said]
    flat = [(p, t) for p, row in zip(asked, texts, strict=True) for t in row]
    scores = iter(find_reward(reward).score([p for p, _ in flat], [t for _, t in flat]))
    ranked = [
        ranking(p, row, [next(scores) for _ in row]) for p, row in zip(asked, texts, strict=True) if row
    ]
    if not write_jsonl([r for r in ranked if len(r.responses) > 1], output / RANKINGS):
        raise HalignError("replies: of no prompt did two replies end; set sampling.max_new_tokens=")


def ranking(prompt: Dialogue, texts: Sequence[str], scores: Sequence[float]) -> Ranking:
    """Replies by their rewards, the best first; equal rewards tie.

    >>> found = ranking(Dialogue.of("2+2="), ["5", "4", "22"], [0.0, 1.0, 0.0])
    >>> [m.content for m in found.responses], found.ranks, found.scores
    (['4', '5', '22'], (1, 2, 2), (1.0, 0.0, 0.0))
    """
    ordered = sorted(zip(texts, scores, strict=True), key=lambda one: -one[1])
    levels = sorted({s for _, s in ordered}, reverse=True)
    return Ranking(
        prompt,
        tuple(Message(RAW if prompt.is_raw else "assistant", t) for t, _ in ordered),
        tuple(1 + levels.index(s) for _, s in ordered),
        str(prompt.meta.get("conversation", "")),
        tuple(s for _, s in ordered),
    )


def offline(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    objective: str,
    form: str,
    updates: int,
    settings: Mapping[str, Any],
) -> None:
    """Train the start model by an objective on the rankings: ``run/`` and ``result.json``."""
    given = {**settings, **FORMS[form]}
    data = inputs["replies"] / RANKINGS
    _, about = fitted(output, inputs["model"], data, progress, objective, updates, given)
    (output / RESULT).write_text(json.dumps(about, indent=1))


def online(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    loop: str,
    reward: Any,
    world_version: str | None,
    settings: Mapping[str, Any],
) -> None:
    """Train a model in a loop on the same prompts, against the reward model in ``inputs["learned"]`` or else ``reward``:
    ``run/`` and ``result.json``. Resumes what an interrupted call left there.
    """
    from halign.loops import run
    from halign.readers import read
    from halign.rewards.find import find_reward
    from halign.training import Diverged

    learned = inputs.get("learned")
    decides = find_reward(reward if learned is None else model_folder(learned))
    about: dict[str, Any] = {FAILED: None}
    steps = settings.get("rounds") or settings.get("iterations") or 1
    try:
        with watched(output / "run" / "metrics.jsonl", float(steps), progress, "step"):
            run(
                loop,
                model_folder(inputs["model"]),
                list(read(inputs["replies"] / RANKINGS)),
                reward=decides,
                output=output / "run",
                quiet=True,
                record={"data": RANKINGS},
                **settings,
            )
    except Diverged as error:
        about[FAILED] = str(error)
    (output / RESULT).write_text(json.dumps(about, indent=1))


def said(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    split: str,
    history: str,
    prompts: int,
    samples: int,
    sampling: Mapping[str, Any],
    reward: Any,
    world_version: str | None,
    seed: int,
) -> None:
    """A model's replies to the first prompts of a split: ``replies.jsonl``, one row per reply, prompt by prompt.

    A row has conversation, prompt (its number), text, tokens, finished, reward, and, where the reference is among the inputs and
    replies are drawn from the model itself (temperature 1), kl: log pi - log pi_ref of the reply, in nats. A model whose training
    diverged says nothing.
    """
    from halign.evaluate import log_ratios
    from halign.models import load
    from halign.readers import read_prompts, write_rows
    from halign.rewards.find import find_reward
    from halign.sampling import TransformersSampler

    if diverged(inputs["model"]):
        write_rows([], output / "replies.jsonl")
        return
    policy = load(model_folder(inputs["model"]))
    asked = read_prompts(inputs["data"] / f"prompts-{split}-{history}.jsonl")[:prompts]
    drawn = TransformersSampler(policy).sample(
        asked,
        n=samples,
        seed=seed,
        progress=lambda done, total: progress(done, total, "answering"),
        **sampling,
    )
    flat = [(number, asked[number], s) for number, row in enumerate(drawn) for s in row]
    every = [p for _, p, _ in flat]
    progress(0, 0, "scoring")
    rewards = find_reward(reward).score(every, [s.text for _, _, s in flat])
    rows: list[dict[str, Any]] = [
        {
            "conversation": p.meta["conversation"],
            "prompt": number,
            "text": s.text,
            "tokens": len(s.ids),
            "finished": s.finished,
            "reward": r,
        }
        for (number, p, s), r in zip(flat, rewards, strict=True)
    ]
    if "reference" in inputs:
        reference = load(model_folder(inputs["reference"]))
        for row, k in zip(
            rows, log_ratios(policy, reference, every, [s.ids for _, _, s in flat]), strict=True
        ):
            row["kl"] = k
    write_rows(rows, output / "replies.jsonl")


def scored(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    split: str,
    history: str,
) -> None:
    """What the reward model in ``inputs["learned"]`` says of the replies in ``inputs["said"]``: ``learned.json``, a number each.

    Equal replies to one prompt are read once.
    """
    from halign.readers import read_prompts
    from halign.rewards.find import find_reward

    asked = read_prompts(inputs["data"] / f"prompts-{split}-{history}.jsonl")
    rows = read_rows(inputs["said"] / "replies.jsonl")
    distinct = list(dict.fromkeys((r["prompt"], r["text"]) for r in rows))
    model = find_reward(model_folder(inputs["learned"]))
    known = dict(
        zip(distinct, model.score([asked[n] for n, _ in distinct], [t for _, t in distinct]), strict=True)
    )
    (output / "learned.json").write_text(json.dumps([known[r["prompt"], r["text"]] for r in rows]))


def spent(stage: Path, given: Path) -> dict[str, int]:
    """What a training stage really spent: ``updates`` of the optimiser, and ``replies`` drawn or, offline, given.

    Args:
        given: the stage of the rankings.
    """
    about = json.loads((stage / RESULT).read_text())
    if "updates" in about:
        return {
            "updates": about["updates"],
            "replies": sum(len(row["responses"]) for row in read_rows(given / RANKINGS)),
        }
    rows = [r for r in read_rows(stage / "run" / "metrics.jsonl") if r.get("split") == "train"]
    inner = [read_rows(file) for file in (stage / "run" / ROUNDS).glob("*/run/metrics.jsonl")]
    return {
        "updates": sum(r.get("updates", 0) for r in rows)
        + sum(r["split"] == "train" for of in inner for r in of),
        "replies": sum(r["replies"] for r in rows),
    }


def diverged(stage: Path) -> str | None:
    """Why the training of a stage came to nothing; None if it did not."""
    result = stage / RESULT
    found: str | None = json.loads(result.read_text())[FAILED] if result.exists() else None
    return found
