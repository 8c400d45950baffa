"""Reward models on what people said, and in the care world: `python -m benchmarks.reward_models --output runs/rewards`.

    hh_harmless           pairs of replies                     reward, pairwise
    qa_feedback_rankings  four answers to a question, ranked   reward (all six comparisons at once), plackett_luce
    taskmaster_ratings    one reply, fit to be said or not     attributes (categorical: P(fit))
    care                  eight samples for a prompt, ranked by their true rewards   reward

No model hub is needed. The first three start from a Llama of about 7M parameters that has read conversations (STAR) and is made
here, the last from the care world's base model after imitating 100 conversations. The learning rate of each is the one of least
loss on held-out training conversations (15 %); with it the model learns all of them. Every run is an ordinary run folder; a
second call goes on where the first one stopped.

Measured on the whole held-out files, as a run's report card has it (``halign.rewards.card``): accuracy with its 95 % interval
(clustered by conversation), expected calibration error, accuracy where lengths are alike, and that of 'pick the longer one'.
Ratings are compared across prompts (``reward_data.across_prompts``); what share of them is classified rightly is told beside it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import halign as hl
from benchmarks.reward_data import across_prompts, care_rankings, care_start, odds, with_label_as_attribute
from benchmarks.stages import SHARED, fresh_model, learn_conversations, part
from halign.evaluate.intervals import share
from halign.examples import Example, Rating
from halign.prepare import split_conversations
from halign.rewards.card import CARD, figures, report_card
from halign.run_folder import RunFolder

HELD = 0.15
"""Share of the training conversations on which learning rates are chosen."""
CARE_CONVERSATIONS = 800
"""Training conversations whose turns are answered in the care world, at scale 1."""


@dataclass(frozen=True)
class Trial:
    """One objective on one data set.

    Attributes:
        rates: learning rates to choose from; one alone is taken as it is.
        settings: of the objective and of training.
    """

    data: str
    objective: str
    rates: tuple[float, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its folders."""
        return f"{self.objective}-{self.data}"


TRIALS = (
    Trial("hh_harmless", "reward", (1e-4, 3e-4, 1e-3)),
    Trial("hh_harmless", "pairwise", (1e-4, 3e-4, 1e-3)),
    Trial("qa_feedback_rankings", "reward", (1e-4, 3e-4, 1e-3)),
    Trial("qa_feedback_rankings", "plackett_luce", (1e-4, 3e-4, 1e-3)),
    Trial("taskmaster_ratings", "attributes", (1e-4, 3e-4, 1e-3), {"head": "categorical", "levels": 2}),
    Trial("care", "reward", (3e-3,), {"optimizer": "muon", "embedding_learning_rate": 1e-3, "epochs": 2}),
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reward_models", description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with care/ and preferences/")
    parser.add_argument("--output", type=Path, default=Path("runs/rewards"))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training data")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--only", action="append", help="data sets, by name; left out: all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    trials = [t for t in TRIALS if not given.only or t.data in given.only]
    if not trials:
        parser.error(f"--only: there is {', '.join(dict.fromkeys(t.data for t in TRIALS))}")
    if not given.data.is_dir() and any(t.data != "care" for t in trials):
        parser.error(f"{given.data} is not there: name the folder with --data, or say --only care")
    rows = []
    for trial in trials:
        rows.append(Bench(given.data, given.output, given.scale, given.dtype).row(trial))
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)


class Bench:
    """The stages, each in its folder."""

    def __init__(self, data: Path, output: Path, scale: float, dtype: str) -> None:
        self.data, self.output, self.scale, self.dtype = data, output, scale, dtype

    def row(self, trial: Trial) -> dict[str, Any]:
        """The figures of a trial, and how they came about."""
        start, train, test = self.care() if trial.data == "care" else self.people(trial.data)
        tried = self.rates(trial, start, train)
        rate = min(tried, key=lambda r: tried[r]) if tried else trial.rates[0]
        run = self.fit(trial, rate, start, train, test, trial.name)
        return {
            "data": trial.data,
            "objective": trial.objective,
            "examples": len(train),
            "start": str(start),
            "learning_rate": rate,
            "tried": {f"{r:g}": loss for r, loss in tried.items()},
            "steps": max(r["step"] for r in run.metrics),
            "seconds": json.loads((run.path / "done").read_text())["seconds"],
            "sharing": _mean(r["sharing"] for r in run.metrics if r["split"] == "train"),
            **self.measured(run, test),
        }

    def people(self, name: str) -> tuple[Path, list[Example], list[Example]]:
        """(the model to start from, training data, held-out data) of what people said."""
        sets = ("hh_harmless", "qa_feedback_rankings", "taskmaster_ratings")
        talks = self.read("care/star_train")
        seen = [e for other in sets for e in self.read(f"preferences/{other}_train")]
        run = learn_conversations(
            fresh_model(self.output / "fresh", [*talks, *seen]),
            talks,
            self.read("care/star_test"),
            self.output / "start",
            dtype=self.dtype,
            quiet=True,
        )
        train = [with_label_as_attribute(e) for e in self.read(f"preferences/{name}_train")]
        test = [with_label_as_attribute(e) for e in part(self.data / f"preferences/{name}_test.jsonl.gz")]
        return RunFolder(run.path).model_path, train, test

    def read(self, name: str) -> list[Example]:
        """A share of a training file."""
        return part(self.data / f"{name}.jsonl.gz", self.scale)

    def care(self) -> tuple[Path, list[Example], list[Example]]:
        """The same of the care world, where rewards are known."""
        start = care_start(self.output / "care-start")
        count = max(20, round(CARE_CONVERSATIONS * self.scale))
        file = self.output / f"care-train-{count}.jsonl"
        train = care_rankings(start, file, split="train", skip=100, conversations=count, samples=8)
        file = self.output / "care-validation.jsonl"
        return (
            start,
            train,
            care_rankings(start, file, split="validation", skip=0, conversations=80, samples=8),
        )

    def rates(self, trial: Trial, start: Path, train: list[Example]) -> dict[float, float]:
        """Learning rate -> loss on the training conversations that were held out; empty if there is nothing to choose."""
        if len(trial.rates) == 1:
            return {}
        kept, held = split_conversations(train, HELD, 0)
        runs = {
            rate: self.fit(trial, rate, start, kept, held, f"{trial.name}-{rate:g}") for rate in trial.rates
        }
        return {rate: float(run.last["loss"]) for rate, run in runs.items()}

    def fit(
        self, trial: Trial, rate: float, start: Path, train: list[Example], held: list[Example], name: str
    ) -> hl.Run:
        """One run folder."""
        return hl.train(
            start,
            train,
            trial.objective,
            output=self.output / name,
            evaluation=held,
            quiet=True,
            record={"data": trial.data},
            **{
                "learning_rate": rate,
                "batch_items": 16,
                "dtype": self.dtype,
                "tensorboard": False,
                "accept": ["control_tokens", "same_responses"],
                **({"pairs": "all"} if trial.objective == "pairwise" and trial.data != "hh_harmless" else {}),
                **trial.settings,
            },
        )

    def measured(self, run: hl.Run, test: list[Example]) -> dict[str, Any]:
        """The report card's figures."""
        file = run.path / CARD
        if file.exists():
            return figures(json.loads(file.read_text()))
        ratings = [e for e in test if isinstance(e, Rating)]
        model = hl.load_reward(RunFolder(run.path).model_path)
        scores = odds(model, ratings, dtype=self.dtype)
        right = [(s > 0) == r.desirable for s, r in zip(scores, ratings, strict=True)]
        good = _mean(r.desirable for r in ratings)
        return {
            **figures(report_card(across_prompts(model, ratings, scores))),
            "classified": share(right, [r.conversation for r in ratings]).to_dict(),
            "majority": max(good, 1 - good),
        }


def _mean(values: Any) -> float:
    kept = list(values)
    return sum(kept) / len(kept)


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table(
        "data",
        "objective",
        "examples",
        "rate",
        "steps",
        "s",
        "accuracy [95 %]",
        "lengths alike",
        "longer",
        "calibration error",
        title="Held out",
    )
    for r in rows:
        interval = f"{r['accuracy']:.3f} [{r['accuracy_low']:.3f}, {r['accuracy_high']:.3f}]"
        alike = f"{r['matched_accuracy']:.3f}" if "matched_accuracy" in r else "-"
        more = (
            f"; {r['classified']['value']:.3f} classified (majority {r['majority']:.3f})"
            if "classified" in r
            else ""
        )
        table.add_row(
            r["data"],
            r["objective"],
            str(r["examples"]),
            f"{r['learning_rate']:g}",
            str(r["steps"]),
            f"{r['seconds']:.0f}",
            interval + more,
            alike,
            f"{r['longer_accuracy']:.3f}",
            f"{r['calibration_error']:.3f}",
        )
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
