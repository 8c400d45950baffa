"""Tasks of lm-evaluation-harness from files on this machine, where its own read them from the hub.

    local_truthfulqa_mc1, local_truthfulqa_mc2   TruthfulQA.csv, as lm_eval's tasks of that name: answers without a full stop
    local_bbh_choices                            BIG-Bench Hard's tasks with options, three solved examples first
    local_gsm8k                                  grade-school mathematics, five solved examples, exact match of the number

The files lie in a folder as ``eval/truthfulqa.csv.gz``, ``eval/bbh_small.jsonl.gz``, ``eval/gsm8k_test.jsonl.gz`` and
``eval/gsm8k_train_2000.jsonl.gz``. Any other task of yours is a YAML file (``--include-path``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from halign.errors import HalignError
from halign.harness import bbh, truthfulqa
from halign.readers.files import rows_of

Config = dict[str, Any]
Rows = Sequence[dict[str, Any]]

MEAN = {"aggregation": "mean", "higher_is_better": True}
NUMBER = {
    "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"],
    "ignore_case": True,
    "ignore_punctuation": False,
}


def local_task(name: str, folder: str | Path) -> Config:
    """A task's configuration for lm_eval, its rows read when it is run.

    Raises:
        HalignError: there is no such task, or its files are not in the folder.
    """
    if name not in TASKS:
        raise HalignError(f"there is no task {name}; from files there are {', '.join(TASKS)}")
    config, files = TASKS[name]
    missing = [file for file in files if not (Path(folder) / file).exists()]
    if missing:
        raise HalignError(
            f"{name} reads {', '.join(missing)}, which {folder} does not hold; name another folder (--data)"
        )
    return {"task": name, **config(Path(folder))}


def _truthfulqa(folder: Path, which: str) -> Config:
    def row(q: truthfulqa.Truth) -> dict[str, Any]:
        best, others = q.true[q.best], (*q.true, *q.false)
        choices = [best, *q.false] if which == "mc1" else list(others)
        return {"context": q.context, "choices": choices, "true": len(q.true)}

    def rows() -> dict[str, Rows]:
        return {"test": [row(q) for q in truthfulqa.read(folder / "eval/truthfulqa.csv.gz", period=False)]}

    config = {
        **_choices(rows),
        "num_fewshot": 0,
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc", **MEAN}],
    }
    return config if which == "mc1" else {**config, "process_results": _true_mass}


def _true_mass(doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """MC2: the true answers come first."""
    logps = np.array([logp for logp, _ in results])
    mass = np.exp(logps - logps.max())
    return {"acc": float(mass[: doc["true"]].sum() / mass.sum())}


def _bbh(folder: Path) -> Config:
    def rows() -> dict[str, Rows]:
        questions = bbh.read(folder / "eval/bbh_small.jsonl.gz")
        return {
            "test": [
                {"context": q.context, "choices": list(q.choices), "correct": min(q.correct)}
                for q in questions
            ]
        }

    measures = [{"metric": metric, **MEAN} for metric in ("acc", "acc_norm")]
    return {**_choices(rows), "num_fewshot": 0, "doc_to_target": "{{correct}}", "metric_list": measures}


def _choices(rows: Callable[[], dict[str, Rows]]) -> Config:
    return {
        "custom_dataset": _dataset(rows),
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
    }


def _gsm8k(folder: Path) -> Config:
    """The settings of lm_eval's own ``gsm8k``, version 3."""

    def rows() -> dict[str, Rows]:
        files = {"train": "gsm8k_train_2000", "test": "gsm8k_test"}
        return {
            k: [row for _, row in rows_of(str(folder / f"eval/{v}.jsonl.gz")).rows] for k, v in files.items()
        }

    taken = {"function": "take_first"}
    loose = {"regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1}
    return {
        "custom_dataset": _dataset(rows),
        "output_type": "generate_until",
        "fewshot_split": "train",
        "training_split": "train",
        "test_split": "test",
        "num_fewshot": 5,
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "exact_match", **MEAN, **NUMBER}],
        "generation_kwargs": {
            "until": ["Question:", "</s>", "<|im_end|>"],
            "do_sample": False,
            "temperature": 0.0,
        },
        "filter_list": [
            {
                "name": "strict-match",
                "filter": [{"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"}, taken],
            },
            {"name": "flexible-extract", "filter": [{"function": "regex", **loose}, taken]},
        ],
    }


def _dataset(rows: Callable[[], dict[str, Rows]]) -> Callable[..., dict[str, Any]]:
    def made(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(list(found)) for split, found in rows().items()}

    return made


TASKS: dict[str, tuple[Callable[[Path], Config], tuple[str, ...]]] = {
    "local_truthfulqa_mc1": (lambda folder: _truthfulqa(folder, "mc1"), ("eval/truthfulqa.csv.gz",)),
    "local_truthfulqa_mc2": (lambda folder: _truthfulqa(folder, "mc2"), ("eval/truthfulqa.csv.gz",)),
    "local_bbh_choices": (_bbh, ("eval/bbh_small.jsonl.gz",)),
    "local_gsm8k": (_gsm8k, ("eval/gsm8k_test.jsonl.gz", "eval/gsm8k_train_2000.jsonl.gz")),
}
