"""``halign data build``: new examples from the rows of a file, by rules or with a model that writes and judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from halign.cli import data_views as views
from halign.cli.data_output import SHOWN_ERRORS
from halign.cli.options import Overwrite, Reading, Remote, asks, reads
from halign.cli.pace import Pace
from halign.cli.samplers import refuse, sampler_at, sampler_here
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.builders import Builder, Report, Tools

AT = "With --endpoint: "
NONE, SAME = "none", "same"


@reads
@asks("--endpoint")
def build(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which builder; alone, its settings are shown.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="What to build from: any data, or what the builder reads."),
    ] = None,
    output: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="The new file, .jsonl or .jsonl.gz.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="The builder's settings.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the builders there are.")] = False,
    model: Annotated[str | None, typer.Option(help="What writes: a folder, run folder or hub name.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="What writes: the address of an OpenAI-compatible server, with --llm.")
    ] = None,
    llm: Annotated[str | None, typer.Option(help=f"{AT}the model's name there.")] = None,
    judge: Annotated[
        str,
        typer.Option(
            help="What answers yes or no: a folder, an address (with --judge-llm), same (as writes), none."
        ),
    ] = SAME,
    judge_llm: Annotated[
        str | None, typer.Option(help="With --judge ADDRESS: the model's name there.")
    ] = None,
    overwrite: Overwrite = False,
    *,
    remote: Remote,
    reading: Reading,
) -> None:
    """Build examples: by rules alone where the builder can, else with a model here or behind an endpoint.

    The same command after an interruption goes on where it stopped and ends in the same file; replies of an endpoint are cached
    and paid once. OUT.build.json says what was built and dropped, [bold]halign data trace[/bold] what a row comes from.

    halign data build guardrails chats.jsonl pairs.jsonl policy=policy.md
    """
    from halign.builders import build as run
    from halign.builders import find, resolve
    from halign.setting_words import parse_overrides

    console = Console()
    if list_all:
        show_builders(console)
        return
    if name is None:
        raise HalignError("which builder? halign data build --list shows them")
    builder = find(name)
    if file is None:
        show_settings(console, builder)
        return
    if output is None:
        raise HalignError(f"halign data build {name} {file}: where to? Name the new file, OUT.jsonl")
    resolved = resolve(builder, parse_overrides(settings or ()))
    tools = tools_of(builder, model, endpoint, llm, judge, judge_llm, remote.settings())
    if builder.read is not None:
        refuse(asdict(reading), f"with {name}, which reads its file in its own way")
    source = reading.source(file)
    if remote.dry_run:
        _plan(builder, source, resolved, tools)
        return
    clients = _clients(tools)
    try:
        report = run(
            builder,
            source,
            output,
            resolved,
            tools,
            overwrite=overwrite,
            watch=Pace(note=lambda: _spent(clients)),
        )
    finally:
        for client in clients:
            typer.echo(client.spent)
    views.list_errors(console, source.skipped, SHOWN_ERRORS)
    print_report(console, file, output, report)


def tools_of(
    builder: Builder,
    model: str | None,
    endpoint: str | None,
    llm: str | None,
    judge: str,
    judge_llm: str | None,
    remote: Mapping[str, Any],
) -> Tools:
    """Writer and judge by what the command line says; loaded only if the builder has a use for them.

    Raises:
        HalignError: options that contradict each other, have no effect, or name no model.
    """
    from halign.builders import Tools
    from halign.builders.writers import EndpointWriter, LocalWriter
    from halign.judges.yes_no import EndpointYesNo, LocalYesNo
    from halign.llm import Budget

    if model is not None and endpoint is not None:
        raise HalignError("--model and --endpoint both write: name one of them")
    if (endpoint is None) != (llm is None):
        raise HalignError("--endpoint and --llm go together: the address, and the model's name there")
    at = judge.startswith(("http://", "https://"))
    if at != (judge_llm is not None):
        raise HalignError(
            "--judge ADDRESS and --judge-llm go together: the address, and the model's name there"
        )
    if endpoint is None and not at:
        refuse(remote, "without an endpoint")
    known = {*builder.needs, *builder.uses}
    if not known:
        refuse({"model": model, "endpoint": endpoint}, f"with {builder.name}, which works by rules alone")
    tools, local = Tools(), None
    if remote.get("budget") is not None:
        remote = {**remote, "budget": Budget(remote["budget"])}  # writer and judge spend of one
    if endpoint is not None:
        tools.writer = EndpointWriter(sampler_at(endpoint, str(llm), **remote).client)
    elif model is not None:
        from halign.models import fingerprint

        local = sampler_here(model)
        tools.writer = LocalWriter(local, fingerprint(local.policy.model), Path(model).name)
    if "judge" not in known or judge == NONE:
        return tools
    if at:
        tools.judge = EndpointYesNo(sampler_at(judge, str(judge_llm), **remote).client)
    elif judge != SAME:
        tools.judge = LocalYesNo(sampler_here(judge).policy)
    elif isinstance(tools.writer, EndpointWriter):
        tools.judge = EndpointYesNo(tools.writer.client)
    elif local is not None:
        tools.judge = LocalYesNo(local.policy)
    return tools


def _clients(tools: Tools) -> list[Any]:
    """The endpoints' clients, each once."""
    found = [getattr(t, "client", None) for t in (tools.writer, tools.judge)]
    return list({id(c): c for c in found if c is not None}.values())


def _spent(clients: list[Any]) -> str:
    if not clients:
        return ""
    costs = [c.spent.cost for c in clients]
    if None in costs:
        return f"{sum(c.spent.calls for c in clients):,} calls"
    return f"cost {sum(costs):,.4g}"


def _plan(builder: Builder, source: Any, settings: Any, tools: Tools) -> None:
    """Say what the build would cost."""
    from dataclasses import replace

    from halign.builders.driver import dry_run
    from halign.builders.writers import DryWriter, DryYesNo, EndpointWriter
    from halign.judges.yes_no import EndpointYesNo
    from halign.llm import Planned

    asked = {"writer": tools.writer, "judge": tools.judge}
    if not any(isinstance(t, EndpointWriter | EndpointYesNo) for t in asked.values()):
        raise HalignError("--dry-run has no effect without an endpoint")
    plans = {name: Planned() for name in asked}
    dry = replace(tools)
    if isinstance(tools.writer, EndpointWriter):
        dry.writer = DryWriter(tools.writer, plans["writer"])
    if isinstance(tools.judge, EndpointYesNo):
        dry.judge = DryYesNo(tools.judge, plans["judge"])
    read = dry_run(builder, source, settings, dry)
    typer.echo(f"{read:,} rows")
    for name, plan in plans.items():
        typer.echo(f"{name}: {plan}")


def show_builders(console: Console) -> None:
    """Every builder in one line."""
    from halign.builders import find, names

    table = Table("builder", "what it makes", "needs", "works better with")
    for name in names():
        builder = find(name)
        table.add_row(name, builder.about, ", ".join(builder.needs), ", ".join(builder.uses))
    console.print(table)


def show_settings(console: Console, builder: Builder) -> None:
    """Every setting of a builder with its type, default and meaning."""
    from halign.catalogue import shown, type_name

    console.print(f"{builder.name}: {builder.about}")
    table = Table(
        "setting", "type", "default", "meaning", title="Settings, as key=value", title_justify="left"
    )
    for name, field in builder.settings.model_fields.items():
        default = "required" if field.is_required() else shown(field.get_default(call_default_factory=True))
        table.add_row(name, type_name(field.annotation), default, field.description)
    console.print(table)


def print_report(console: Console, file: str, output: Path, report: Report) -> None:
    """Counts, reasons and notes."""
    from halign.builders.contract import QUIET

    rows = [("read", f"{report.read:,}"), ("built", f"{report.built:,}")]
    rows += [(f"dropped: {why}", f"{n:,}") for why, n in report.dropped.most_common()]
    rows += [(name, f"{n:,}") for name, n in report.tallies.most_common() if not name.startswith(QUIET)]
    views.print_table(console, f"{Path(file).name} -> {output}", rows)
    for note in report.notes:
        console.print(note, highlight=False, markup=False)
