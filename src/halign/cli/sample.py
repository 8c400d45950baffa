"""``halign sample``: replies of a model to prompts in a file; the model is on this machine or behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from halign.cli import model_options as m
from halign.cli.options import Remote, asks
from halign.cli.samplers import refuse, sampler_at, sampler_here

if TYPE_CHECKING:
    from halign.dialogue import Dialogue
    from halign.sampling import Sample


@asks("--endpoint")
def sample(
    model: m.ModelName,
    prompts: Annotated[str, typer.Option(help="Prompts, or any data: its prompts are taken.")],
    output: Annotated[Path, typer.Option(help="JSONL to write: prompt, conversation, responses.")],
    n: Annotated[int, typer.Option(help="Replies to each prompt.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first prompts.", min=1)] = None,
    temperature: m.Temperature = 1.0,
    top_p: m.TopP = 1.0,
    top_k: Annotated[int, typer.Option(help="Keep this many tokens; 0: all.", min=0)] = 0,
    max_new_tokens: m.LongestReply = 200,
    stop: m.Stop = None,
    seed: m.DrawSeed = 0,
    prefix: m.Prefix = None,
    device: m.Device = None,
    quantize: m.Quantize = None,
    engine: m.Engine = None,
    endpoint: m.EndpointURL = None,
    *,
    remote: Remote,
) -> None:
    """Ask a model every prompt of a file and write its replies. The same command after an interruption goes on where it
    stopped, and pays an endpoint for nothing twice.

    halign sample --model runs/dpo --prompts prompts.jsonl --output replies.jsonl --n 4
    """
    from halign.readers import read_prompts
    from halign.readers.write import see_writable

    see_writable(output)

    if endpoint:
        local = {"top_k": top_k, "prefix": prefix, "device": device, "quantize": quantize, "engine": engine}
        refuse({**local, "top_k": top_k or None}, "with --endpoint")
    else:
        refuse(remote.given(), "without --endpoint")
    asked = read_prompts(prompts)[:limit]
    settings: dict[str, Any] = {
        "n": n,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "stop": tuple(stop or ()),
        "seed": seed,
    }
    if endpoint:
        there = sampler_at(endpoint, model, **remote.settings())
        if remote.dry_run:
            typer.echo(there.dry_run(asked, **settings))
            return
        try:
            replies = _watched(there.sample, asked, **settings)
        finally:
            typer.echo(there.client.spent)
    else:
        here = sampler_here(model, prefix, device, quantize, engine or "transformers")
        if engine != "vllm":
            _sample_here(here, asked, output, top_k=top_k, **settings)
            return
        replies = _watched(here.sample, asked, top_k=top_k, **settings)
    typer.echo(f"{_write(asked, replies, output)} prompts answered: {output}")


def _sample_here(sampler: Any, asked: Sequence[Dialogue], output: Path, **settings: Any) -> None:
    """Ask a model in this process; an interruption says how much is kept."""
    from halign.sampling.kept import KeptSampler

    kept = KeptSampler(sampler)
    try:
        replies = _watched(kept.sample, asked, **settings)
    except KeyboardInterrupt:
        typer.echo(
            f"stopped: replies to {kept.kept} of {len(asked)} prompts are kept; the same command goes on from there",
            err=True,
        )
        raise
    typer.echo(f"{_write(asked, replies, output)} prompts answered: {output}")
    kept.forget()


def _watched(
    ask: Callable[..., list[list[Sample]]], asked: Sequence[Dialogue], **settings: Any
) -> list[list[Sample]]:
    """The samples, with a bar while they come."""
    with Progress(transient=True) as bar:
        task = bar.add_task("sampling", total=settings["n"] * len(asked))
        return ask(asked, progress=lambda done, total: bar.update(task, completed=done), **settings)


def _write(asked: Sequence[Dialogue], replies: Sequence[Sequence[Sample]], output: Path) -> int:
    from halign.readers import write_rows

    return write_rows(
        (
            {
                "conversation": p.meta["conversation"],
                "guardrails": list(p.guardrails),
                **(
                    {"meta": meta}
                    if (meta := {k: v for k, v in p.meta.items() if k != "conversation"})
                    else {}
                ),
                "prompt": [m.to_dict() for m in p.messages],
                "responses": [{"content": s.text, "finished": s.finished} for s in samples],
            }
            for p, samples in zip(asked, replies, strict=True)
        ),
        output,
    )
