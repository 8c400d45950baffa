"""``halign judge`` and ``halign compare`` on stored replies and on models."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.judges import Verdict
from halign.judges.records import Judged
from tests.judges.judging import saying
from tests.llm.server import Server


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output if code == 0 else result.output + str(result.exception)


def replies(path, *texts, rules=()):
    rows = [
        {
            "conversation": f"c{i}",
            "guardrails": list(rules),
            "prompt": [{"role": "user", "content": f"Q{i}"}],
            "responses": [{"content": t}],
        }
        for i, t in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def files(tmp_path):
    texts = ["a good long reply", "yes", "maybe so"]
    return replies(tmp_path / "old.jsonl", *texts), replies(
        tmp_path / "new.jsonl", "no", "yes it is", "well no?"
    )


def longer(x, y):
    return 3 if len(x) == len(y) else 1 if len(x) > len(y) else 2


def test_stored_replies_are_judged_once_and_for_all(files, tmp_path):
    out = tmp_path / "judged"
    with Server(saying(longer)) as server:
        words = (
            "judge",
            *files,
            "--judge",
            f"llm:m@{server.url}",
            "--rubric",
            "naturalness",
            "--output",
            out,
        )
        planned = run(*words, "--dry-run", "--input-price", 1, "--output-price", 1)
        assert "3 cases; 6 calls" in planned
        assert not out.exists()
        said = run(*words)
        asked = server.asked.total()
        run(*words)
        assert server.asked.total() == asked == 6 + 1  # one to find out whether there are log-probabilities
    assert "pairs: 3" in said
    judged = Judged.read(out)
    assert [r.first for r in judged.pairs] == [Verdict.A, Verdict.B, Verdict.BOTH]
    assert judged.facts["models"] == ["old", "new"]
    assert judged.facts["judges"][0]["rubrics"][0]["name"] == "naturalness"
    assert judged.facts["command"].startswith("halign")
    again = tmp_path / "again"
    with Server(saying(longer, lambda question: 4)) as server:
        run(
            "judge",
            out,
            "--judge",
            f"llm:m@{server.url}",
            "--rubric",
            "naturalness",
            "--mode",
            "grade",
            "--output",
            again,
        )
    assert [(r.model, r.value) for r in Judged.read(again).grades] == [("old", 4.0), ("new", 4.0)] * 3


def test_people_are_judges_one_by_one(files, tmp_path):
    votes = tmp_path / "votes.csv"
    votes.write_text(
        "item,a,b,dimension,verdict,rater\nc0:1,old,new,all,A better,ann\nc0:1,new,old,all,A better,bob\n"
    )
    run("judge", *files, "--judge", f"human:{votes}", "--output", tmp_path / "judged")
    found = {r.judge: r.first for r in Judged.read(tmp_path / "judged").pairs}
    assert found == {"human:ann": Verdict.A, "human:bob": Verdict.B}


def assess(prompt, reply):
    """A world of one rule, which is in force where the prompt has one."""
    kept = dict.fromkeys(prompt.guardrails, len(reply) % 2 == 0)
    return SimpleNamespace(adherence=kept, inactive={}, hallucination=False, natural=True)


def test_models_are_asked_once_and_judged_by_rules(policy_folder, tmp_path):
    rows = [{"prompt": [{"role": "user", "content": f"Q{i}"}], "guardrails": ["Be kind."]} for i in range(3)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    words = ("judge", f"tiny={policy_folder}", "--prompts", tmp_path / "prompts.jsonl", "--max-new-tokens", 3)
    words = (*words, "--judge", f"{__name__}:assess", "--output", tmp_path / "judged")
    run(*words)
    first = Judged.read(tmp_path / "judged")
    run(*words)
    assert Judged.read(tmp_path / "judged").records == first.records
    assert "of other models or settings" in run(*words, "--temperature", 0, code=1)
    asked = (tmp_path / "prompts.jsonl").read_text()
    (tmp_path / "prompts.jsonl").write_text(asked.replace("Q1", "another question"))
    assert "or to other prompts" in run(*words, code=1)  # rows are numbered alike in every file
    assert [(r.dimension, r.guardrail) for r in first.grades[:4]] == [
        ("adherence", None),
        ("naturalness", None),
        ("hallucination", None),
        ("adherence", "Be kind."),
    ]
    assert {r.model for r in first.grades} == {"tiny"}
    said = [len(i.replies["tiny"]) % 2 == 0 for i in first.items.values()]
    assert [r.acceptable for r in first.grades if r.guardrail] == said


def test_several_stored_replies_are_compared_until_the_interval_is_reached(tmp_path):
    texts = {"short": "s", "middle": "mmm", "long": "lllll"}
    made = [replies(tmp_path / f"{n}.jsonl", *[f"{t} {i:03}" for i in range(200)]) for n, t in texts.items()]
    with Server(saying(longer)) as server:
        said = run(
            *(
                "compare",
                *made,
                "--judge",
                f"llm:m@{server.url}",
                "--rubric",
                "naturalness",
                "--interval",
                0.5,
            ),
            *(
                "--chunk",
                8,
                "--output",
                tmp_path / "judged",
                "--limit",
                200,
                "--correction",
                "benjamini-hochberg",
                "--report",
                tmp_path / "page.html",
            ),
        )
        assert server.asked.total() < 2 * 100
    order = [line.split()[1] for line in said.splitlines() if line.strip()[:2] in ("1 ", "2 ", "3 ")]
    assert order == ["long", "middle", "short"]
    assert "every interval is within ±0.5" in said
    assert "sign-flip tests that neither is better, over 3\n" in said
    assert "middle against long: p " in said
    assert said.count(", after Benjamini and Hochberg ") == 3
    assert "long" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--judge", "care", "--explain"), "--explain would have no effect on the judge care"),
        (("--judge", "care", "--mode", "rank"), "--mode rank is not one of grade, compare, both"),
        (("--judge", "care", "--prompts", "x"), "--prompts would have no effect on stored replies"),
        (("--judge", "nobody"), "no judge 'nobody'"),
        (("--judge", "llm:m@http://localhost:1/v1", "--rubric", "odd"), "no rubric 'odd'"),
    ],
)
def test_options_that_do_not_fit_are_named(files, tmp_path, words, problem):
    assert problem in run("judge", *files, "--output", tmp_path / "judged", *words, code=1)
