"""What the stages of a table do with replies that models wrote: rank them, learn from them in a loop, score them.

All take (output, *, inputs, progress, threads, **settings), as the engine hands them over. A reward is the model in
``inputs["reward"]``, or else the setting ``reward``: ``judge``, or words of ``halign.rewards.find_reward``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.recipes.arms import JUDGE
from halign.recipes.origins import Inputs, Report, chosen
from halign.recipes.steps import find_judge, model_folder, read_rows, watched


class JudgedReward:
    """What a judge that grades single replies thinks of one, in [0, 1] (``halign.judges.Grade.worth``)."""

    def __init__(self, judge: Any) -> None:
        self.judge = judge

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        """Rewards."""
        return [grade.worth for grade in self.judge.grade(prompts, replies)]


def the_reward(inputs: Inputs, words: Any, world: str | None = None, judge: str | None = None) -> Any:
    """The reward of a stage, see above."""
    from halign.rewards.find import find_reward

    if "reward" in inputs:
        return find_reward(model_folder(inputs["reward"]))
    return JudgedReward(find_judge(world, judge)) if words == JUDGE else find_reward(words)


def rank(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    reward: Any,
    samples: int,
    conversations: int | None,
    skip: int,
    validation: int,
    good: bool,
    seed: int,
    sampling: Mapping[str, Any],
    world: str | None = None,
    world_version: str | None = None,
    judge: str | None = None,
) -> None:
    """Rankings of a model's replies by their reward: train.jsonl, and validation.jsonl of held-out conversations.

    Args:
        samples: replies drawn for a prompt; equal words count once, and those that never ended not at all.
        good: the data's own reply is ranked among them.
        conversations, skip: of the training data (see ``chosen``).
        validation: how many validation conversations; 0 writes no validation.jsonl.
    """
    from halign.models import load
    from halign.readers import write_rows
    from halign.sampling import TransformersSampler

    decides = the_reward(inputs, reward, world, judge)
    sampler = TransformersSampler(load(model_folder(inputs["model"])))
    parts = {"train": chosen(inputs["data"], ["train"], skip, conversations)}
    if validation:
        parts["validation"] = chosen(inputs["data"], ["validation"])[:validation]
    for part, examples in parts.items():
        told = lambda done, total, part=part: progress(done, total, f"{part}: sampling")  # noqa: E731
        rows = ranked(examples, sampler, decides, samples, good, {**sampling, "seed": seed, "progress": told})
        if not rows and part == "train":
            raise HalignError("no prompt has replies with unlike rewards; raise conversations= or samples=")
        if rows:
            write_rows(rows, output / f"{part}.jsonl")


def ranked(
    examples: Sequence[Any], sampler: Any, reward: Any, samples: int, good: bool, sampling: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A row of ``rankings`` for every prompt whose replies have unlike rewards, best reply first."""
    from halign.loops.asked import asked, row

    prompts = asked(examples)
    said = sampler.sample([p.prompt for p in prompts], n=samples, **sampling)
    replies = []
    for one, drawn in zip(prompts, said, strict=True):
        own = [one.own.content] if good and one.own is not None else []
        replies.append(list(dict.fromkeys([*own, *(s.text for s in drawn if s.finished and s.text)])))
    asked_of = [(p.prompt, text) for p, texts in zip(prompts, replies, strict=True) for text in texts]
    scores = iter(reward.score([p for p, _ in asked_of], [t for _, t in asked_of]))
    rows = []
    for number, (one, texts) in enumerate(zip(prompts, replies, strict=True)):
        scored = sorted(((next(scores), t) for t in texts), key=lambda found: -found[0])
        if len({s for s, _ in scored}) > 1:
            responses = [{"content": t, "score": s} for s, t in scored]
            rows.append({"id": f"prompt-{number}", **row(one), "responses": responses})
    return rows


def loop(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    loop: str,
    parts: Sequence[str],
    skip: int,
    conversations: int | None,
    reward: Any,
    preferences: Any,
    settings: Mapping[str, Any],
    world: str | None = None,
    world_version: str | None = None,
    judge: str | None = None,
) -> None:
    """One arm that a loop trains: a run folder in ``output/run``. Resumes what an interrupted call left there."""
    from halign.loops import find, run
    from halign.rewards.find import find_preferences

    found = find(loop)
    decides = the_reward(inputs, reward, world, judge)
    known = found.settings(**settings)
    total = next(
        (float(getattr(known, name)) for name in ("rounds", "iterations") if hasattr(known, name)), 1.0
    )
    with watched(output / "run" / "metrics.jsonl", total, progress, "step"):
        run(
            loop,
            model_folder(inputs["model"]),
            chosen(inputs["data"], parts, skip, conversations),
            reward=decides,
            preferences=None if preferences is None else find_preferences(preferences),
            evaluation=chosen(inputs["data"], ["validation"]) or None,
            output=output / "run",
            quiet=True,
            record={"data": "+".join(f"{part}.jsonl" for part in parts)},
            **settings,
        )


def scores(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    split: str,
    histories: Sequence[str],
    reward: Any,
    world: str | None = None,
    world_version: str | None = None,
    judge: str | None = None,
    limit: int | None = None,
) -> None:
    """What a reward says of every model's replies: ``MODEL.json``, history -> a number for each reply."""
    from halign.readers import read_prompts

    decides = the_reward(inputs, reward, world, judge)
    models = {n.removeprefix("answers "): folder for n, folder in inputs.items() if n.startswith("answers ")}
    for number, (name, folder) in enumerate(models.items()):
        found = {}
        for history in histories:
            prompts = read_prompts(inputs["data"] / f"prompts-{split}-{history}.jsonl")[:limit]
            texts = [r["text"] for r in read_rows(folder / f"{history}.jsonl")]
            found[history] = decides.score(prompts, texts)
        (output / f"{name}.json").write_text(json.dumps(found))
        progress(number + 1, len(models), name)
