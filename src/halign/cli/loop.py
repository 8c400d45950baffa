"""``halign run LOOP``: one loop that samples as it learns, on any model and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from halign.catalogue import shown, type_name
from halign.errors import DataError, HalignError
from halign.examples import Demonstration, Example
from halign.loops import find, run
from halign.loops.contract import Loop
from halign.loops.registry import resolve
from halign.recipes.loop_settings import loop_settings
from halign.setting_words import parse_overrides, read_yaml
from halign.train_settings import TrainSettings

PLACES = {
    "model": "folder or hub name of what is trained",
    "data": "its prompts are asked; responses too, where the loop needs some: JSONL (.gz), JSON, parquet, a datasets folder",
    "reward": "care (exact rules), a reward model's folder, package.module:name, or reward.endpoint= and reward.model=",
    "preferences": "what says which of two replies is better; unset: the reward's differences",
    "evaluation": "held-out data, whose prompts are answered and graded as the loop goes",
    "eval_share": "without evaluation: share of the data's conversations that is held out; 0 for none",
}
"""Settings of every loop's command, beside those of the loop."""
EVAL_SHARE = 0.1
RECORDED = ("loop", "model_fingerprint", "data_fingerprint", "prompts_fingerprint")
"""What a run's config.yaml holds beside settings, so that it can be given as --config."""
MEASURES = ("reward", "gain", "win_rate", "kl", "entropy", "length", "unfinished")
"""What is shown before and after, as far as the loop measures it."""


def run_loop(
    name: str, words: Sequence[str], output: Path | None, config: Path | None, overwrite: bool, quiet: bool
) -> None:
    """Run a loop from the command line's words; resumes what is unfinished.

    Raises:
        HalignError: for settings, data or a model that will not do.
    """
    from halign.models import load
    from halign.processes import speaks
    from halign.rewards.find import find_preferences, find_reward
    from halign.run_folder import RunFolder

    loop = find(name)
    given = _merged(read_yaml(config) if config else {}, parse_overrides(words))
    places = {k: given.pop(k) for k in PLACES if k in given}
    for recorded in RECORDED:
        given.pop(recorded, None)
    for needed in ("model", "data"):
        if places.get(needed) is None:
            raise HalignError(f"{name} needs {needed}=: {PLACES[needed]}")
    settings = loop_settings(name, given)
    resolve(loop, settings)  # mistakes in settings come before minutes of loading
    folder = output or Path(name)
    if RunFolder(folder).done and not overwrite:
        typer.echo(f"{folder} is finished: nothing to do (--overwrite starts anew)")
        return
    reward, preferences = places.get("reward"), places.get("preferences")
    judged = find_reward(reward) if reward is not None else None
    compared = find_preferences(preferences) if preferences is not None else None
    examples, held_out = examples_of(places["data"]), places.get("evaluation")
    if held_out is not None:
        evaluation = examples_of(held_out)
    else:
        examples, evaluation = divided(examples, float(places.get("eval_share", EVAL_SHARE)))
    done = run(
        name,
        load(places["model"]),
        examples,
        output=folder,
        reward=judged,
        preferences=compared,
        evaluation=evaluation or None,
        overwrite=overwrite,
        quiet=quiet,
        record=places,
        **settings,
    )
    if speaks():
        Console().print(before_and_after(done.metrics))
        Console().print(f"model: {folder / 'model'}    report: halign report {folder}", highlight=False)


def examples_of(source: Any) -> list[Example]:
    """The examples of a file or data set; of one that holds prompts alone, dialogues of which nothing is learnt.

    Raises:
        DataError: as ``halign.read``.
    """
    from halign.readers import read, read_prompts

    try:
        return list(read(source))
    except DataError:
        found = read_prompts(source)  # raises that error again where these are no prompts
    return [Demonstration(prompt, prompt.meta["conversation"], ()) for prompt in found]


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def divided(examples: Sequence[Any], share: float) -> tuple[list[Any], list[Any]]:
    """(to learn from, held out): the last ``share`` of the conversations, rounded, at least two where any are wanted.

    Raises:
        HalignError: if the share is not in [0, 1), or nothing is left to learn from.
    """
    names = list(dict.fromkeys(e.conversation for e in examples))
    if not 0 <= share < 1:
        raise HalignError(f"eval_share: {share:g} is not in [0, 1)")
    count = max(2, round(share * len(names))) if share else 0
    if count >= len(names):
        raise HalignError(
            f"eval_share: {len(names)} conversations leave none to learn from when {count} are held out; "
            "give more data, evaluation=, or eval_share=0"
        )
    held = set(names[len(names) - count :])
    return [e for e in examples if e.conversation not in held], [
        e for e in examples if e.conversation in held
    ]


def before_and_after(metrics: Sequence[Mapping[str, Any]]) -> Table:
    """The first and the last row of what held-out prompts said (of what was sampled for learning, if none were held out)."""
    rows = [r for r in metrics if r["split"] == "eval"] or list(metrics)
    title = "held-out prompts" if rows[-1]["split"] == "eval" else "prompts learnt from"
    table = Table("measure", "before", "after", title=title, title_justify="left")
    for name in MEASURES:
        if name in rows[-1]:
            table.add_row(name, *(_cell(r, name) for r in (rows[0], rows[-1])))
    return table


def _cell(row: Mapping[str, Any], name: str) -> str:
    if row.get(name) is None:
        return "–"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.4g}" + (f" [{low:.3g}, {high:.3g}]" if low is not None else "")


def show_settings(console: Console, loop: Loop) -> None:
    """Every setting of a loop with its type, default and meaning."""
    console.print(f"{loop.name}: {loop.about}. It needs {', '.join(loop.needs) or 'nothing beside prompts'}.")
    table = Table(
        "setting", "type", "default", "meaning", title="Settings, as key=value", title_justify="left"
    )
    for name, meaning in PLACES.items():
        table.add_row(name, "text", shown(EVAL_SHARE if name == "eval_share" else None), meaning)
    for name, field in loop.settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        table.add_row(name, type_name(field.annotation), shown(default), field.description)
    console.print(table)
    if "train" in loop.settings.model_fields:
        known = ", ".join(n for n in TrainSettings.model_fields if n not in loop.settings.model_fields)
        console.print(
            "Settings of each round's training may stand beside these, as learning_rate=1e-4; `halign train --help` "
            f"explains them: {known}; and the objective's own."
        )
