"""``halign sample``: replies of a model to prompts in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress


def sample(
    model: Annotated[str, typer.Option(help="Folder, run folder or hub name.")],
    prompts: Annotated[str, typer.Option(help="Prompts, or any data: its prompts are taken.")],
    output: Annotated[Path, typer.Option(help="JSONL to write: prompt, conversation, responses.")],
    n: Annotated[int, typer.Option(help="Replies to each prompt.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first prompts.", min=1)] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, always.", min=0)] = 1.0,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens up to this probability.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Keep this many tokens; 0: all.", min=0)] = 0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest reply, in tokens.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="For the draws.", min=0)] = 0,
    prefix: Annotated[
        str | None,
        typer.Option(help='Words that replies are made to begin with; "" for none. Default: as trained.'),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda ... Default: cuda where there is one.")
    ] = None,
    quantize: Annotated[str | None, typer.Option(help="4bit or 8bit (CUDA, bitsandbytes).")] = None,
) -> None:
    """Ask a model every prompt of a file and write its replies."""
    import torch

    from halign.models import load
    from halign.readers import read_prompts, write_rows
    from halign.sampling import TransformersSampler

    asked = read_prompts(prompts)[:limit]
    policy = load(model, device=device or ("cuda" if torch.cuda.is_available() else None), quantize=quantize)
    with Progress(transient=True) as bar:
        task = bar.add_task("sampling", total=n * len(asked))
        rows = TransformersSampler(policy, prefix=prefix).sample(
            asked,
            n=n,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_new_tokens=max_new_tokens,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done),
        )
    written = write_rows(
        (
            {
                "conversation": p.meta["conversation"],
                "guardrails": list(p.guardrails),
                "prompt": [m.to_dict() for m in p.messages],
                "responses": [{"content": s.text, "finished": s.finished} for s in replies],
            }
            for p, replies in zip(asked, rows, strict=True)
        ),
        output,
    )
    typer.echo(f"{written} prompts answered: {output}")
