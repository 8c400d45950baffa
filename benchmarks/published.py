"""Published numbers about judges, made again from the verdicts that were published with them.

    python -m benchmarks.published --llmbar DIR --xstest DIR --alpaca-eval DIR --star DIR --taskmaster DIR

DIR is a checkout or a bare clone of princeton-nlp/LLMBar, paul-rottger/exaggerated-safety, tatsu-lab/alpaca_eval, RasaHQ/STAR or
google-research-datasets/Taskmaster. Of each number that was published on the judgments there, it says whether ours is the same
to the last digit stated. On what people said in STAR and Taskmaster only counts were; what they said is shown without a peer.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from halign.audits import Label, against_people, position_bias
from halign.errors import HalignError
from halign.evaluate.agreement import cohen_kappa, krippendorff_alpha
from halign.evaluate.intervals import share
from halign.judges import Verdict
from halign.judges.records import JudgedItem, PairRecord

XSTEST_PUBLISHED = {  # evaluation/analysis.ipynb: agreement of two annotators in %, Fleiss' kappa
    "llama2orig": (96.4, 0.93),
    "llama2new": (95.8, 0.93),
    "mistralinstruct": (97.6, 0.92),
    "mistralguard": (93.8, 0.89),
    "gpt4": (98.4, 0.97),
}
STAR_PUBLISHED = {
    "dialogs": 5820,
    "utterances and queries": 127833,
    "domains": 13,
}  # arXiv 2010.11853, abstract
CALM = "stay calm and helpful throughout the dialogue?"
"""How the one question ends that nearly all of STAR's users were asked."""
TASKMASTER_PUBLISHED = {"TM-4-2024/data/": 6500, "TM-4-2024/reward/": 3000}  # TM-4-2024/README.md
REWARDS = ("TM-3-2020/reward/", "TM-4-2024/reward/")
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

    def read_all(self, paths: Sequence[str]) -> Iterator[bytes]:
        """The content of each, in order, by one process.

        Raises:
            HalignError: the clone lacks one.
        """
        asked = "".join(f"HEAD:{p}\n" for p in paths).encode()
        done = subprocess.run(
            ["git", "-C", str(self.folder), "cat-file", "--batch"],
            input=asked,
            capture_output=True,
            check=True,
        )
        said, at = done.stdout, 0
        for path in paths:
            end = said.index(b"\n", at)
            head = said[at:end].split()
            if head[-1] == b"missing":
                raise HalignError(f"{self.folder} has no {path}")
            at = end + 1 + int(head[-1])
            yield said[end + 1 : at]
            at += 1  # a line feed ends every object

    def _git(self, *words: str) -> bytes | None:
        done = subprocess.run(["git", "-C", str(self.folder), *words], capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None


@dataclass
class Tally:
    """How many published numbers are ours, and which are not."""

    what: str
    same: int = 0
    other: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, ours: float, theirs: float, within: float = 1e-9) -> None:
        """Counts one number; the same if not further apart than ``within``."""
        if abs(ours - theirs) <= within:
            self.same += 1
        else:
            self.other.append(f"{name}: ours {ours:.6g}, published {theirs:.6g}")

    def __str__(self) -> str:
        head = f"{self.what}: {self.same} of {self.same + len(self.other)} numbers are the same"
        return "\n".join([head, *(f"  {line}" for line in [*self.other[:20], *self.notes])])


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
    """Win rates of AlpacaEval 2, their standard errors (of independent instructions), and win rates of verdicts."""
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
        verdicts = 100 * float(np.where(y == 0.5, 0.5, y > 0.5).mean())
        tally.add(f"{model} discrete win rate", verdicts, float(row["discrete_win_rate"]))
    return tally


def star(repository: Repository) -> Tally:
    """Sizes stated in the paper's abstract; what users answered, of which nothing is stated there or in the repository.

    A dialogue counts where it is complete; an utterance is the user's or the wizard's, typed or picked.
    """
    counts, domains, yes, workers = {"dialogs": 0, "utterances and queries": 0}, set(), [], []
    said = {("User", "utter"), ("Wizard", "utter"), ("Wizard", "pick_suggestion"), ("Wizard", "query")}
    files = [f for f in repository.files if f.startswith("dialogues/") and f.endswith(".json")]
    for raw in repository.read_all(files):
        dialogue = json.loads(raw)
        if dialogue["CompletionLevel"] != "Complete":
            continue
        counts["dialogs"] += 1
        counts["utterances and queries"] += sum(
            (e.get("Agent"), e.get("Action")) in said for e in dialogue["Events"]
        )
        domains |= set(dialogue["Scenario"].get("Domains") or ()) - {None}
        for row in dialogue.get("UserQuestionnaire") or ():
            if str(row["Question"]).endswith(CALM):
                yes.append(bool(row["Answer"]))
                workers.append(dialogue["AnonymizedUserWorkerID"])
    tally = Tally("STAR, sizes")
    for name, stated in STAR_PUBLISHED.items():
        tally.add(name, {**counts, "domains": len(domains)}[name], stated)
    tally.notes.append(
        f"no published number: the assistant stayed calm and helpful, say users: {_share(yes, workers)}"
    )
    return tally


def taskmaster(repository: Repository) -> Tally:
    """Sizes stated in a README; the share of turns that were rated good, of which nothing is stated."""
    tally = Tally("Taskmaster, sizes")
    for folder, stated in TASKMASTER_PUBLISHED.items():
        tally.add(folder, len(_listed(repository, folder)), stated)
    for folder in REWARDS:
        rows = _listed(repository, folder)
        good = _share([r["reward"] > 0 for r in rows], [r["conversation_id"] for r in rows])
        tally.notes.append(f"no published number: turns rated good in {folder}: {good}")
    return tally


def _listed(repository: Repository, folder: str) -> list[dict[str, Any]]:
    """The rows of all files of a folder."""
    files = [f for f in repository.files if f.startswith(folder) and f.endswith(".json")]
    return [row for raw in repository.read_all(files) for row in json.loads(raw)]


def _share(values: list[bool], clusters: list[str]) -> str:
    i = share(values, clusters)
    return f"{100 * i.value:.1f} % [{100 * i.low:.1f}, {100 * i.high:.1f}] of {i.n:,}"


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
    for name in ("llmbar", "xstest", "alpaca-eval", "star", "taskmaster"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    for folder, check in (
        (given.llmbar, llmbar),
        (given.xstest, xstest),
        (given.alpaca_eval, alpaca_eval),
        (given.star, star),
        (given.taskmaster, taskmaster),
    ):
        if folder is not None:
            print(check(Repository(folder)), flush=True)


if __name__ == "__main__":
    main()
