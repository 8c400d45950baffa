"""AlpacaEval: the probability of the better output's name, both orders, and the length-controlled win rate of an evaluation."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.evaluate import length_controlled
from halign.judges import Verdict
from halign.judges.records import Judged
from halign.llm import Failure
from halign.suites import Bench, Files, find, resolve
from halign.suites.contract import Answered, Question, one_turn
from tests.suites.test_judged import Chances, Judge


def alpaca(*texts, theirs="b" * 20):
    return [
        Answered(Question(f"q{i}", one_turn(f"ask {i}"), baseline=("base", theirs)), ((text,),))
        for i, text in enumerate(texts)
    ]


def test_alpaca_evals_preference_is_the_probability_of_the_name_in_both_orders():
    """Ours first: .9 for the first; theirs first: .4 for the first, so .6 for ours. The preference is .75, both verdicts ours."""

    def say(text):
        return (0.9, 0.1, 0.0) if text.index("mine") < text.index("bbb") else (0.4, 0.6, 0.0)

    suite, judge = find("alpaca_eval"), Chances(say)
    of = Bench("m", Files("alpaca_eval", suite.files), judge)
    pair, liked = suite.score(alpaca("mine"), resolve([suite], {})["alpaca_eval"], of)
    assert (pair.a, pair.b, pair.first, pair.second) == ("m", "base", Verdict.A, Verdict.A)
    assert (liked.dimension, liked.model, liked.value) == ("preference", "m", pytest.approx(0.75))
    first, second = judge.questions
    assert first.index("ask 0") < first.index("mine") < first.index("bbb")
    assert second.index("bbb") < second.index("mine")
    even = Bench("m", of.files, Chances(lambda text: (0.5, 0.5, 0.0)))
    pair, liked = suite.score(alpaca("mine"), resolve([suite], {})["alpaca_eval"], even)
    assert (pair.outcome.advantage, liked.value) == (0.0, 0.5)
    lost = Bench("m", of.files, Chances(lambda text: Failure(0, "q", "gone", 500)))
    records = suite.score(alpaca("mine"), resolve([suite], {})["alpaca_eval"], lost)
    assert [r.trouble for r in records] == ["failed", "failed"]


def test_a_judge_of_words_prefers_wholly_or_not_at_all():
    suite = find("alpaca_eval")

    def scores(say):
        of = Bench("m", Files("alpaca_eval", suite.files), Judge(say))
        return suite.score(alpaca("mine"), resolve([suite], {})["alpaca_eval"], of)

    assert scores(lambda text: "1" if text.index("mine") < text.index("bbb") else "Model 2.")[1].value == 1.0
    pair, liked = scores(lambda text: "1")  # whatever stands first
    assert (pair.outcome.advantage, liked.value) == (0.0, 0.5)
    assert [r.trouble for r in scores(lambda text: "both")] == ["unparsable", "unparsable"]


class Longest:
    """Says that the longer output is better, but for every fifth instruction."""

    name, asked = "longest", 0

    def answers(self, prompts, *, max_tokens=2048):
        return [self._answer(q.messages[-1].content) for q in prompts]

    def _answer(self, text):
        first, second = (len(p.split("\n\n##")[0]) for p in text.split("## Output of model ")[1:])
        odd = int(re.search(r"ask (\d+)", text)[1]) % 5 == 0
        return "1" if (first > second) != odd else "2"


LONGEST = Longest()


def test_the_command_gives_the_length_controlled_win_rate_and_both_sides(tmp_path):
    """The judge takes the longer output but for every fifth instruction; the number is that of the GLM on plain arrays."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 60, size=(2, 40))
    rows = [
        {"id": f"q{i}", "instruction": f"ask {i}", "output": "b" * int(lengths[1, i]), "generator": "base"}
        for i in range(40)
    ]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(rows))
    (tmp_path / "judge_prompts.jsonl").write_text('{"name": "single-v1"}\n')
    mine = [
        {"instruction": f"ask {i}", "output": "m" * int(n), "generator": "mine"}
        for i, n in enumerate(lengths[0])
    ]
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    words = ["evaluate", str(tmp_path / "mine.json"), "--suite", "alpaca_eval", "--data", str(tmp_path)]
    words += ["--judge", "tests.suites.test_alpaca:LONGEST"]
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output + repr(done.exception)
    won = (lengths[0] > lengths[1]) != (np.arange(40) % 5 == 0)
    won = np.where(lengths[0] == lengths[1], 0.5, won.astype(float))
    measures = json.loads((tmp_path / "out/results.json").read_text())["suites"]["alpaca_eval"]["measures"]
    assert measures["preference"]["value"] == pytest.approx(won.mean())
    assert measures["win rate on quality against base"]["value"] == pytest.approx(won.mean())
    name = "length-controlled win rate (plain, AlpacaEval's length_controlled_minimal) against base"
    expected = length_controlled(won, *lengths, range(40))
    assert measures[name] == pytest.approx(expected.controlled.to_dict())
    judged = Judged.read(tmp_path / "out/alpaca_eval")
    assert judged.items["q3"].replies == {"mine": mine[3]["output"], "base": rows[3]["output"]}
    g = tmp_path / "g.jsonl"
    g.write_text("".join(json.dumps({"item": f"q{i}", "difficulty": i / 40 - 0.5}) + "\n" for i in range(40)))
    done = CliRunner().invoke(app, [*words, f"difficulty={g}", "--output", str(tmp_path / "more")])
    assert done.exit_code == 0, done.output + repr(done.exception)
    measures = json.loads((tmp_path / "more/results.json").read_text())["suites"]["alpaca_eval"]["measures"]
    name = "length-controlled win rate (with_difficulty, AlpacaEval's length_controlled_noreg) against base"
    expected = length_controlled(won, *lengths, range(40), difficulty=np.arange(40) / 40 - 0.5)
    assert measures[name]["value"] == pytest.approx(expected.controlled.value)
    wrong = CliRunner().invoke(app, [*words, "difficulty=nowhere.jsonl", "--output", str(tmp_path / "none")])
    assert "no file of difficulties at nowhere.jsonl" in str(wrong.exception)
