"""``halign judge``: stored replies, or models to be asked, judged into a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halign.cli import outputs as o
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.judges.records import JudgedItem

MODES = ("grade", "compare", "both")
SAMPLED = ".sampled"
"""In a folder of replies that were asked for here: of which models, to what, with which settings."""


def judge(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="REPLIES...",
            help="NAME=FILE.jsonl of `halign sample` or conversations, models to be asked (with --prompts), or a judged folder.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write: items, verdicts, judging.json.")],
    judges: Annotated[list[str], typer.Option("--judge", help=f"{o.JUDGE_HELP} As often as you like.")],
    rubric: o.Rubrics = None,
    mode: Annotated[
        str | None, typer.Option(help="grade, compare or both. Default: compare several models, grade one.")
    ] = None,
    explain: o.Explain = False,
    samples: o.Draws = None,
    prompts: Annotated[str | None, typer.Option(help="For models to be asked: prompts, or any data.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first items.", min=1)] = None,
    temperature: Annotated[float, typer.Option(help="For models to be asked.", min=0)] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="For models to be asked: longest reply.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="For draws.", min=0)] = 0,
    key_env: o.KeyEnv = None,
    concurrency: o.Concurrency = None,
    input_price: o.InputPrice = None,
    output_price: o.OutputPrice = None,
    budget: o.Budget = None,
    chunk: Annotated[int, typer.Option(help="Cases that a kill may cost.", min=1)] = 32,
    dry_run: Annotated[bool, typer.Option(help="Say what it would cost, ask nothing.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Ask again where no answer came.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Start anew.")] = False,
) -> None:
    """Judge replies: pairs in both orders, or each alone. The same command goes on where it was stopped, asking nothing twice.

    [bold]halign judge audit[/bold] is [bold]halign audit[/bold]: can a judge be trusted? A folder of that name: ./audit.
    """
    remote = o.remote(key_env, concurrency, input_price, output_price, budget)
    asked = [j for words in judges for j in _each(o.judge_of(words, rubric, explain, samples, remote))]
    sampling = {"temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
    items, names = _items(models, prompts, sampling, limit, output, dry_run, overwrite)
    doing = _mode(mode, names, asked)
    if dry_run:
        _plan(asked, items, names, doing)
        return
    _run(asked, items, names, doing, output, chunk, overwrite, retry_failed)


def _run(
    asked: Sequence[Any],
    items: Sequence[JudgedItem],
    names: Sequence[str],
    doing: str,
    output: Path,
    chunk: int,
    overwrite: bool,
    retry_failed: bool,
) -> None:
    from halign.judges.folder import JudgedFolder, about, counts, judge_cases
    from halign.progress import Display

    identity = {"items": items, "judges": about(asked), "mode": doing}
    folder = JudgedFolder(output, identity, overwrite=overwrite)
    folder.add_items(items)
    if retry_failed:
        typer.echo(f"{folder.drop_failed()} cases are asked again")
    with Display() as display:
        display.phase("judging", len(asked) * len(items))
        cases = _cases(items, names, doing)
        judge_cases(folder, asked, cases, chunk=chunk, watch=display.advance)
    facts = {"judges": about(asked), "models": list(names), "mode": doing, "command": o.command()}
    folder.finish(facts)
    typer.echo("  ".join(f"{k}: {v:,}" for k, v in counts(folder.records).items()))
    if len(names) == 2 and doing != "grade":
        _tables(names, folder.records)
    for one in asked:
        if getattr(one, "client", None) is not None:
            typer.echo(one.client.spent)
    typer.echo(f"judged: {output}")


def _tables(names: Sequence[str], records: Sequence[Any]) -> None:
    """The comparison of two models, judge by judge."""
    from halign.evaluate import compare_records
    from halign.judges.records import PairRecord

    pairs = [r for r in records if isinstance(r, PairRecord)]
    for judge in dict.fromkeys(r.judge for r in pairs):
        typer.echo(f"judge {judge}")
        typer.echo(compare_records(names[0], names[1], [r for r in pairs if r.judge == judge]).table())


def _each(found: Any) -> list[Any]:
    """People are judges one by one."""
    return found.each() if hasattr(found, "each") else [found]


def _items(
    models: Sequence[str],
    prompts: str | None,
    sampling: Mapping[str, Any],
    limit: int | None,
    output: Path,
    dry_run: bool,
    overwrite: bool,
) -> tuple[list[JudgedItem], list[str]]:
    """Items with replies, and the models' names. Replies that are asked for are kept in the output folder, and asked for once.

    Raises:
        HalignError: models without prompts, or prompts without models.
    """
    from halign.judges.records import ITEMS, append
    from halign.judges.stored import items_of

    if len(models) == 1 and (Path(models[0]) / ITEMS).exists():
        found = items_of(models[0])
        return found.items[:limit], found.models
    places = o.named(models)
    answered = o.stored(places)
    new = [n for n, p in places.items() if not o.is_stored(p)]
    if not new:
        if prompts is not None:
            raise HalignError("--prompts would have no effect on stored replies: leave it out")
        assert answered is not None
        return answered.items[:limit], list(places)
    if dry_run:
        raise HalignError(
            f"--dry-run needs replies, and {', '.join(new)} would have to be asked: `halign sample` first"
        )
    items = answered.items[:limit] if answered else _prompts(prompts, limit)
    told = json.dumps({"models": {n: places[n] for n in new}, **sampling, "items": _digest(items)})
    if (output / SAMPLED).exists() and not overwrite:
        if (output / SAMPLED).read_text() != told:
            raise HalignError(
                f"{output} holds replies of other models or settings, or to other prompts; take another folder, or --overwrite"
            )
        kept = {i.item: i for i in items_of(output).items}
        if all(i.item in kept and set(places) <= set(kept[i.item].replies) for i in items):
            return [kept[i.item] for i in items], list(places)
    for name, sampler in o.samplers(places).items():
        typer.echo(f"asking {name}", err=True)
        drawn = [row[0].text for row in sampler.sample([i.dialogue for i in items], **sampling)]
        items = [replace(i, replies={**i.replies, name: said}) for i, said in zip(items, drawn, strict=True)]
    (output / ITEMS).unlink(missing_ok=True)
    append(output / ITEMS, items)
    (output / SAMPLED).write_text(told)
    return items, list(places)


def _digest(items: Sequence[JudgedItem]) -> str:
    """Of what is asked, and of the stored replies beside it."""
    from halign.judges.records import to_row

    text = json.dumps([to_row(i) for i in items], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _prompts(prompts: str | None, limit: int | None) -> list[JudgedItem]:
    from collections import Counter

    from halign.judges.stored import item_of
    from halign.readers import read_prompts

    if prompts is None:
        raise HalignError("models have to be asked something: --prompts FILE")
    seen: Counter[tuple[str, int]] = Counter()
    items = []
    for prompt in read_prompts(prompts)[:limit]:
        key = (str(prompt.meta["conversation"]), len(prompt))
        seen[key] += 1
        items.append(item_of(prompt, {}, seen[key]))
    return items


def _mode(mode: str | None, names: Sequence[str], asked: Sequence[Any]) -> str:
    """What is to be done.

    Raises:
        HalignError: there is no such mode, or a judge or the number of models does not allow it.
    """
    from halign.judges.protocol import can_compare, can_grade, name_of

    doing = mode or ("compare" if len(names) > 1 and all(map(can_compare, asked)) else "grade")
    if doing not in MODES:
        raise HalignError(f"--mode {doing} is not one of {', '.join(MODES)}")
    if doing != "grade" and len(names) < 2:
        raise HalignError(f"--mode {doing} compares models, and there is one: {', '.join(names)}")
    for wanted, can in (("grade", can_grade), ("compare", can_compare)):
        for one in asked:
            if doing in (wanted, "both") and not can(one):
                raise HalignError(f"judge {name_of(one)} does not {wanted}: choose another --mode")
    return doing


def _cases(items: Sequence[JudgedItem], names: Sequence[str], doing: str) -> list[Any]:
    cases: list[Any] = []
    for item in items:
        if doing != "grade":
            cases += [(item, a, b) for a, b in combinations(names, 2)]
        if doing != "compare":
            cases += [(item, name) for name in names]
    return cases


def _plan(asked: Sequence[Any], items: Sequence[JudgedItem], names: Sequence[str], doing: str) -> None:
    """Say what judging would cost."""
    from halign.judges.protocol import name_of
    from halign.judges.recording import planned

    cases = _cases(items, names, doing)
    for one in asked:
        found = planned(one, cases)
        said = "asks no endpoint" if found is None else str(found)
        typer.echo(f"{name_of(one)}: {len(cases):,} cases; {said}")
