"""What the stages of a recipe do. Each writes its result into ``output`` and reads the folders of its inputs.

All take (output, *, inputs, progress, threads, **settings), as the engine hands them over.
"""

from __future__ import annotations

import importlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.outsiders import imported

Report = Callable[[int, int, str], None]
Inputs = Mapping[str, Path]


def base(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    world: str | None,
    world_version: str | None,
    model: str | None,
    settings: Mapping[str, Any],
) -> None:
    """What training starts from: ``model/`` (the world's, linked) or ``source`` (the name of the user's
    own).
    """
    if model is not None:
        (output / "source").write_text(model)
        return
    pretrain = importlib.import_module(f"halign.worlds.{world}.base_model").base_model
    made = Path(pretrain(progress=progress, **settings))
    link_tree(made, output / "model")


def data(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    world: str | None,
    world_version: str | None,
    file: str | None,
    fingerprint: str | None,
    seed: int,
    conversations: int,
    validation: int,
    prompts: int,
    histories: list[str],
) -> None:
    """Conversations to train on and prompts to be asked: train.jsonl, validation.jsonl, and per split and
    history a file of prompts. Splits share no conversation.
    """
    from halign.examples import Conversation
    from halign.readers import read, write_jsonl, write_rows

    if file is None:
        w = world_module(world)
        write_jsonl(w.conversations(conversations, split="train", seed=seed), output / "train.jsonl")
        held_out = w.conversations(validation, split="validation", seed=seed)
        write_jsonl(held_out, output / "validation.jsonl")
        for split in ("validation", "test"):
            for history in histories:
                asked = w.test_prompts(prompts, split=split, seed=seed, history=history)
                write_rows((_prompt_row(p) for p in asked), output / f"prompts-{split}-{history}.jsonl")
        return
    everything = list(read(file))
    if not all(isinstance(e, Conversation) for e in everything):
        raise HalignError(f"{file}: flow1 needs conversations whose agent turns carry alternatives")
    rest = everything[conversations:]
    if len(rest) <= validation:
        raise HalignError(
            f"{file}: {len(everything)} conversations; {conversations} to train on and {validation} to "
            "validate on leave none to test on. Set conversations= and validation_conversations="
        )
    write_jsonl(everything[:conversations], output / "train.jsonl")
    write_jsonl(rest[:validation], output / "validation.jsonl")
    for split, part in (("validation", rest[:validation]), ("test", rest[validation:])):
        rows = [_prompt_row(p) for e in part if isinstance(e, Conversation) for p in prompts_of(e)]
        write_rows(rows[:: max(1, len(rows) // prompts)][:prompts], output / f"prompts-{split}-given.jsonl")


def train(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    objective: str,
    conversations: int | None,
    settings: Mapping[str, Any],
) -> None:
    """One arm: a run folder in ``output/run``. Resumes what an interrupted call left there."""
    from halign.readers import read
    from halign.run_folder import RunFolder
    from halign.training import train as run

    RunFolder(output / "run").clear_unless_resumable()
    chosen = list(read(inputs["data"] / "train.jsonl"))[:conversations]
    held_out = list(read(inputs["data"] / "validation.jsonl"))
    with watched(output / "run" / "metrics.jsonl", float(settings.get("epochs", 1)), progress):
        run(
            model_folder(inputs["model"]),
            chosen,
            objective,
            output=output / "run",
            evaluation=held_out,
            quiet=True,
            record={"data": "train.jsonl"},
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
) -> None:
    """A model's replies to the prompts of a split, as JSONL per history; and for the first ``kl_prompts`` of
    each, how far the reply has moved from the base.
    """
    from halign.evaluate import log_ratios
    from halign.models import load
    from halign.readers import read_prompts, write_rows
    from halign.sampling import TransformersSampler

    policy = load(model_folder(inputs["model"]))
    same = inputs["model"] == inputs["base"]
    reference = None if same else load(model_folder(inputs["base"]))
    asked = {h: read_prompts(inputs["data"] / f"prompts-{split}-{h}.jsonl")[:limit] for h in histories}
    dtype = "bf16" if sampling.get("fast_prompts") else "fp32"  # bf16 adds 0.05 nats of noise to a reply
    total, done = sum(map(len, asked.values())), 0
    for history, prompts in asked.items():
        progressed = partial(_from, done, total, progress)
        samples = TransformersSampler(policy).sample(prompts, progress=progressed, **sampling)
        done += len(prompts)
        replies = [row[0] for row in samples]
        measured = prompts[:kl_prompts]
        progress(done, total, "measuring the distance to the base")
        ids = [s.ids for s in replies[: len(measured)]]
        kl = (
            [0.0] * len(measured)
            if reference is None
            else log_ratios(policy, reference, measured, ids, dtype=dtype)
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
    """The judge by name, or the world's exact rules.

    Raises:
        HalignError: if there is none, or it cannot grade single replies.
    """
    from halign.judges import RulesJudge

    if judge is None:
        if world is None:
            raise HalignError("whose replies are better? Set judge= to a judge, or world= to a world")
        return RulesJudge(world_module(world).assess)
    found = imported(judge, "judge")
    if isinstance(found, type):
        found = found()
    if hasattr(found, "grade"):
        return found
    if callable(found):
        return RulesJudge(found)
    raise HalignError(f"judge {judge!r} has no grade(prompts, replies) and is no assess(prompt, reply)")


def model_folder(stage: Path) -> str:
    """Where a stage's model is: of a trained arm, a world's base, or the user's own."""
    if (stage / "source").exists():
        return (stage / "source").read_text()
    folder = stage / "run" / "model"
    return str(folder if folder.exists() else stage / "model")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """JSON rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def world_module(name: str | None) -> Any:
    """A world by name.

    Raises:
        HalignError: if there is none.
    """
    try:
        return importlib.import_module(f"halign.worlds.{name}")
    except ModuleNotFoundError as error:
        raise HalignError(f"no world {name!r}") from error


def _prompt_row(prompt: Any) -> dict[str, Any]:
    row = {
        "conversation": prompt.meta["conversation"],
        "prompt": [m.to_dict() for m in prompt.messages],
        "guardrails": list(prompt.guardrails),
        "meta": dict(prompt.meta),
    }
    return {k: v for k, v in row.items() if v}


def prompts_of(conversation: Any) -> Iterator[Any]:
    """The prompts of the turns that carry alternatives."""
    from dataclasses import replace

    for turn in sorted(conversation.alternatives):
        prompt = conversation.dialogue[:turn]
        yield replace(prompt, meta={**prompt.meta, "conversation": conversation.conversation})


@contextmanager
def watched(metrics: Path, epochs: float, progress: Report) -> Iterator[None]:
    """Pass on what a training run writes about itself."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            try:
                last = json.loads(metrics.read_text().rstrip().rsplit("\n", 1)[-1])
            except (OSError, ValueError):
                continue
            if "epoch" in last:
                progress(round(1000 * last["epoch"] / epochs), 1000, f"loss {last['loss']:.3f}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def link_tree(source: Path, target: Path) -> None:
    """A copy of a folder that costs no space where the file system can link."""

    def link(a: str, b: str) -> None:
        try:
            Path(b).hardlink_to(a)
        except OSError:
            shutil.copy2(a, b)

    shutil.copytree(source, target, copy_function=link)
