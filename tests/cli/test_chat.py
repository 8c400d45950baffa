"""``halign chat``: streams, rules from a file, two models side by side, commands, endpoints."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from halign.cli.main import app
from halign.dialogue import Dialogue, Message
from halign.models import load
from halign.sampling import TransformersSampler
from tests.llm.server import Fault, Server, last


def invoke(*words, said):
    return CliRunner().invoke(app, ["chat", *map(str, words)], input=said)


def run(*words, said):
    result = invoke(*words, said=said)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def test_a_conversation_is_what_sampling_gives_turn_by_turn(policy_folder, tmp_path):
    rules = tmp_path / "rules.md"
    rules.write_text("# Rules\n\n- Be kind.\n* Be brief.\n2. No prices.\nNo names.\n")
    saved = tmp_path / "talks" / "talk.jsonl"
    options = ("--model", policy_folder, "--guardrails", rules, "--guardrail", "No jokes.", "--seed", 3)
    talk = f"Hello\n/retry\nMy order\n/save {saved}\n/reset\nBye\n/save {saved}\n\n"
    said = run(*options, "--max-new-tokens", 12, said=talk)
    assert said.count("bot:") == 4

    sampler = TransformersSampler(load(policy_folder))
    guardrails = ("Be kind.", "Be brief.", "No prices.", "No names.", "No jokes.")
    history = Dialogue((), guardrails=guardrails) + Message("user", "Hello")

    def reply(asked, seed):
        return sampler.sample([asked], seed=seed, temperature=0.7, max_new_tokens=12)[0][0].text

    first, second = reply(history, 3), reply(history, 4)
    assert first != second
    history = history + Message("assistant", second) + Message("user", "My order")
    history = history + Message("assistant", reply(history, 5))
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert rows[0]["messages"] == [m.to_dict() for m in history.messages]
    assert rows[0]["guardrails"] == list(guardrails)
    assert rows[1]["messages"][0]["content"] == "Bye"
    assert f"bot: {first}" in said
    checked = CliRunner().invoke(app, ["data", "check", str(saved)])
    assert checked.exit_code == 0, checked.output
    assert "2" in checked.output


def test_two_models_side_by_side_keep_histories_of_their_own(policy_folder, tmp_path):
    saved = tmp_path / "talk.jsonl"
    with Server(lambda body, n: f"{body['model']} hears {last(body)}") as server:
        said = run(
            *("--model", "one", "--versus", "two", "--endpoint", server.url),
            said=f"Hello\nAgain\n/save {saved}\n\n",
        )
        second = [b["messages"] for b in server.bodies if len(b["messages"]) == 3]
    assert "one hears Again" in said
    assert "two hears Again" in said
    assert sorted(m[1]["content"] for m in second) == ["one hears Hello", "two hears Hello"]
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["one hears Again", "two hears Again"]
    here = run(
        *("--model", policy_folder, "--versus", policy_folder, "--max-new-tokens", 4, "--temperature", 0),
        said="Hello\n\n",
    )
    assert here.count("┃") >= 3


def test_commands_say_what_they_lack(policy_folder):
    said = run("--model", policy_folder, said="/retry\n/save x\n/what\n/help\n\n")
    assert said.count("nothing was said yet") == 2
    assert "no such command: /what" in said
    assert "/save FILE" in said


def test_options_without_effect_and_empty_rules_are_refused(policy_folder, tmp_path):
    wrong = invoke("--model", policy_folder, "--key-env", "KEY", said="\n")
    assert "--key-env would have no effect without --endpoint" in str(wrong.exception)
    wrong = invoke("--model", "m", "--endpoint", "http://localhost:1/v1", "--prefix", "Well", said="\n")
    assert "--prefix would have no effect with --endpoint" in str(wrong.exception)
    empty = tmp_path / "rules.md"
    empty.write_text("# Rules\n")
    for file, why in ((empty, "no rule in it"), (tmp_path / "none.md", "cannot be read")):
        assert why in str(invoke("--model", policy_folder, "--guardrails", file, said="\n").exception)


def test_a_failing_endpoint_leaves_the_conversation_as_it_was(tmp_path):
    saved = tmp_path / "talk.jsonl"

    def script(body, before):
        return Fault(400) if last(body) == "bad" and body["model"] == "two" else f"fine {body['model']}"

    with Server(script) as server:
        options = ("--model", "one", "--versus", "two", "--endpoint", server.url)
        result = invoke(*options, said=f"Hello\nbad\n/save {saved}\n\n")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [[m["content"] for m in r["messages"]] for r in rows] == [
        ["Hello", "fine one"],
        ["Hello", "fine two"],
    ]
