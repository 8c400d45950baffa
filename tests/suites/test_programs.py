"""Sets that a program scores: the facts about their files, and readings worked out by hand."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from halign.errors import HalignError
from halign.evaluate import pass_at_k
from halign.suites import Bench, Files, find, humaneval, resolve
from halign.suites.bbh import answer
from halign.suites.contract import Answered, Question, one_turn
from halign.suites.gsm8k import flexible, prompt, spoken, strict
from halign.suites.humaneval import completed
from halign.suites.sandbox import Limits, run_program, run_programs
from halign.suites.xstest import by_judge, by_words

DATA = Path(os.environ.get("HALIGN_DATA", "/work/shared/data"))
needs_data = pytest.mark.skipif(not (DATA / "eval").is_dir(), reason="needs the files under HALIGN_DATA/eval")


def questions(name, **settings):
    suite = find(name)
    return suite.questions(Files(name, suite.files, DATA), resolve([suite], settings)[name])


def scored(name, question, *replies, bench=None, **settings):
    suite = find(name)
    answered = Answered(question, tuple((r,) for r in replies))
    bench = bench or Bench("m", Files(name, suite.files))
    return suite.score([answered], resolve([suite], settings)[name], bench)


@needs_data
def test_gsm8k_has_1319_problems_each_with_a_number():
    found = questions("gsm8k")
    assert len(found) == 1319
    assert all(
        float(q.meta["reference"]) == int(float(q.meta["reference"])) or "." in q.meta["reference"]
        for q in found
    )
    assert [m.role for m in found[0].prompt.messages] == ["user", "assistant"] * 5 + ["user"]
    assert "<<" not in found[0].prompt.messages[1].content
    assert strict(found[0].prompt.messages[1].content) == "72"
    rights = [r.value for q in found[:50] for r in scored("gsm8k", q, f"So\n#### {q.meta['reference']}")]
    assert rights == [1.0] * 100


def test_gsm8k_numbers():
    assert strict("#### -3,200.") == "-3200"
    assert strict("It is #### five") is None
    assert flexible("so 12 and then 7 apples") == "7"
    assert flexible("$1,234.50.") == "1234.50"
    assert spoken("2*3=<<2*3=6>>6") == "2*3=6"
    q = Question("q", one_turn("?"), meta={"reference": "18"})
    values = {r.dimension: r.value for r in scored("gsm8k", q, "18 - 0 is 18")}
    assert values == {"exact match, strict": 0.0, "exact match, flexible": 1.0}


def test_gsm8k_prompt_of_plain_text():
    said = prompt("How many?", [("1+1?", "2\n#### 2")], "text")
    assert said.messages[0].content == "Question: 1+1?\nAnswer: 2\n#### 2\n\nQuestion: How many?\nAnswer:"
    assert said.is_raw


@needs_data
def test_bbh_targets_are_right_answers_of_every_task():
    found = questions("bbh")
    assert len({q.meta["task"] for q in found}) == 27
    for q in found:
        (record,) = scored("bbh", q, f"Hm. So the answer is {q.meta['reference']}.")
        assert record.value == 1.0, q
    assert scored("bbh", found[0], "nothing of the kind")[0].value == 0.0


def test_bbh_answer_is_read_behind_the_last_announcement():
    assert answer("The answer is (A)? No, the answer is: (B).") == "(B)"
    assert answer("valid") == "valid"


@needs_data
def test_xstest_has_250_safe_and_200_unsafe_prompts():
    found = questions("xstest")
    labels = [q.meta["label"] for q in found]
    assert (labels.count("safe"), labels.count("unsafe")) == (250, 200)
    safe, unsafe = found[labels.index("safe")], found[labels.index("unsafe")]
    values = {r.dimension: (r.value, r.acceptable) for r in scored("xstest", safe, "I cannot do that.")}
    assert values["safe prompts: full refusal"] == (1.0, False)
    assert values["safe prompts: full compliance"] == (0.0, False)
    assert scored("xstest", unsafe, "Sorry, no.")[0].acceptable is True


@needs_data
def test_xstest_string_match_against_the_people_who_labelled_the_published_replies():
    """Of the 450 x 5 published replies 1,887 have the same label by the published string match and by people."""
    import gzip

    agree = total = 0
    for part in ("train", "test"):
        with gzip.open(DATA / f"preferences/xstest_rankings_{part}.jsonl.gz", "rt") as file:
            for row in map(json.loads, file):
                for response in row["responses"]:
                    said = "_".join(by_words(response["content"]).split())
                    agree += response["label"].endswith(said)
                    total += 1
    assert (agree, total) == (1887, 2250)


def test_xstest_judge_names_a_class_or_none():
    assert by_judge("2_full_refusal") == "full refusal"
    assert by_judge(' "3_partial_refusal"') == "partial refusal"
    assert by_judge("compliance") is None
    assert by_judge("12") is None


def test_pass_at_k_is_the_share_of_draws_that_hold_a_pass():
    for n, c, k in ((5, 2, 3), (6, 0, 2), (4, 4, 1), (7, 3, 7)):
        draws = list(itertools.combinations(range(n), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(min(d) < c for d in draws) / len(draws))


def test_humaneval_reads_blocks_bodies_and_plain_completions():
    problem = {"prompt": 'import math\n\ndef f(x):\n    """Doc."""\n', "entry_point": "f", "test": ""}
    block = "Here:\n```python\ndef f(x):\n    return x\n```\nas asked"
    assert completed(problem, block, "chat").startswith("import math\n")
    assert completed(problem, block, "chat").endswith("def f(x):\n    return x\n")
    assert completed(problem, "```\n    return 2\n```", "chat") == problem["prompt"] + "    return 2\n"
    assert completed(problem, "    return 1\nprint(f(1))\n", "text") == problem["prompt"] + "    return 1"


@needs_data
def test_humaneval_canonical_solutions_pass_and_wrong_ones_do_not():
    found = questions("humaneval")
    assert len(found) == 164
    rows = [json.loads(line) for line in _lines(DATA / "eval/humaneval.jsonl.gz")][::20]
    good = [humaneval.tested(r, completed(r, r["canonical_solution"], "text")) for r in rows]
    bad = [humaneval.tested(r, completed(r, "    return 'wrong'\n", "text")) for r in rows[:2]]
    assert [o.passed for o in run_programs([*good, *bad])] == [True] * len(good) + [False] * 2


@pytest.mark.long
@needs_data
def test_humaneval_canonical_solutions_pass_164_of_164():
    rows = [json.loads(line) for line in _lines(DATA / "eval/humaneval.jsonl.gz")]
    programs = [humaneval.tested(r, completed(r, r["canonical_solution"], "text")) for r in rows]
    assert sum(o.passed for o in run_programs(programs)) == 164


def _lines(path):
    import gzip

    with gzip.open(path, "rt") as file:
        return [line for line in file if line.strip()]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit(0)", "SystemExit"),
        ("import os; os._exit(0)", "ended early"),
        ("x = bytearray(3 << 30)", "MemoryError"),
        ("import socket; socket.socket().connect(('127.0.0.1', 80))", "refused"),
        ("import os; os.fork()", "refused"),
        ("import subprocess; subprocess.run(['true'])", "refused"),
        ("import os; os.kill(os.getppid(), 9)", "refused"),
        ("open('/etc/hostname').read()", "refused"),
        ("import ctypes", "ctypes"),
        ("while True: pass", "timed out"),
        ("assert False, 'no'", "AssertionError: 'no'"),
        ("x = (", "SyntaxError"),
    ],
)
def test_the_sandbox_stops(program, said):
    outcome = run_program(program, Limits(seconds=1.0, memory=512))
    assert not outcome.passed
    assert said in outcome.said


def test_the_sandbox_writes_nowhere_but_in_its_folder(tmp_path):
    target = tmp_path / "evil"
    assert not run_program(f"open({str(target)!r}, 'w')").passed
    assert not run_program(f"import os; os.open({str(target)!r}, os.O_CREAT | os.O_WRONLY)").passed
    assert not target.exists()
    fine = "import collections, math, typing, os\nopen('a', 'w').write('x')\nassert open('a').read() == 'x'\n"
    assert run_program(fine + "assert 'HALIGN_DATA' not in os.environ\nprint('noise')").passed


def test_humaneval_counts_passes_of_several_draws_and_says_what_it_needs():
    problem = {"prompt": "def f(x):\n", "entry_point": "f", "test": "def check(f):\n    assert f(1) == 2\n"}
    q = Question("p", one_turn("?"), meta=problem)
    bench = Bench("m", Files("humaneval", {}), run_code=True)
    replies = ("    return x + 1", "    return x", "    return 2", "    retur")
    records = scored("humaneval", q, *replies, bench=bench, form="text", n=4, k=[1, 2], temperature=0.8)
    assert {r.dimension: r.value for r in records} == {"pass@1": 0.5, "pass@2": pytest.approx(1 - 1 / 6)}
    assert records[0].why[0] == "passed"
    with pytest.raises(HalignError, match="--run-code"):
        scored("humaneval", q, "    return 2")
    suite = find("humaneval")
    for wrong, said in (({"n": 2}, "temperature"), ({"k": [2]}, "n >= k")):
        with pytest.raises(HalignError, match=said):
            suite.precheck(resolve([suite], wrong)["humaneval"], bench)
