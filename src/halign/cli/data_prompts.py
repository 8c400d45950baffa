"""``halign data prompts``: templates over the columns of data sets, browsed, created and measured.

A data set's templates stand beside it, in FILE.templates.yaml, unless --templates says where. Examples are built with them by
``halign data build promptsource FILE OUT templates=FILE.templates.yaml``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from halign.cli import data_views as views
from halign.cli.options import Encoding, File, Overwrite, Split
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.builders.prompt_metrics import Tried
    from halign.builders.prompt_templates import Template

app = typer.Typer(
    no_args_is_help=True,
    help="Prompts by templates over any columns (PromptSource): browse, create, metrics.",
)

Templates = Annotated[
    Path | None,
    typer.Option(
        "--templates", help="YAML file of templates. Default: FILE.templates.yaml.", show_default=False
    ),
]
Seed = Annotated[int, typer.Option(help="For templates that draw.", min=0)]
SHOWN = 2000
"""Characters of a prompt that are shown."""


@app.command()
def browse(
    file: File,
    templates: Templates = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Which template; may be repeated. Default: all.")
    ] = None,
    number: Annotated[int, typer.Option("-n", "--number", help="How many rows.", min=1)] = 3,
    start: Annotated[int, typer.Option(help="First row, counted from 1.", min=1)] = 1,
    seed: Seed = 0,
    split: Split = None,
    encoding: Encoding = None,
) -> None:
    """Show rows with their columns, and the prompts that templates make of them. Without templates, the rows alone.

    halign data prompts browse faq.csv
    """
    from halign.builders.prompt_metrics import Tried
    from halign.builders.promptsource import rows_as_they_are
    from halign.builders.tools import Tools

    console = Console()
    chosen = _chosen(file, templates, name)
    rows = itertools.islice(rows_as_they_are(str(file), split, encoding), start - 1, start - 1 + number)
    tools, shown = Tools(seed=seed), 0
    for row in rows:
        shown += 1
        console.print(Rule(Text(f"row {row.number} of {file}"), align="left"))
        views.print_table(console, "columns", [(k, _short(str(v))) for k, v in row.row.items()])
        for template in chosen:
            one = Tried(template)
            made = one.add(row, tools.draws(row.number, template.name))
            _print_prompt(console, one, made)
    if not shown:
        raise HalignError(f"--start {start}: {file} has fewer rows")
    if not chosen:
        views.note(
            console, f"no templates yet: halign data prompts create {file} --name NAME --template TEXT"
        )


@app.command()
def create(
    file: File,
    name: Annotated[str, typer.Option(help="What the template is called.", show_default=False)],
    template: Annotated[
        str, typer.Option(help='Jinja over the columns: "INPUT ||| TARGET".', show_default=False)
    ],
    answer_choices: Annotated[
        str | None, typer.Option(help='Jinja, answers separated by "|||"; a list in the template.')
    ] = None,
    original_task: Annotated[
        bool | None,
        typer.Option(
            "--original-task/--other-task", help="Whether it asks for what the data set was made for."
        ),
    ] = None,
    templates: Templates = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    split: Split = None,
    encoding: Encoding = None,
) -> None:
    """Try a template on every row and, if it renders, add it to the file of templates.

    It is refused where a row fails, where no row has an input and a target, and where no target is one of its answer choices.

    halign data prompts create faq.csv --name ask --template "{{question}} ||| {{answer}}"
    """
    from halign.builders.prompt_metrics import tried
    from halign.builders.prompt_templates import Template, check, templates_path, write_template
    from halign.builders.promptsource import rows_as_they_are

    console = Console()
    made = Template(name, template, answer_choices, original_task)
    check(made)
    (found,) = tried([made], rows_as_they_are(str(file), split, encoding), seed)
    if found.first_failure is not None:
        number, why = found.first_failure
        raise HalignError(f"row {number} ({found.failed:,} of {found.rows:,} rows fail): {why}")
    if not found.rendered:
        raise HalignError(f"template {name!r}: none of {found.rows:,} rows has both an input and a target")
    if answer_choices is not None and not any(place is not None for place in found.places):
        raise HalignError(f"template {name!r}: no row's target is one of its answer choices")
    target = templates or templates_path(file)
    write_template(target, made, dataset=file.name, overwrite=overwrite)
    _print_metrics(console, f"{name}, on {file.name}", [found])
    views.good(console, f"written: {target}")


@app.command()
def metrics(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Data sets.", show_default=False)],
    templates: Templates = None,
    seed: Seed = 0,
    split: Split = None,
    encoding: Encoding = None,
) -> None:
    """Measure the templates of a collection: which data sets have some, how many rows render, lengths, balance of answers.

    halign data prompts metrics faq.csv
    """
    from halign.builders.prompt_metrics import tried
    from halign.builders.promptsource import rows_as_they_are

    if templates is not None and len(files) > 1:
        raise HalignError(
            "--templates is for one FILE; those of several stand beside each, in FILE.templates.yaml"
        )
    console = Console()
    found: dict[str, list[Tried]] = {}
    for file in files:
        chosen = _chosen(file, templates, None)
        found[str(file)] = tried(chosen, rows_as_they_are(str(file), split, encoding), seed) if chosen else []
        if chosen:
            _print_metrics(console, str(file), found[str(file)])
    every = list(itertools.chain.from_iterable(found.values()))
    with_some = sum(bool(some) for some in found.values())
    told = sum(t.template.original_task is True for t in every)
    rendered, rows = sum(t.rendered for t in every), sum(t.rows for t in every)
    table = [
        ("data sets", f"{len(files):,}, {with_some:,} of them with templates"),
        ("templates", f"{len(every):,}, {told:,} of them for the original task"),
        ("with answer choices", f"{sum(t.template.answer_choices is not None for t in every):,}"),
    ]
    if rows:
        table.append(("prompts", f"{rendered:,} of {rows:,} rows and templates ({rendered / rows:.1%})"))
    table += [("without templates", name) for name, some in found.items() if not some]
    views.print_table(console, "collection", table)


def _chosen(file: Path, templates: Path | None, names: Sequence[str] | None) -> list[Template]:
    """The templates of a data set, those of these names; none where it has no file of them.

    Raises:
        HalignError: a file that was named is not there, or has no template of a name.
    """
    from halign.builders.prompt_templates import check, read_templates, templates_path

    path = templates or templates_path(file)
    if templates is None and not names and not path.exists():
        return []
    found = read_templates(path)
    if missing := set(names or ()) - {t.name for t in found}:
        raise HalignError(
            f"{path} has no template {min(missing)!r}; it has: {', '.join(t.name for t in found)}"
        )
    chosen = [t for t in found if not names or t.name in names]
    for one in chosen:
        check(one)
    return chosen


def _print_prompt(console: Console, one: Tried, made: tuple[str, str] | None) -> None:
    console.print(Text(one.template.name, style="bold"))
    if made is None:
        why = one.first_failure[1] if one.first_failure else "no input or no target here"
        console.print(Text(f"  {views.BAD if one.failed else '·'} {why}"))
        return
    for role, text in zip(("user", "assistant"), made, strict=True):
        console.print(Padding(Text(f"{role}: {_short(text)}", style=views.COLOURS[role]), (0, 0, 0, 2)))


def _print_metrics(console: Console, title: str, found: Sequence[Tried]) -> None:
    """A row for each template."""
    table = Table(
        "template", "task", "rendered", "empty", "failed", "input words", "target words", "answers", "balance",
        title=title, title_justify="left",
    )  # fmt: skip
    tasks = {True: "original", False: "other", None: "–"}
    for one in found:
        count = one.rendered or 1
        outside = one.places.get(None, 0)
        answers = ", ".join(
            f"{place + 1}: {n / count:.0%}"
            for place, n in sorted((p, n) for p, n in one.places.items() if p is not None)
        )
        answers += f"{', ' if answers else ''}none of them: {outside / count:.0%}" if outside else ""
        table.add_row(
            Text(one.template.name), tasks[one.template.original_task],
            f"{one.rendered:,} of {one.rows:,}", f"{one.empty:,}", f"{one.failed:,}",
            f"{one.input_words / count:.1f}", f"{one.target_words / count:.1f}",
            answers or "–", "–" if one.balance is None else f"{one.balance:.2f}",
        )  # fmt: skip
    console.print(table)
    for one in found:
        if one.first_failure is not None:
            views.note(console, f"{one.template.name}, row {one.first_failure[0]}: {one.first_failure[1]}")


def _short(text: str) -> str:
    return text[:SHOWN] + (" ..." if len(text) > SHOWN else "")
