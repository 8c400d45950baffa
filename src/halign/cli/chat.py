"""``halign chat``: talk to a model under guardrails of your own."""

from __future__ import annotations

from typing import Annotated

import typer


def chat(
    model: Annotated[str, typer.Option(help="Folder, run folder or hub name.")],
    system: Annotated[str, typer.Option(help="System message.")] = "",
    guardrail: Annotated[
        list[str] | None, typer.Option(help="A rule in force; give it as often as you like.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, always.", min=0)] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(help="Longest reply, in tokens.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="For the draws.", min=0)] = 0,
    prefix: Annotated[
        str | None,
        typer.Option(help='Words that replies are made to begin with; "" for none. Default: as trained.'),
    ] = None,
) -> None:
    """Talk to a model. An empty line or Ctrl-D ends it."""
    from halign.dialogue import Dialogue, Message
    from halign.models import load
    from halign.sampling import TransformersSampler

    sampler = TransformersSampler(load(model), prefix=prefix)
    start = (Message("system", system),) if system else ()
    talk = Dialogue(start, guardrails=tuple(guardrail or ()))
    for turn in range(1000):
        try:
            said = typer.prompt("you", default="", show_default=False)
        except (typer.Abort, EOFError):
            break
        if not said:
            break
        talk = talk + Message("user", said)
        reply = sampler.sample(
            [talk], temperature=temperature, max_new_tokens=max_new_tokens, seed=seed + turn
        )[0][0]
        typer.echo(f"bot: {reply.text}")
        talk = talk + Message("assistant", reply.text)
