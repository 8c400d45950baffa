"""Data that a builder makes with the models of a table: first the stage, then what it does.

talks:   {from: Assistant, builder: parrot_ask, models: {asker: Ask}, skip: 100}   Ask asks, Assistant answers
context: {from: Chat, builder: capo, of: talks, strategies: [neglect]}             of what was built before

What is no key of ``KNOWN`` is a setting of the builder. Instead of an arm (``from``) a model behind an endpoint may write:
``endpoint: {url: ..., model: ..., budget: ...}``, the settings of ``halign.llm.Endpoint`` and a budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from halign.builders import Tools, find, resolve
from halign.builders.driver import build as run
from halign.builders.driver import report_path
from halign.curation.source import Row, RowSource
from halign.errors import HalignError
from halign.recipes.origins import Inputs, Report, chosen
from halign.recipes.stages import Stage

KNOWN = ("builder", "from", "endpoint", "judge", "models", "of", "skip", "conversations", "validation")
"""Keys of such samples, beside the builder's settings: the builder; who writes, an arm or an endpoint; whether that judges, too;
settings of the builder that name a model, each with its arm; of what it is built (parts of the conversations joined by +, or
other samples), how many examples of that are left out and taken; and of how many held-out ones, for the curves."""
MODEL = "model "
"""Before the names of inputs that are settings of the builder."""


def stage(
    name: str,
    entry: Mapping[str, Any],
    of: Stage,
    models: Mapping[str, Stage],
    seed: int,
    parts: Sequence[str],
) -> Stage:
    """The stage of samples that a builder makes.

    Args:
        entry: as the YAML has it.
        of: the stage that holds what it is built of; ``parts`` are the files there.
        models: arms by name.

    Raises:
        HalignError: the builder does not know a setting, or lacks a writer.
    """
    builder = find(entry["builder"])
    own = {"seed": seed, **{k: v for k, v in entry.items() if k not in KNOWN}}
    named: Mapping[str, str] = entry.get("models") or {}
    try:
        resolve(builder, {**own, **dict.fromkeys(named, ".")})
    except HalignError as error:
        raise HalignError(f"samples.{name}: {error}") from None
    start, endpoint = entry.get("from"), entry.get("endpoint")
    if start and endpoint:
        raise HalignError(f"samples.{name}: from: and endpoint: both write; set one of them to null")
    inputs = {"data": of, **{MODEL + k: models[arm] for k, arm in named.items()}}
    if start:
        inputs["model"] = models[start]
    return Stage(
        f"samples-{name}",
        "halign.recipes.built:build",
        settings={
            "builder": entry["builder"],
            "parts": list(parts),
            "skip": entry.get("skip", 0),
            "conversations": entry.get("conversations"),
            "validation": entry.get("validation", 0),
            "endpoint": endpoint,
            "judge": bool(entry.get("judge", False)),
            "settings": own,
        },
        inputs=inputs,
        title=f"Building {name} ({entry['builder']})",
        why=f"{builder.about[0].upper()}{builder.about[1:]}.",
        cost=0.5 * (entry.get("conversations") or 200) + 5,
        resumable=True,
    )


def build(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    builder: str,
    parts: Sequence[str],
    skip: int,
    conversations: int | None,
    validation: int,
    endpoint: Mapping[str, Any] | None,
    judge: bool,
    settings: Mapping[str, Any],
) -> None:
    """Build train.jsonl, and validation.jsonl of held-out examples. Resumes what an interrupted call left there.

    Raises:
        HalignError: as the driver's ``build``.
    """
    from halign.readers import write_jsonl
    from halign.recipes.steps import model_folder

    found = find(builder)
    models = {
        k.removeprefix(MODEL): model_folder(folder) for k, folder in inputs.items() if k.startswith(MODEL)
    }
    resolved = resolve(found, {**settings, **models})
    tools = _tools(inputs, endpoint, judge)
    sources = {"train": chosen(inputs["data"], parts, skip, conversations)}
    if validation and (held_out := chosen(inputs["data"], ["validation"])[:validation]):
        sources["validation"] = held_out
    for part, examples in sources.items():
        target, source = output / f"{part}.jsonl", output / f"source-{part}.jsonl"
        if report_path(target).exists():  # written last
            continue
        if not source.exists():
            write_jsonl(examples, source)
        watch = _watch(progress, part, len(examples))
        run(found, RowSource(source), target, resolved, tools, overwrite=target.exists(), watch=watch)


def _tools(inputs: Inputs, endpoint: Mapping[str, Any] | None, judge: bool) -> Tools:
    """The writer, and the same model as the judge where it is to judge."""
    from halign.builders.writers import EndpointWriter, LocalWriter
    from halign.judges.yes_no import EndpointYesNo, LocalYesNo
    from halign.llm import Client, Endpoint
    from halign.models import fingerprint, load
    from halign.recipes.steps import model_folder
    from halign.sampling import TransformersSampler

    if endpoint is not None:
        given = dict(endpoint)
        budget = given.pop("budget", None)
        try:
            client = Client(Endpoint(**given), budget=budget)
        except TypeError as error:
            raise HalignError(f"endpoint: {error}; it takes url, model, and what Endpoint takes") from None
        return Tools(EndpointWriter(client), EndpointYesNo(client) if judge else None)
    if "model" not in inputs:
        return Tools()
    policy = load(model_folder(inputs["model"]))
    writer = LocalWriter(TransformersSampler(policy), fingerprint(policy.model))
    return Tools(writer, LocalYesNo(policy) if judge else None)


def _watch(progress: Report, part: str, total: int) -> Any:
    """Tells the engine how many rows have been taken."""

    def watch(rows: Iterable[Row], name: str) -> Iterator[Row]:
        for number, row in enumerate(rows):
            progress(number, total, f"{part}: {name}")
            yield row

    return watch
