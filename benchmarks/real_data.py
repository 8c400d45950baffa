"""Training on real conversations and preferences, as a user would: `python -m benchmarks.real_data --output runs/real`.

No model hub is needed: a Llama of about 7M parameters and its 8k tokenizer are made from the data. First it learns the
conversations themselves (STAR, SGD: ``sft`` on whole dialogues), then the preferences of people (STAR: which suggestion the
agent took; HH harmless). Every stage is an ordinary run folder; a second call goes on where the first one stopped.

Measured on held-out files: loss before and after, and how often the preferred response gains more log-probability than the
other, with a 95 % interval clustered by conversation, against chance and against 'pick the longer one'.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import halign as hl
from benchmarks.stages import SHARED, fresh_model, learn_conversations, part
from halign.convert import as_kind
from halign.evaluate.intervals import Interval, share
from halign.examples import Example, Preference
from halign.likelihood import make_renderer, path_logps
from halign.run_folder import RunFolder


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_data", description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with care/ and preferences/")
    parser.add_argument("--output", type=Path, default=Path("runs/real"))
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the training data and of the held-out data"
    )
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    if not given.data.is_dir():
        parser.error(f"{given.data} is not there: name the folder with --data")
    figures = Trial(given.data, given.output, given.scale, given.dtype).run()
    show(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1, default=lambda x: x.to_dict()) + "\n")


class Trial:
    """The stages, each in its folder."""

    def __init__(self, data: Path, output: Path, scale: float, dtype: str) -> None:
        self.data, self.output, self.scale, self.dtype = data, output, scale, dtype

    def run(self) -> list[dict[str, Any]]:
        """All stages; one row of figures each."""
        fresh = fresh_model(
            self.output / "fresh", [*self._read("care/star_train"), *self._read("care/sgd_train", 0.3)]
        )
        rows = [self._conversations("star", fresh, 1.0), self._conversations("sgd", fresh, 0.4)]
        talks = self.output / "sft-star" / "model"
        preferences: dict[str, dict[str, Any]] = {
            "sft": {"learning_rate": 1e-4},
            "dpo": {"learning_rate": 5e-5, "beta": 0.1, "pairs": "best_rest"},
            "ipo": {"learning_rate": 5e-5, "beta": 0.1, "pairs": "best_rest"},
            "kto": {"learning_rate": 5e-5, "beta": 0.1, "pairs": "best_rest", "balance": True},
        }
        for objective, settings in preferences.items():
            rows.append(self._preferences("star_choices", objective, talks, settings, 0.5))
        rows.append(
            self._preferences(
                "hh_harmless", "dpo", self.output / "sft-sgd" / "model", {"learning_rate": 5e-5}, 1.0
            )
        )
        return rows

    def _read(self, name: str, share_of: float = 1.0) -> list[Example]:
        return part(self.data / f"{name}.jsonl.gz", share_of * self.scale)

    def _conversations(self, name: str, start: Path, share_of: float) -> dict[str, Any]:
        run = learn_conversations(
            start,
            self._read(f"care/{name}_train", share_of),
            self._read(f"care/{name}_test", 0.3),
            self.output / f"sft-{name}",
            dtype=self.dtype,
            record={"data": f"care/{name}_train"},
        )
        return {"data": f"care/{name}", "objective": "sft", **before_and_after(run)}

    def _preferences(
        self, name: str, objective: str, start: Path, settings: dict[str, Any], share_of: float
    ) -> dict[str, Any]:
        held_out = self._read(f"preferences/{name}_test")
        output = self.output / f"{objective}-{name}"
        run = hl.train(
            start,
            self._read(f"preferences/{name}_train", share_of),
            objective,
            output=output,
            evaluation=held_out,
            batch_items=32,
            dtype=self.dtype,
            accept=["control_tokens", "same_responses"],
            record={"data": f"preferences/{name}_train"},
            **settings,
        )
        pairs = list(as_kind(held_out, "pairs", how=None if name.startswith("hh") else "best_rest").examples)
        accuracy = preference_accuracy(start, RunFolder(output).model_path, pairs, self.dtype)
        return {"data": f"preferences/{name}", "objective": objective, **before_and_after(run), **accuracy}


def before_and_after(run: Any) -> dict[str, Any]:
    """Held-out loss at the first and the last evaluation."""
    rows = [r for r in run.metrics if r["split"] == "eval"]
    steps = [r for r in run.metrics if r["split"] == "train"]
    return {
        "loss_before": rows[0]["loss"],
        "loss_after": rows[-1]["loss"],
        "steps": len(steps),
        "sharing": sum(r["sharing"] for r in steps) / len(steps),
    }


def preference_accuracy(start: Path, trained: Path, pairs: list[Any], dtype: str) -> dict[str, Interval]:
    """Shares of held-out pairs, ties counted as wrong by half: the chosen gained more than the rejected; its log-probability per
    token is higher, before and after; and it is the longer one (in tokens)."""
    kept = [p for p in pairs if isinstance(p, Preference)]
    clusters = [p.conversation for p in kept]
    scored = {}
    for name, folder in (("before", start), ("after", trained)):
        policy = hl.load(folder)
        renderer = make_renderer(policy)
        paths = [renderer.path(p.prompt, m) for p in kept for m in (p.chosen, p.rejected)]
        found = path_logps(policy, [p for p in paths if p is not None], dtype=dtype)
        scored[name] = torch.tensor([[float(t.sum()), len(t)] for t in found]).reshape(-1, 2, 2)
    gained = scored["after"][..., 0] - scored["before"][..., 0]
    lengths = scored["after"][..., 1]
    means = {name: s[..., 0] / s[..., 1] for name, s in scored.items()}

    def first(values: torch.Tensor) -> Interval:
        return share([bool(a > b) for a, b in values.tolist()], clusters)

    return {
        "accuracy": first(gained),
        "likelier_before": first(means["before"]),
        "likelier_after": first(means["after"]),
        "longer": first(lengths),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    columns = (
        "data",
        "objective",
        "steps",
        "sharing",
        "held-out loss",
        "accuracy [95 %]",
        "likelier per token",
        "longer",
    )
    table = Table(*columns, title="Held-out figures")
    for r in rows:
        likelier = f"{r['likelier_before'].value:.2f} -> {r['likelier_after']}" if "accuracy" in r else "-"
        table.add_row(
            r["data"],
            r["objective"],
            str(r["steps"]),
            f"{r['sharing']:.1f}x",
            f"{r['loss_before']:.3f} -> {r['loss_after']:.3f}",
            str(r.get("accuracy", "-")),
            likelier,
            str(r.get("longer", "-")),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
