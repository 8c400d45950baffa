"""Where a recipe's model and conversations come from: a world, or the user's own folder and file.

First the stages, then what they do (see ``steps``).
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.recipes.stages import Stage

Report = Callable[[int, int, str], None]
Inputs = Mapping[str, Path]

BASE = "base"
"""Name of what all training starts from."""


def base_stage(settings: Mapping[str, Any]) -> Stage:
    """What training starts from: the world's base model, or the user's."""
    own = settings["model"]
    return Stage(
        BASE,
        "halign.recipes.origins:base",
        settings={
            "world": settings["world"] if own is None else None,
            "world_version": world_version(settings["world"]) if own is None else None,
            "model": own,
            "settings": dict(settings["base"]) if own is None else {},
        },
        title="Fetching the base model" if own else "Pretraining the base model",
        why="What training starts from, and what gains are counted from."
        if own
        else "A small language model reads conversations of careful and careless agents. It is cached.",
        cost=1 if own else 200,
    )


def data_stage(settings: Mapping[str, Any], histories: Sequence[str]) -> Stage:
    """Conversations to train on, and prompts to be asked."""
    file = settings["data"]
    return Stage(
        "data",
        "halign.recipes.origins:data",
        settings={
            "world": settings["world"] if file is None else None,
            "world_version": world_version(settings["world"]) if file is None else None,
            "file": file,
            "fingerprint": None if file is None else fingerprint(Path(file)),
            "seed": settings["seed"],
            "conversations": settings["conversations"],
            "feedback": settings.get("feedback_conversations", 0),
            "validation": settings["validation_conversations"],
            "prompts": settings["test_prompts"],
            "histories": list(histories),
        },
        title="Reading the conversations" if file else "Writing the conversations",
        why="Each agent turn comes with a reply that breaks one guardrail; test customers are set apart.",
        cost=5,
    )


def world_version(world: str | None) -> str | None:
    """A hash of a world's source: it makes the conversations, the base model and the grades."""
    if world is None:
        return None
    found = find_spec(f"halign.worlds.{world}")
    if found is None or not found.submodule_search_locations:
        raise HalignError(f"no world {world!r}")
    digest = hashlib.sha256()
    for folder in found.submodule_search_locations:
        for file in sorted(Path(folder).glob("*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def fingerprint(file: Path) -> str:
    """16 hex digits of the hash of a file's bytes.

    Raises:
        HalignError: there is no such file.
    """
    if not file.is_file():
        raise HalignError(f"no such file: {file}")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


# -- what the stages do


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
    feedback: int,
    validation: int,
    prompts: int,
    histories: list[str],
) -> None:
    """Conversations to train on and prompts to be asked: train.jsonl, feedback.jsonl (further conversations, if any are
    wanted), validation.jsonl, and per split and history a file of prompts. No two of them share a conversation.
    """
    from halign.readers import write_jsonl, write_rows

    if file is None:
        w = world_module(world)
        train = list(w.conversations(conversations + feedback, split="train", seed=seed))
        held_out = w.conversations(validation, split="validation", seed=seed)
    else:
        train, held_out, test = _divided(file, conversations + feedback, validation)
    parts = {"train": train[:conversations], "feedback": train[conversations:], "validation": list(held_out)}
    for part, examples in parts.items():
        if examples:
            write_jsonl(examples, output / f"{part}.jsonl")
    for split in ("validation", "test"):
        for history in histories:
            if file is None:
                asked = w.test_prompts(prompts, split=split, seed=seed, history=history)
            else:
                asked = [
                    p for e in (parts["validation"] if split == "validation" else test) for p in prompts_of(e)
                ]
                asked = asked[:: max(1, len(asked) // prompts)][:prompts]
            write_rows((prompt_row(p) for p in asked), output / f"prompts-{split}-{history}.jsonl")


def _divided(file: str, train: int, validation: int) -> tuple[list[Any], list[Any], list[Any]]:
    """The examples of a file: those of its first ``train`` conversations, of the next ``validation`` ones, and of the others.

    Raises:
        HalignError: if there are no others.
    """
    from halign.readers import read

    by_conversation: dict[str, list[Any]] = {}
    for example in read(file):
        by_conversation.setdefault(example.conversation, []).append(example)
    if len(by_conversation) <= train + validation:
        raise HalignError(
            f"{file}: {len(by_conversation)} conversations; {train} to train on and {validation} to "
            "validate on leave none to test on. Set conversations= and validation_conversations="
        )
    groups = list(by_conversation.values())
    bounds = ((0, train), (train, train + validation), (train + validation, len(groups)))
    first, second, third = ([e for group in groups[a:b] for e in group] for a, b in bounds)
    return first, second, third


def chosen(folder: Path, parts: Sequence[str], skip: int = 0, count: int | None = None) -> list[Any]:
    """The examples of files of a data stage, one file after the other: ``count`` (None: all) after the first ``skip``.

    Raises:
        HalignError: if nothing is left to learn from.
    """
    from halign.readers import read

    found = [
        e for part in parts if (folder / f"{part}.jsonl").exists() for e in read(folder / f"{part}.jsonl")
    ]
    found = found[skip:][:count]
    if not found and "validation" not in parts:
        raise HalignError(
            f"no examples in {'+'.join(parts)} after the first {skip}: set conversations= or feedback_conversations="
        )
    return found


def world_module(name: str | None) -> Any:
    """A world by name.

    Raises:
        HalignError: if there is none.
    """
    try:
        return importlib.import_module(f"halign.worlds.{name}")
    except ModuleNotFoundError as error:
        raise HalignError(f"no world {name!r}") from error


def prompt_row(prompt: Any) -> dict[str, Any]:
    """A prompt as ``read_prompts`` reads it; its conversation stands in its ``meta``."""
    row = {
        "conversation": prompt.meta["conversation"],
        "prompt": [m.to_dict() for m in prompt.messages],
        "guardrails": list(prompt.guardrails),
        "meta": dict(prompt.meta),
    }
    return {k: v for k, v in row.items() if v}


def prompts_of(example: Any) -> Iterator[Any]:
    """The prompts of an example: those of the turns that carry alternatives, or of all agent turns where none does."""
    from halign.examples import prompts

    turns = sorted(getattr(example, "alternatives", ()))
    for prompt in [example.dialogue[:t] for t in turns] or [p for _, p in prompts([example])]:
        yield replace(prompt, meta={**prompt.meta, "conversation": example.conversation})


def link_tree(source: Path, target: Path) -> None:
    """A copy of a folder that costs no space where the file system can link."""

    def link(a: str, b: str) -> None:
        try:
            Path(b).hardlink_to(a)
        except OSError:
            shutil.copy2(a, b)

    shutil.copytree(source, target, copy_function=link)
