"""``halign audit``: whether a judge can be trusted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from halign.cli import outputs as o
from halign.cli.samplers import refuse


def audit(
    judged: Annotated[Path | None, typer.Argument(metavar="[JUDGED]", help="A folder of verdicts.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help='What people say, JSONL: {"item", "a", "b", "preferred"}; preferred is a, b or "tie".'
        ),
    ] = None,
    again: Annotated[
        Path | None, typer.Option(help="A second folder of the same judge's verdicts on the same pairs.")
    ] = None,
    own: Annotated[
        list[str] | None, typer.Option(help="A model of the judge's own family; may be repeated.")
    ] = None,
    set: Annotated[
        str | None,
        typer.Option(help="Ask a judge about a set that people labelled: llmbar, xstest, qa_feedback."),
    ] = None,
    judge: Annotated[str | None, typer.Option(help=f"With --set: {o.JUDGE_HELP}")] = None,
    rubric: o.Rubrics = None,
    explain: o.Explain = False,
    samples: o.Draws = None,
    key_env: o.KeyEnv = None,
    concurrency: o.Concurrency = None,
    input_price: o.InputPrice = None,
    output_price: o.OutputPrice = None,
    budget: o.Budget = None,
    folder: Annotated[
        Path | None, typer.Option(help="With --set: the data folder. Default: $HALIGN_DATA.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="With --set: only the first pairs.", min=2)] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the numbers as JSON.")] = None,
) -> None:
    """Audit judges: position, length and self-enhancement bias, test-retest, agreement with people beside that of rules.

    halign audit judged --labels labels.jsonl
    """
    import json

    from halign.audits import ask, labelled_set, read_labels
    from halign.audits import audit as make
    from halign.errors import HalignError
    from halign.judges.records import Judged

    remote = o.remote(key_env, concurrency, input_price, output_price, budget)
    if (judged is None) == (set is None):
        raise HalignError("audit: give a folder of verdicts, or --set with --judge")
    if set is None:
        asking = {
            "judge": judge,
            "folder": folder,
            "limit": limit,
            "rubric": rubric,
            "samples": samples,
            **remote,
        }
        refuse({**asking, "explain": explain}, "without --set")
        read = Judged.read(judged)  # type: ignore[arg-type]
        records, items = read.pairs, read.items
        known = read_labels(labels) if labels else []
    else:
        if labels is not None or judge is None:
            raise HalignError("--set brings its own labels and needs --judge; leave --labels out")
        pairs = labelled_set(set, folder or os.environ.get("HALIGN_DATA", "data"))[:limit]
        records = ask(o.judge_of(judge, rubric, explain, samples, remote), pairs)
        items, known = {item.item: item for item, _ in pairs}, [label for _, label in pairs]
    if not records:
        raise HalignError("audit: there are no verdicts on pairs here; judge pairs of models")
    repeated = Judged.read(again).pairs if again else []
    found = make(records, items, labels=known, family=own or (), again=repeated)
    typer.echo("\n\n".join(a.table() for a in found))
    if output is not None:
        output.write_text(json.dumps([a.to_dict() for a in found], indent=2, ensure_ascii=False) + "\n")
