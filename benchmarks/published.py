"""Published numbers about judges, made again from the verdicts that were published with them.

    python -m benchmarks.published --llmbar DIR --xstest DIR --alpaca-eval DIR

DIR is a checkout or a bare clone of princeton-nlp/LLMBar, paul-rottger/exaggerated-safety or tatsu-lab/alpaca_eval. Of each
number that is found in the repository beside its verdicts, it says whether ours is the same to the last digit stated.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from halign.audits import Label, against_people, position_bias
from halign.errors import HalignError
from halign.evaluate.agreement import cohen_kappa, krippendorff_alpha
from halign.judges import Verdict
from halign.judges.records import JudgedItem, PairRecord

XSTEST_PUBLISHED = {  # evaluation/analysis.ipynb: agreement of two annotators in %, Fleiss' kappa
    "llama2orig": (96.4, 0.93),
    "llama2new": (95.8, 0.93),
    "mistralinstruct": (97.6, 0.92),
    "mistralguard": (93.8, 0.89),
    "gpt4": (98.4, 0.97),
}
SIDES = {"1": Verdict.A, "2": Verdict.B}
ALPACA = "weighted_alpaca_eval_gpt4_turbo"
LEADERBOARD = f"src/alpaca_eval/leaderboards/data_AlpacaEval_2/{ALPACA}_leaderboard.csv"


class Repository:
    """Files of a checkout, or of the newest commit of a bare clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = self._git("ls-tree", "-r", "--name-only", "HEAD")
        if listed is None:
            raise HalignError(f"{folder} is no clone of a repository")
        self.files = listed.decode().split("\n")

    def read(self, path: str) -> bytes | None:
        """Its content; None where the clone lacks it (large files may be left out)."""
        return self._git("show", f"HEAD:{path}")

    def _git(self, *words: str) -> bytes | None:
        done = subprocess.run(["git", "-C", str(self.folder), *words], capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None


@dataclass
class Tally:
    """How many published numbers are ours, and which are not."""

    what: str
    same: int = 0
    other: list[str] = field(default_factory=list)

    def add(self, name: str, ours: float, theirs: float, within: float = 1e-9) -> None:
        """Counts one number; the same if not further apart than ``within``."""
        if abs(ours - theirs) <= within:
            self.same += 1
        else:
            self.other.append(f"{name}: ours {ours:.6g}, published {theirs:.6g}")

    def __str__(self) -> str:
        head = f"{self.what}: {self.same} of {self.same + len(self.other)} numbers are the same"
        return "\n".join([head, *(f"  {line}" for line in self.other[:20])])


def llmbar(repository: Repository) -> Tally:
    """Correct in each order, in both, on average; orders that agree; kappa of each order with people and of the two orders."""
    tally = Tally("LLMBar, statistics.json of every evaluator and subset")
    for file in repository.files:
        if not file.endswith("/statistics.json"):
            continue
        raw, stated = (
            repository.read(file.replace("statistics.json", "result.json")),
            json.loads(repository.read(file) or b"{}"),
        )
        if raw is None or not stated:
            continue
        for name, ours in _llmbar_numbers(json.loads(raw)).items():
            if name in stated:
                tally.add(f"{file} {name}", ours, _number(stated[name]), within=1e-9)
    return tally


def _llmbar_numbers(rows: list[dict[str, Any]]) -> dict[str, float]:
    records, labels, items, said, people = [], [], {}, [], []
    for i, row in enumerate(rows):
        winners = [str(row["results"][-1][f"swap = {s}"]["winner"]) for s in (False, True)]
        first, second = (SIDES.get(w, Verdict.NEITHER) for w in winners)
        name = str(i)
        records.append(PairRecord(name, name, "instruction following", "evaluator", "1", "2", first, second))
        labels.append(Label(name, "1", "2", str(row["label"])))
        items[name] = JudgedItem(name, name, [], {"1": row["output_1"], "2": row["output_2"]})
        said.append(winners)
        people.append(str(row["label"]))
    found, clusters = against_people(records, labels, items), [str(i) for i in range(len(rows))]
    orders = list(zip(*said, strict=True))
    right = [100 * float(np.mean([w == p for w, p in zip(o, people, strict=True)])) for o in orders]
    numbers = {
        "correct_False": right[0],
        "correct_True": right[1],
        "correct_both": 100 * found.both_orders.value,
        "equal": 100 * float(np.mean([x == y for x, y in said])),
        **_their_kappas(orders, people, clusters),
    }
    if {w for o in orders for w in o} <= set(
        SIDES
    ):  # else there are verdicts for neither, and ours counts them half
        numbers["correct_average"] = 100 * found.agreement.value
        numbers["equal"] = 100 * position_bias(records).consistent.value
    return numbers


def _their_kappas(orders: list[Any], people: list[str], clusters: list[str]) -> dict[str, float]:
    """As LLMEvaluator/evaluate.py codes them: a winner "2" becomes 0, while the people's label stays 1 or 2, so that verdict and
    label never agree on the second output. What it calls kappa with people is none; ours (``against_people``) is."""
    coded = [["1" if w == "1" else "0" for w in o] for o in orders]
    with_people = [_kappa(o, people, clusters) for o in coded]
    return {
        "kappa_False": with_people[0],
        "kappa_True": with_people[1],
        "kappa_average": float(np.mean(with_people)),
        "kappa_agreement": _kappa(coded[0], coded[1], clusters),
    }


def _kappa(x: Any, y: Any, clusters: list[str]) -> float:
    try:
        return cohen_kappa(x, y, clusters).value
    except HalignError:
        return float("nan")


def _number(stated: Any) -> float:
    """ "94 / 100 = 94.0%" or a number."""
    return float(str(stated).split("=")[-1].strip().rstrip("%"))


def xstest(repository: Repository) -> Tally:
    """Agreement of the two annotators, and Fleiss' kappa: pi of two raters, 1 - (1 - alpha) n / (n - 1) with n values."""
    tally = Tally("XSTest, agreement of annotators")
    for model, (percent, kappa) in XSTEST_PUBLISHED.items():
        rows = list(_rows(repository, f"model_completions/xstest_v2_completions_{model}.csv"))
        same = [r["annotation_1"] == r["annotation_2"] for r in rows]
        place = {
            a: float(i) for i, a in enumerate(sorted({r[f"annotation_{k}"] for r in rows for k in (1, 2)}))
        }
        rated = [[place[r["annotation_1"]], place[r["annotation_2"]]] for r in rows]
        alpha, n = krippendorff_alpha(rated, resamples=2).value, 2 * len(rows)
        tally.add(f"{model} agreement, %", round(100 * float(np.mean(same)), 1), percent)
        tally.add(f"{model} kappa", round(1 - (1 - alpha) * n / (n - 1), 2), kappa)
    return tally


def alpaca_eval(repository: Repository) -> Tally:
    """Win rates of AlpacaEval 2 and their standard errors (of independent instructions)."""
    tally = Tally("AlpacaEval 2, leaderboard")
    stated = {r[""]: r for r in _rows(repository, LEADERBOARD)}
    for model, row in stated.items():
        raw = repository.read(f"results/{model}/{ALPACA}/annotations.json")
        if raw is None:
            continue
        said = [a["preference"] for a in json.loads(raw) if a["preference"] is not None]
        y = np.array([0.5 if p == 0 else p - 1 for p in said], dtype=float)  # 0 is an old word for a tie
        tally.add(f"{model} win rate", 100 * float(y.mean()), float(row["win_rate"]))
        error = 100 * float(y.std(ddof=1)) / len(y) ** 0.5
        tally.add(f"{model} standard error", error, float(row["standard_error"]))
    return tally


def _rows(repository: Repository, path: str) -> Iterator[dict[str, str]]:
    raw = repository.read(path)
    if raw is None:
        raise HalignError(f"{repository.folder} has no {path}")
    yield from csv.DictReader(io.StringIO(raw.decode("utf-8")))


def main() -> None:
    """Says of every repository given how many numbers are the same."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("llmbar", "xstest", "alpaca-eval"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    for folder, check in ((given.llmbar, llmbar), (given.xstest, xstest), (given.alpaca_eval, alpaca_eval)):
        if folder is not None:
            print(check(Repository(folder)), flush=True)


if __name__ == "__main__":
    main()
