"""Options of commands that ask a model for replies: which one, on what, and how it draws."""

from __future__ import annotations

from typing import Annotated

import typer

ModelName = Annotated[
    str, typer.Option(help="Folder, run folder or hub name; with --endpoint its name there.")
]
EndpointURL = Annotated[
    str | None,
    typer.Option(help="Address of an OpenAI-compatible server, such as http://localhost:8000/v1."),
]
Prefix = Annotated[
    str | None,
    typer.Option(help='Words that replies are made to begin with; "" for none. Default: as trained.'),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda ... Default: cuda where there is one.")]
Quantize = Annotated[str | None, typer.Option(help="4bit or 8bit (CUDA, bitsandbytes).")]
Engine = Annotated[
    str | None,
    typer.Option(help="What writes the replies here: transformers or vllm. Default: transformers."),
]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token, always.", min=0)]
TopP = Annotated[float, typer.Option(help="Keep the likeliest tokens up to this probability.")]
LongestReply = Annotated[int, typer.Option(help="Longest reply, in tokens.", min=1)]
Stop = Annotated[
    list[str] | None,
    typer.Option(help="A string at which a reply ends, left out of it; give it as often as you like."),
]
DrawSeed = Annotated[int, typer.Option(help="For the draws.", min=0)]
