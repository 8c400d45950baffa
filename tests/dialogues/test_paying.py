"""Dialogues whose user, model and judge are behind an endpoint: what they cost, before and after, and no more than allowed."""

import json
import math

import pytest
from typer.testing import CliRunner

from halign import judges
from halign.builders.guardrails.policy import read_policy
from halign.cli.main import app
from halign.dialogues.adversary import ScriptedUsers, attack_scenarios, read_adversary
from halign.dialogues.conversing import Job, converse, estimate
from halign.dialogues.talking import TalkSettings
from halign.errors import HalignError
from halign.llm import BudgetSpent, Client, Endpoint
from halign.sampling import EndpointSampler
from tests.dialogues.agents import POLICY
from tests.judges.judging import distribution
from tests.llm.server import Server, completion, last

SIDES = {"u": "user", "a": "model a", "j": "judge"}
WANTS = '- {goal: "a free parcel", opening: "Hello."}\n- {goal: "a hat"}\n- {goal: "a coat", id: c}\n'
PRICES = {"u": (100, 200), "a": (300, 400), "j": (500, 600)}
"""Of a million tokens, prompt and reply."""


def tokens(text):
    return math.ceil(len(text) / 4)


def all_sides(body, before):
    """The user leaves after two of its own messages; everything is allowed. Tokens are counted as estimates count them."""
    text, top = f"{body['model']} says {len(body['messages'])} {body.get('seed')}", None
    if body["model"] == "u" and sum(m["role"] == "assistant" for m in body["messages"]) == 2:
        text = "END"
    if body["model"] == "j":
        text, top = "1", [distribution(_1=0.9, _2=0.1)]
    asked = sum(len(m["content"]) for m in body["messages"])
    return completion(text, usage=(math.ceil(asked / 4), tokens(text)), top=top)


def asked_of(server, side):
    return [b for b in server.bodies if b["model"] == side]


def price(server, side):
    """What the calls of one side cost, from what went over the wire."""
    made = [all_sides(b, 0)["usage"] for b in asked_of(server, side)]
    of_prompt, of_reply = PRICES[side]
    return sum(m["prompt_tokens"] * of_prompt + m["completion_tokens"] * of_reply for m in made) / 1e6


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rules.yaml").write_text(POLICY)
    (tmp_path / "wants.yaml").write_text(WANTS)
    return tmp_path


def words(server, files, *more):
    given = ["converse", "a", "--endpoint", server.url, "--user", f"llm:u@{server.url}"]
    given += ["--judge", f"llm:j@{server.url}", "--guardrails", files / "rules.yaml"]
    given += ["--scenarios", files / "wants.yaml", "--runs", 2, "--output", files / "out"]
    for side, prefix in (("a", ""), ("u", "user-"), ("j", "judge-")):
        for kind, of in zip(("input", "output"), PRICES[side], strict=True):
            given += [f"--{prefix}{kind}-price", of]
    return [str(w) for w in (*given, *more)]


def run(*arguments):
    result = CliRunner().invoke(app, *arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_account_is_what_went_over_the_wire(files):
    with Server(all_sides) as server:
        planned = run(words(server, files, "--dry-run", "--turns", 3))
        assert not server.bodies
        assert not (files / "out").exists()
        said = run(words(server, files, "--turns", 3))
        spent = json.loads((files / "out/results.json").read_text())["spent"]
        for side, name in SIDES.items():
            count = len(asked_of(server, side))
            assert count > 0
            assert spent[name]["calls"] == count
            assert spent[name]["cost"] == pytest.approx(price(server, side))
            assert f"{name}: {count} calls and " in said
            assert f"{name}: {count} calls and " in (files / "out/results.txt").read_text()
        bodies = len(server.bodies)
        run(words(server, files, "--turns", 3))
        assert len(server.bodies) == bodies
    facts = json.loads((files / "out/judging.json").read_text())
    assert facts["calls"] == bodies
    assert facts["cost"] == pytest.approx(sum(price(server, side) for side in SIDES))
    assert list(facts["spent"]) == ["user", "model a", "judge"]
    assert json.loads((files / "out/results.json").read_text())["spent"] == spent
    assert "6 dialogues, at most 18 replies" in planned  # and none went on for three turns
    assert json.loads((files / "out/spent.json").read_text()) == spent


def attacked(server, files, **endpoint):
    """A job whose dialogues are of known length: both rules are attacked by scripts. No two replies are alike."""
    scenarios = attack_scenarios(read_policy(files / "rules.yaml").guardrails, read_adversary())
    at = {"concurrency": 2, "retries": 0, **endpoint}
    agent = EndpointSampler(Client(Endpoint(server.url, "a", **at)))
    judge = judges.llm("j", server.url, dimensions=["adherence"], **at)
    settings = TalkSettings(runs=2, turns=20, max_new_tokens=30)
    return Job({"a": agent}, ScriptedUsers(), scenarios, judge, settings)


def test_an_estimate_counts_every_call_and_bounds_its_cost(files):
    prices = {"input_price": 100.0, "output_price": 1000.0}
    with Server(all_sides) as server:
        job = attacked(server, files, **prices)
        found = estimate(job, files / "out")
        lines = sum(len(t) for t in read_adversary().turns.values())
        assert (found.dialogues, found.replies) == (24, 2 * 2 * lines)
        assert not server.bodies
        done = converse(job, files / "out")
        for side, name in (("a", "model a"), ("j", "judge")):
            (guess,) = found.planned[name].estimates
            assert guess.calls == done.spent[name].calls == len(asked_of(server, side))
            assert done.spent[name].cost < guess.cost < 10 * done.spent[name].cost
            assert done.spent[name].prompt_tokens < guess.prompt_tokens
        assert found.planned["model a"].estimates[0].reply_tokens == 30 * 2 * 2 * lines
        again = estimate(job, files / "out")
        assert [p.estimates[0].calls for p in again.planned.values() if p.estimates] == [0]
        fresh = estimate(job, files / "out", overwrite=True)
        assert fresh.planned["model a"].estimates[0].calls < found.planned["model a"].estimates[0].calls
    with pytest.raises(HalignError, match="--dry-run has no effect without an endpoint"):
        estimate(Job({"a": object()}, ScriptedUsers(), job.scenarios, judges.rules(), job.settings), files)


def test_one_budget_is_kept_by_all_sides_and_all_calls(files):
    """The job costs about .0115; the bound of the dearest call is below .002."""
    with Server(all_sides) as server:
        run(words(server, files, "--turns", 3))
        whole = sum(price(server, side) for side in SIDES)
        results = {n: (files / "out" / n).read_bytes() for n in ("dialogues.jsonl", "verdicts.jsonl")}
        bodies = len(server.bodies)
    with Server(all_sides) as server:
        poor = words(server, files, "--turns", 3, "--overwrite", "--budget", 0.7 * whole)
        with pytest.raises(BudgetSpent, match="of budget"):
            run(poor)
        gone = sum(price(server, side) for side in SIDES)
        assert 0 < gone <= 0.7 * whole
        poor.remove("--overwrite")
        with pytest.raises(BudgetSpent):  # what is gone is gone, whichever call spent it
            run(poor)
        assert sum(price(server, side) for side in SIDES) <= 0.7 * whole
        run(words(server, files, "--turns", 3, "--budget", 10 * whole))
        assert sum(price(server, side) for side in SIDES) == pytest.approx(whole)
        assert len(server.bodies) == bodies == len({json.dumps(b) for b in server.bodies})
        spent = json.loads((files / "out/spent.json").read_text())
        assert sum(s["cost"] for s in spent.values()) == pytest.approx(whole)
    assert {n: (files / "out" / n).read_bytes() for n in results} == results


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--user", "care", "--judge", "care", "--budget", "1"],
            "--budget would have no effect without an end",
        ),
        (["--user", "care", "--user-key-env", "K"], "--user-key-env would have no effect without --user llm"),
        (["--user", "care", "--input-price", "1"], "--input-price would have no effect without --endpoint"),
        (
            ["--user", "care", "--judge-concurrency", "2"],
            "--judge-concurrency would have no effect without --j",
        ),
        (
            ["--user", "care", "--judge-samples", "2"],
            "--judge-samples would have no effect on the judge care",
        ),
        (["--user", "care", "--endpoint", "http://localhost:1", "--budget", "1"], "a budget needs prices"),
        (["--user", "care", "--judge", "chart:x.yaml"], "--judge chart says nothing about rules"),
    ],
)
def test_options_that_do_not_fit_are_named(more, message, tmp_path):
    with pytest.raises(HalignError, match=message):
        run(["converse", "nowhere", *more, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_the_last_message_of_the_user_is_seen(files):
    """What the sides are shown: the user's model sees the roles exchanged, the model the rules."""
    with Server(all_sides) as server:
        run(words(server, files, "--turns", 1))
        assert all("END alone" in b["messages"][0]["content"] for b in asked_of(server, "u"))
        assert {last(b) for b in asked_of(server, "a")} >= {"Hello."}
        assert all("guarantee" in b["messages"][0]["content"] for b in asked_of(server, "a"))
