"""``halign chat``: talk to a model, or to two side by side, under guardrails of your own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halign.cli import model_options as m
from halign.cli.samplers import refuse, sampler_at, sampler_here
from halign.errors import HalignError

if TYPE_CHECKING:
    from rich.table import Table

    from halign.cli.talk import Talk

HELP = """/retry      another reply to your last words
/reset      begin a new conversation
/save FILE  append the conversation to a JSONL file that halign data check reads
/help       this
an empty line or Ctrl-D ends it"""


def chat(
    model: m.ModelName,
    versus: Annotated[
        str | None,
        typer.Option(help="A second model from the same place: both answer every turn, side by side."),
    ] = None,
    system: Annotated[str, typer.Option(help="System message.")] = "",
    guardrail: Annotated[
        list[str] | None, typer.Option(help="A rule in force; give it as often as you like.")
    ] = None,
    guardrails: Annotated[
        Path | None, typer.Option(help="File of rules in force: one a line, or a Markdown list.")
    ] = None,
    temperature: m.Temperature = 0.7,
    top_p: m.TopP = 1.0,
    max_new_tokens: m.LongestReply = 200,
    stop: m.Stop = None,
    seed: m.DrawSeed = 0,
    prefix: m.Prefix = None,
    device: m.Device = None,
    endpoint: m.EndpointURL = None,
    key_env: Annotated[
        str | None, typer.Option(help="With --endpoint: environment variable that holds the key.")
    ] = None,
) -> None:
    """Talk to a model. Commands: /retry, /reset, /save FILE, /help. An empty line or Ctrl-D ends it.

    halign chat --model runs/dpo --guardrails rules.md
    """
    from halign.cli.talk import Talk, read_guardrails
    from halign.dialogue import Dialogue, Message

    if endpoint:
        refuse({"prefix": prefix, "device": device}, "with --endpoint")
    else:
        refuse({"key_env": key_env}, "without --endpoint")
    rules = [*(read_guardrails(guardrails) if guardrails else ()), *(guardrail or ())]
    start = Dialogue((Message("system", system),) if system else (), guardrails=tuple(rules))
    settings = {
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "stop": tuple(stop or ()),
    }
    talks = []
    for name in (model, versus) if versus else (model,):
        sampler = (
            sampler_at(endpoint, name, key_env=key_env) if endpoint else sampler_here(name, prefix, device)
        )
        talks.append(Talk(name, sampler, start, settings, seed))
    while (said := _ask()) is not None:
        try:
            _turn(talks, said)
        except HalignError as error:  # a rule, a template or an endpoint: the conversation stands as it was
            typer.echo(str(error), err=True)


def _ask() -> str | None:
    """What the user says; None at the end."""
    try:
        said: str = typer.prompt("you", default="", show_default=False)
    except (typer.Abort, EOFError):
        return None
    return said.strip() or None


def _turn(talks: Sequence[Talk], said: str) -> None:
    """One line of the user's: words, or a command."""
    command, _, argument = said.partition(" ")
    if not said.startswith("/"):
        _answer(talks, [talk.say(said) for talk in talks])
    elif command == "/help":
        typer.echo(HELP)
    elif command == "/reset":
        for talk in talks:
            talk.reset()
        typer.echo("a new conversation")
    elif command not in ("/retry", "/save"):
        typer.echo(f"no such command: {command}\n{HELP}")
    elif not talks[0].begun:
        typer.echo("nothing was said yet")
    elif command == "/retry":
        _answer(talks, [talk.retry() for talk in talks])
    elif argument.strip():
        _save(talks, Path(argument.strip()))
    else:
        typer.echo("/save needs the name of a file")


def _answer(talks: Sequence[Talk], replies: Sequence[Iterator[str]]) -> None:
    """Show the replies as they are written. Where one fails, no history has any."""
    before = [talk.dialogue for talk in talks]
    try:
        (_one if len(talks) == 1 else _beside)(talks, replies)
    except BaseException:
        for talk, dialogue in zip(talks, before, strict=True):
            talk.dialogue = dialogue
        raise


def _one(talks: Sequence[Talk], replies: Sequence[Iterator[str]]) -> None:
    typer.echo("bot: ", nl=False)
    for piece in replies[0]:
        typer.echo(piece, nl=False)
        sys.stdout.flush()
    typer.echo()


def _beside(talks: Sequence[Talk], replies: Sequence[Iterator[str]]) -> None:
    from rich.live import Live

    texts = [""] * len(talks)
    with Live(_columns(talks, texts), refresh_per_second=12) as live:
        for pieces in zip_longest(*replies, fillvalue=""):
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
            live.update(_columns(talks, texts))
    if not live.console.is_terminal:
        typer.echo()


def _columns(talks: Sequence[Talk], texts: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    made = Table(expand=True)
    for talk in talks:
        made.add_column(Text(talk.name, overflow="fold"), ratio=1)
    made.add_row(*(Text(text) for text in texts))
    return made


def _save(talks: Sequence[Talk], file: Path) -> None:
    """Append each model's conversation to a JSONL file."""
    import json

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        number = len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0
        with file.open("a", encoding="utf-8") as rows:
            for k, talk in enumerate(talks):
                row: dict[str, Any] = talk.row(f"chat-{number + k + 1}")
                rows.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise HalignError(f"/save {file}: cannot be written: {error}") from error
    typer.echo(f"saved: {file}")
