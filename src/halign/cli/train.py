"""``halign train METHOD``: train a model with an objective."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from halign.errors import HalignError
from halign.setting_words import parse_overrides, read_yaml

RECORDED = (
    *("model", "data", "output", "eval_data", "guardrails", "weights", "quantize", "skip_bad"),
    *("format", "columns"),
)
"""Options that a run's config.yaml holds beside its settings."""


def show_help(context: typer.Context, asked: bool) -> None:
    """The usual help, then every setting with its type, default and meaning."""
    if not asked:
        return
    from halign.catalogue import shown, type_name
    from halign.objectives.registry import find, names
    from halign.train_settings import TrainSettings

    console = Console()
    console.print(context.get_help())
    settings = Table(
        "setting", "type", "default", "meaning", title="Settings, as key=value", title_justify="left"
    )
    for name, field in TrainSettings.model_fields.items():
        settings.add_row(
            name,
            type_name(field.annotation),
            shown(field.get_default(call_default_factory=True)),
            field.description,
        )
    console.print(settings)
    methods = Table(
        "METHOD", "one item", "settings and defaults", "what it is", title="Objectives", title_justify="left"
    )
    for name in names():
        objective = find(name)
        own = ", ".join(f"{k}={shown(default)}" for k, (_, default) in objective.settings.items())
        methods.add_row(name, objective.kind, own, objective.summary)
    console.print(methods)
    console.print(
        "Mixtures: dpo+0.2*sft. Your own: package.module:function. In a mixture write dpo.beta=0.1."
    )
    raise typer.Exit


def train(
    method: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="Objective, or a mixture such as dpo+0.2*sft.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, see below.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name of a causal language model, or of a reward model to go on with."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="JSONL, JSON, CSV, parquet, a folder, or hub:owner/name@split.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The run's folder; an unfinished run in it is resumed.")
    ] = None,
    eval_data: Annotated[
        str | None, typer.Option(help="Held-out data; or hold out with eval_share=.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML with these options and settings; the line overrides it.")
    ] = None,
    guardrails: Annotated[
        str | None, typer.Option(help="Column with the rules, if not called guardrails.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Form of the rows, where it cannot be found: see halign data check.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Which column is what, if not called so: prompt=question,chosen=best.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Precision the weights are loaded in: fp32 (default) or bf16.")
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(help="Keep the base in 4bit or 8bit and train adapters on it (CUDA, bitsandbytes)."),
    ] = None,
    skip_bad: Annotated[bool, typer.Option(help="Leave bad rows out, and count them.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Start anew even if there is a run in the folder.")] = False,
    quiet: Annotated[bool, typer.Option(help="Show errors only.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option(help="Run Python code that comes with the model.")
    ] = False,
    help_: Annotated[
        bool, typer.Option("--help", is_eager=True, callback=show_help, help="Show this and every setting.")
    ] = False,
) -> None:
    """Train a model. The same command on an unfinished output goes on where it stopped; on a finished one it does nothing.

    halign train ipo --model Qwen/Qwen3-0.6B --data pairs.jsonl --output runs/ipo beta=0.1 learning_rate=2e-6
    """
    from halign.config import resolve
    from halign.objectives.registry import names
    from halign.readers import read
    from halign.readers.columns import parse_columns
    from halign.rewards.loading import load_any
    from halign.run_folder import RunFolder
    from halign.training import train as run_training

    given = read_yaml(config) if config else {}
    named = {k: given.pop(k, None) for k in RECORDED}
    words = list(settings or [])
    if method and "=" in method:  # METHOD was left to the config
        words, method = [method, *words], None
    objective = method or given.pop("objective", None)
    if objective is None:
        raise HalignError(f"say METHOD: {', '.join(names())}, or name an objective in --config")
    for recorded in ("model_fingerprint", "data_fingerprint", "objective"):
        given.pop(recorded, None)
    model, data = model or named["model"], data or named["data"]
    output = output or (Path(named["output"]) if named["output"] else None)
    eval_data, guardrails = eval_data or named["eval_data"], guardrails or named["guardrails"]
    weights, skip_bad = weights or named["weights"] or "fp32", skip_bad or bool(named["skip_bad"])
    quantize = quantize or named["quantize"]
    mapping = columns or named["columns"]
    reading: dict[str, Any] = {
        "guardrails": guardrails,
        "skip_bad": skip_bad,
        "format": format or named["format"],
        "columns": parse_columns(mapping) if isinstance(mapping, str) else mapping,
    }
    missing = [n for n, v in (("--model", model), ("--data", data), ("--output", output)) if v is None]
    if missing or model is None or data is None or output is None:
        raise HalignError(
            f"{' and '.join(missing)} missing: say where from and where to, or name them in --config"
        )
    merged = _merge(given, parse_overrides(words))
    resolve(objective, merged)  # mistakes in settings come before minutes of loading
    if RunFolder(output).done and not overwrite:
        typer.echo(f"{output} is finished: nothing to do (--overwrite starts anew)")
        return
    policy = load_any(model, dtype=weights, quantize=quantize, trust_remote_code=trust_remote_code)
    examples = read(data, **reading)
    _say_skipped(examples)
    evaluation = read(eval_data, **reading) if eval_data else None
    run = run_training(
        policy,
        examples,
        objective,
        output=output,
        evaluation=evaluation,
        overwrite=overwrite,
        quiet=quiet,
        record={
            "data": data,
            **({"eval_data": eval_data} if eval_data else {}),
            **({"weights": weights} if weights != "fp32" else {}),
            **{k: v for k, v in reading.items() if v},
        },
        **merged,
    )
    if not quiet:
        _summary(run.metrics, output)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _say_skipped(data: Any) -> None:
    if data.skipped:
        typer.echo(f"{len(data.skipped)} bad rows skipped:", err=True)
        for error in data.skipped[:10]:
            typer.echo(f"  {error}", err=True)


def _summary(metrics: list[dict[str, Any]], output: Path) -> None:
    """What changed between the first and the last evaluation (or step)."""
    evaluations = [r for r in metrics if r["split"] == "eval"] or metrics
    first, last = evaluations[0], evaluations[-1]
    table = Table(
        "measure", "before", "after", title=f"{'held-out' if first['split'] == 'eval' else 'training'} items"
    )
    for name in (
        "loss",
        "nll",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "matched_accuracy",
        "longer_accuracy",
        "calibration_error",
        "mean_absolute_error",
        "margin",
        "chosen_logratio",
        "rejected_logratio",
        "desirable_logratio",
    ):
        if name in first and name in last:
            table.add_row(name, f"{first[name]:.4f}", f"{last[name]:.4f}")
    console = Console()
    console.print(table)
    console.print(f"model: {output / 'model'}    report: halign report {output}", highlight=False)
