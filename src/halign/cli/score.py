"""``halign score``: what a reward model makes of the responses in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from halign.cli import model_options as m

if TYPE_CHECKING:
    from halign.examples import Example
    from halign.rewards.model import RewardModel


def score(
    model: Annotated[str, typer.Option(help="Reward model: folder, run folder or hub name.")],
    data: Annotated[str, typer.Option(help="Any data with responses; each is scored.")],
    output: Annotated[
        Path | None, typer.Option(help="JSONL to write, one line a response; left out: to the screen.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help='Of attributes, what the reward is: "helpfulness=0.65,verbosity=-0.4".'),
    ] = None,
    centre: Annotated[
        bool,
        typer.Option(
            help="First make the mean reward of this data's demonstrations 0, by a bias that is kept in the model's folder."
        ),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first examples.", min=1)] = None,
    max_tokens: Annotated[int, typer.Option(help="Distinct tokens in one forward pass.", min=1)] = 4096,
    dtype: Annotated[str, typer.Option(help="fp32, or bf16.")] = "fp32",
    device: m.Device = None,
) -> None:
    """Score every response of a file: {"conversation", "example", "response", "reward"}, and its attributes if the model knows
    any.

    halign score --model runs/rm --data pairs.jsonl --output scores.jsonl
    """
    import json

    import torch

    from halign.conditioning.responses import responses
    from halign.readers import read, write_rows
    from halign.readers.write import see_writable
    from halign.rewards.loading import load_reward

    if output is not None:
        see_writable(output)
    reward = load_reward(
        model, weights=_weights(weights), device=device or ("cuda" if torch.cuda.is_available() else None)
    )
    examples = read(data)[:limit]
    if centre:
        reward = _centred(reward, examples, max_tokens=max_tokens, dtype=dtype)
    found = [(number, e, r) for number, e in enumerate(examples) for r in responses(e)]
    asked = [(r.prompt, r.message) for _, _, r in found]
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring", total=len(asked))
        values = reward.score(
            asked,
            max_tokens=max_tokens,
            dtype=dtype,
            progress=lambda done, total: bar.update(task, completed=done),
        )
    rewards = values if values.dim() == 1 else values @ reward.attribute_weights

    def rows() -> Iterator[dict[str, Any]]:
        for (number, example, response), value, one in zip(found, values, rewards, strict=True):
            row: dict[str, Any] = {
                "conversation": example.conversation,
                "example": number,
                "response": response.message.content,
                "reward": float(one),
            }
            if value.dim():
                row["attributes"] = dict(zip(reward.facts.attributes, value.tolist(), strict=True))
            yield row

    if output is None:
        for row in rows():
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        typer.echo(f"{write_rows(rows(), output)} responses scored: {output}")


def _centred(reward: RewardModel, examples: Sequence[Example], **options: Any) -> RewardModel:
    """The model with its new bias, which its folder holds from now on.

    Raises:
        HalignError: if the model has no folder here, or as ``centred_on``.
    """
    from halign.errors import HalignError
    from halign.rewards.centring import centred_on

    if not Path(reward.path).is_dir():
        raise HalignError(
            f"--centre: {reward.path} is no folder, and the bias is kept in it; save the model to one first"
        )
    centred = centred_on(reward, examples, **options)
    centred.facts.save(reward.path)
    typer.echo(f"bias {centred.facts.bias:+.4f}, kept in {reward.path}", err=True)
    return centred


def _weights(text: str | None) -> dict[str, float] | None:
    """``name=number,name=number``.

    >>> _weights("helpfulness=0.65,verbosity=-0.4")
    {'helpfulness': 0.65, 'verbosity': -0.4}

    Raises:
        HalignError: if it is not of this form.
    """
    from halign.errors import HalignError

    if text is None:
        return None
    found = {}
    for word in text.split(","):
        name, _, number = word.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise HalignError(f"--weights: {word!r} is not of the form name=number") from None
    return found
