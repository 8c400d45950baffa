"""Multiple choice by log-likelihood against lm-evaluation-harness's own model class: `python -m benchmarks.harness`.

Both sides answer the same requests of lm_eval (``loglikelihood``: context and continuation, encoding included) on the same
weights, a Llama of 7 million parameters (or ``--model``), float32, one thread, in this process and in turns; medians of processor
time, so that others on the machine disturb little. Its ``hf`` class has its cache of logits on and the fastest of several batch
sizes, found first on a part of the requests. Needs lm_eval (``pip install "halign[eval]"``).

    truthfulqa  TruthfulQA's true and false answers after the published six questions and answers
    bbh         tasks of BIG-Bench Hard with options as letters, four questions of each, three solved examples first
    replies     the care world's conversations, each with four replies: long contexts, no examples
    letters     the questions of ``bbh`` without examples, the options as one token each: nothing is shared that the cache of
                ``hf`` does not share as well, so there is no floor

Without the data folder there is only ``replies``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import workloads

Pair = tuple[str, str]
Answers = list[tuple[float, bool]]

FLOOR = 3.0
"""Least ratio of requests per second, on every set whose requests share contexts."""
NO_FLOOR = ("letters",)
QUESTIONS = {"truthfulqa": 16, "bbh": 16, "replies": 16, "letters": 40}
BATCHES = (1, 4, 16, 64)
"""Requests at once that ``hf`` is tried with."""
TRIED = 4
"""One in so many questions serves to find its best batch size."""

console = Console(highlight=False)


def questions(name: str, count: int) -> list[list[Pair]]:
    """For each question, its context with each of its choices."""
    if name == "truthfulqa":
        from halign.harness.truthfulqa import read, requests

        return [requests(question) for question in read(_data("eval/truthfulqa.csv.gz"), count)]
    if name in ("bbh", "letters"):
        from halign.harness import bbh

        shots = 3 if name == "bbh" else 0
        found = bbh.read(_data("eval/bbh_small.jsonl.gz"), shots=shots, limit=4)[:count]
        return [_as_letters(q.requests) if name == "letters" else q.requests for q in found]
    rows = workloads.rows("rankings_care4", count)
    return [[(_spoken(row["prompt"]), f" {reply['content']}") for reply in row["responses"]] for row in rows]


def _as_letters(pairs: Sequence[Pair]) -> list[Pair]:
    """ " (A)" after the context as "A" after the context and " ("."""
    return [(f"{context} (", choice.strip(" ()")) for context, choice in pairs]


def _spoken(messages: Sequence[dict[str, Any]]) -> str:
    return "\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages) + "\nAssistant:"


def _data(name: str) -> Path:
    root = os.environ.get("HALIGN_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    return Path(root) / name


def available() -> list[str]:
    """The sets that this machine has the data for."""
    return [name for name in QUESTIONS if name == "replies" or _data("eval").is_dir()]


def instances(pairs: Sequence[Pair]) -> list[Any]:
    """Requests as lm_eval hands them to a model class."""
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i) for i, pair in enumerate(pairs)
    ]


def sides(model: str) -> tuple[Callable[[], Any], Callable[[int], Any]]:
    """Ours, and ``hf`` by its batch size; each has weights of its own. Ours is made anew for each turn: it remembers words."""
    from lm_eval.models.huggingface import HFLM

    import halign as hl
    from halign.harness.lm import HalignLM

    policy = hl.load(model)

    def hf(batch: int) -> Any:
        return HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=batch)

    own = hl.load(model)
    return lambda: HalignLM(own), hf


def _timed(side: Any, pairs: Sequence[Pair]) -> tuple[float, Answers]:
    """Seconds, and the answers. With one thread it is processor time that counts."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    requests = instances(pairs)
    started = clock()
    answers = side.loglikelihood(requests, disable_tqdm=True)
    return clock() - started, answers


def measure(name: str, model: str, repeats: int = 3, threads: int = 1, count: int = 0) -> dict[str, Any]:
    """Requests per second of both on one set, their ratio, and how far apart their answers are."""
    torch.set_num_threads(threads)
    asked = questions(name, count or QUESTIONS[name])
    pairs = [pair for question in asked for pair in question]
    ours, hf = sides(model)
    few = [pair for question in asked[::TRIED] for pair in question]
    tried = {batch: _timed(hf(batch), few)[0] for batch in BATCHES}
    best = min(tried, key=lambda b: tried[b])
    peer = hf(best)
    _timed(ours(), few)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    answers: dict[str, Answers] = {}
    for _ in range(repeats):
        for side, lm in (("ours", ours()), ("peer", peer)):
            took, answers[side] = _timed(lm, pairs)
            seconds[side].append(took)
    mine, theirs = (statistics.median(took) for took in seconds.values())
    return {
        "benchmark": "harness",
        "workload": name,
        "peer": "lm_eval hf",
        "model": model,
        "parameters": sum(p.numel() for p in peer.model.parameters()),
        "questions": len(asked),
        "requests": len(pairs),
        **_tokens(ours(), pairs),
        "dtype": "fp32",
        "threads": threads,
        "peer_batch": best,
        "ours_per_s": round(len(pairs) / mine, 2),
        "peer_per_s": round(len(pairs) / theirs, 2),
        "ratio": round(theirs / mine, 2),
        "agreement": agreement(answers["ours"], answers["peer"]),
        "load_average": os.getloadavg()[0],
        "versions": {package: version(package) for package in ("torch", "transformers", "lm_eval", "halign")},
    }


def _tokens(ours: Any, pairs: Sequence[Pair]) -> dict[str, int]:
    """Tokens as separate requests would read them, and distinct ones."""
    from halign.prefixes import count_distinct

    read = [ours.encoder.path(*pair).ids[:-1] for pair in pairs]
    return {"flat_tokens": sum(map(len, read)), "distinct_tokens": count_distinct(read)}


def agreement(ours: Answers, peer: Answers) -> dict[str, float]:
    """Largest difference of a log-probability in nats, requests whose greedy flags differ, and, for scale, the mean."""
    return {
        "largest": max(abs(a - b) for (a, _), (b, _) in zip(ours, peer, strict=True)),
        "greedy_differ": sum(a != b for (_, a), (_, b) in zip(ours, peer, strict=True)),
        "mean": statistics.fmean(a for a, _ in ours),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=list(QUESTIONS), help="default: all there is data for")
    parser.add_argument("--model", help="a folder; default: a Llama of 7 million parameters")
    parser.add_argument("--questions", type=int, default=0, help="of each set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    model = given.model or str(workloads.model("pairs"))
    results = []
    for name in given.sets or available():
        r = measure(name, model, given.repeats, given.threads, given.questions)
        results.append(r)
        console.print(
            f"harness {name}: ours {r['ours_per_s']:.1f} requests/s, lm_eval's hf ({r['peer_batch']} at once) "
            f"{r['peer_per_s']:.1f}, [bold]{r['ratio']:.1f}x[/]; {r['distinct_tokens']:,} of {r['flat_tokens']:,} tokens "
            f"distinct; answers differ by {r['agreement']['largest']:.1e} nats  (load {r['load_average']:.2f})"
        )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
