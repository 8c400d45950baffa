"""What the stages of a recipe do. Each writes its result into ``output`` and reads the folders of its inputs.

All take (output, *, inputs, progress, threads, **settings), as the engine hands them over.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.recipes.origins import Inputs, Report, chosen, world_module

ROUNDS = "rounds"
"""Where the run folder of a loop keeps what each of its rounds made."""


def train(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    objective: str,
    settings: Mapping[str, Any],
    conversations: int | None = None,
    parts: Sequence[str] = ("train",),
    skip: int = 0,
) -> None:
    """One arm: a run folder in ``output/run``. Resumes what an interrupted call left there.

    Args:
        parts, skip, conversations: see ``chosen``.
    """
    from halign.run_folder import RunFolder
    from halign.training import train as run

    RunFolder(output / "run").clear_unless_resumable()
    with watched(output / "run" / "metrics.jsonl", float(settings.get("epochs", 1)), progress):
        run(
            model_folder(inputs["model"]),
            chosen(inputs["data"], parts, skip, conversations),
            objective,
            output=output / "run",
            evaluation=chosen(inputs["data"], ["validation"]) or None,
            quiet=True,
            record={"data": "+".join(f"{part}.jsonl" for part in parts)},
            **settings,
        )


def answer(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    split: str,
    histories: list[str],
    sampling: Mapping[str, Any],
    kl_prompts: int,
    limit: int | None = None,
    examples: int = 0,
    round: int | None = None,
) -> None:
    """A model's replies to the prompts of a split, as JSONL per history; and for the first ``kl_prompts`` of
    each, how far the reply has moved from the reference.

    Args:
        examples: of the training data, put before each prompt (few-shot); the reference does not see them.
        round: of a loop, after which the model is asked; None: the last.
    """
    from halign.evaluate import log_ratios
    from halign.models import load
    from halign.readers import read_prompts, write_rows
    from halign.recipes.shots import put_before
    from halign.sampling import TransformersSampler

    policy = load(model_folder(inputs["model"], round))
    same = inputs["model"] == inputs["reference"] and not examples and round is None
    reference = None if same else load(model_folder(inputs["reference"]))
    asked = {h: read_prompts(inputs["data"] / f"prompts-{split}-{h}.jsonl")[:limit] for h in histories}
    dtype = "bf16" if sampling.get("fast_prompts") else "fp32"  # bf16 adds 0.05 nats of noise to a reply
    total, done = sum(map(len, asked.values())), 0
    for history, prompts in asked.items():
        progressed = partial(_from, done, total, progress)
        shown = put_before(policy, prompts, inputs["data"], examples, sampling) if examples else prompts
        samples = TransformersSampler(policy).sample(shown, progress=progressed, **sampling)
        done += len(prompts)
        replies = [row[0] for row in samples]
        measured = prompts[:kl_prompts]
        progress(done, total, "measuring the distance to the reference")
        ids = [s.ids for s in replies[: len(measured)]]
        kl = (
            [0.0] * len(measured)
            if reference is None
            else log_ratios(
                policy, reference, shown[:kl_prompts], ids, dtype=dtype, reference_prompts=measured
            )
        )
        rows = [
            {"conversation": p.meta["conversation"], **s.to_dict(), "kl": k}
            for p, s, k in zip_longest(prompts, replies, kl)
        ]
        write_rows(rows, output / f"{history}.jsonl")


def judge(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    split: str,
    histories: list[str],
    world: str | None,
    world_version: str | None,
    judge: str | None,
    limit: int | None = None,
) -> None:
    """Grade all replies: ``MODEL/HISTORY.jsonl`` of ``evaluate.Reply`` rows."""
    from halign.evaluate import Reply
    from halign.readers import read_prompts, write_rows

    grader = find_judge(world, judge)
    models = [name for name in inputs if name != "data"]
    total = len(models) * len(histories)
    for h, history in enumerate(histories):
        prompts = read_prompts(inputs["data"] / f"prompts-{split}-{history}.jsonl")[:limit]
        for m, name in enumerate(models):
            rows = read_rows(inputs[name] / f"{history}.jsonl")
            grades = grader.grade(prompts, [r["text"] for r in rows])
            replies = [
                Reply(r["conversation"], r["text"], g, len(r["ids"]), r["finished"], r["kl"])
                for r, g in zip(rows, grades, strict=True)
            ]
            write_rows((r.to_dict() for r in replies), output / name / f"{history}.jsonl")
            progress(h * len(models) + m + 1, total, name)


def _from(before: int, total: int, progress: Report, done: int, of: int) -> None:
    """Progress of a part, told as progress of the whole."""
    progress(before + done, total, "answering")


def find_judge(world: str | None, judge: str | None) -> Any:
    """The judge by the words that ``judges.find_judge`` knows, or the world's exact rules.

    Raises:
        HalignError: if there is none, or it has no ``grade(prompts, replies)`` that gives a ``Grade`` each.
    """
    from halign import judges

    if judge is not None:
        found = judges.find_judge(judge)
    elif world is not None:
        found = judges.RulesJudge(world_module(world).assess)
    else:
        raise HalignError("whose replies are better? Set judge= to a judge, or world= to a world")
    if not hasattr(found, "grade"):
        raise HalignError(
            f"judge {judge!r} has no grade(prompts, replies), which the table of a recipe is made of: take care, "
            "package.module:name with grade, or an assess(prompt, reply)"
        )
    return found


def model_folder(stage: Path, round: int | None = None) -> str:
    """Where a stage's model is: of a trained arm (after one round of a loop, if it got so far), a world's base, or the user's
    own.
    """
    if (stage / "source").exists():
        return (stage / "source").read_text()
    folders = [stage / "run" / "model", stage / "model"]
    if round is not None:
        folders.insert(0, stage / "run" / ROUNDS / str(round) / "run" / "model")
    return str(next((f for f in folders if f.exists()), folders[-1]))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """JSON rows of a file."""
    # splitlines would cut texts that hold other separators
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@contextmanager
def watched(metrics: Path, total: float, progress: Report, key: str = "epoch") -> Iterator[None]:
    """Pass on what a training run writes about itself: how far it is, by ``key`` of the last row."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            try:
                last = json.loads(metrics.read_text().rstrip().rsplit("\n", 1)[-1])
            except (OSError, ValueError):
                continue
            if key in last:
                said = [f"{name} {last[name]:.3f}" for name in ("loss", "reward") if name in last]
                progress(round(1000 * last[key] / total), 1000, ", ".join(said))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
