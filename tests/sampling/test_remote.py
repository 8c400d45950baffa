"""The sampler for chat endpoints: what it sends, what it makes of the answers."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.llm import Client, Endpoint, ItemsFailed
from halign.sampling import EndpointSampler
from halign.template import DEFAULT_GUARDRAIL_TEMPLATE, Guardrails
from tests.llm.server import Fault, Server, completion, last


def ask(text, **more):
    return Dialogue.of([{"role": "user", "content": text}], **more)


def endpoint(server, **settings):
    return Endpoint(server.url, "m", **{"backoff": 0.01, "retries": 1, **settings})


def test_replies_come_in_the_order_of_the_prompts_n_each():
    with Server(lambda body, before: f" {last(body)} {before} ") as server:
        seen = []
        rows = EndpointSampler(endpoint(server, concurrency=1)).sample(
            [ask("a"), ask("b")],
            n=2,
            max_new_tokens=7,
            temperature=0.5,
            top_p=0.9,
            seed=3,
            progress=lambda *p: seen.append(p),
        )
    assert [[s.text for s in row] for row in rows] == [["a 0", "a 1"], ["b 0", "b 1"]]
    assert all(s.finished and s.ids.tolist() == [] and s.logps is None for row in rows for s in row)
    assert seen[-1] == (4, 4)
    body = server.bodies[0]
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.5, 0.9)
    seeds = [b["seed"] for b in server.bodies]
    assert seeds[0] == seeds[2] != seeds[1] == seeds[3]


def test_guardrails_stand_in_the_system_message_as_in_training():
    with_system = Dialogue.of(
        [{"role": "system", "content": "A shop."}, {"role": "user", "content": "Hi"}],
        guardrails=("Be kind.",),
    )
    noted = Dialogue((Message("user", "Ho", {"score": 3}),), guardrails=("Be brief.",))
    with Server() as server:
        EndpointSampler(endpoint(server, concurrency=1)).sample([with_system, noted])
        EndpointSampler(endpoint(server), guardrail_template="{{ guardrails[0] }}!").sample([noted])
    expected = Guardrails(DEFAULT_GUARDRAIL_TEMPLATE).apply(with_system)
    assert server.bodies[0]["messages"] == [{"role": m.role, "content": m.content} for m in expected]
    assert "- Be kind." in server.bodies[0]["messages"][0]["content"]
    assert server.bodies[1]["messages"][-1] == {"role": "user", "content": "Ho"}
    assert server.bodies[2]["messages"][0]["content"] == "Be brief.!"


def test_a_job_that_grows_pays_only_for_what_is_new():
    with Server() as server:
        sampler = EndpointSampler(endpoint(server))
        sampler.sample([ask("a"), ask("b")], n=2)
        sampler.sample([ask("new"), ask("b"), ask("a")], n=2)
        assert server.asked == {"a": 2, "b": 2, "new": 2}
        sampler.sample([ask("a"), ask("a")], n=2)  # the second place has draws of its own
        assert server.asked["a"] == 4
        sampler.sample([ask("a")], n=2, seed=1)
        assert server.asked["a"] == 6
        sampler.sample([ask("a")], n=5, temperature=0)
        assert server.asked["a"] == 7


def test_a_reply_that_was_cut_off_is_not_finished():
    with Server(lambda b, n: completion("half", finish="length")) as server:
        ((sample,),) = EndpointSampler(endpoint(server)).sample([ask("a")])
    assert not sample.finished


def test_failures_name_their_conversation_and_lose_nothing():
    def script(body, before):
        if last(body) == "tool":
            return completion(
                "", tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
            )
        return Fault(500) if last(body) == "bad" and before < 2 else "fine"

    with Server(script) as server:
        sampler = EndpointSampler(endpoint(server))
        prompts = [ask("a"), ask("bad", meta={"conversation": "c7"}), ask("c")]
        with pytest.raises(ItemsFailed, match=r"1 of 3 prompts.*\n.*conversation c7"):
            sampler.sample(prompts)
        assert [[s.text for s in r] for r in sampler.sample(prompts)] == [["fine"]] * 3
        assert server.asked == {"a": 1, "bad": 3, "c": 1}
        with pytest.raises(ItemsFailed, match="called a tool"):
            sampler.sample([ask("tool")])


def test_tool_calls_go_out_with_their_arguments_as_text():
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": {"order": 3}}}
    turns = [
        Message("user", "Where?"),
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "here", {"tool_call_id": "1"}),
    ]
    tool = {"type": "function", "function": {"name": "find", "parameters": {}}}
    with Server() as server:
        EndpointSampler(endpoint(server)).sample([Dialogue(tuple(turns), tools=(tool,))])
    sent = server.bodies[0]
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"order": 3}'
    assert sent["messages"][2]["tool_call_id"] == "1"
    assert sent["tools"] == [tool]


def test_plain_text_and_settings_out_of_range_are_refused():
    with Server() as server:
        sampler = EndpointSampler(endpoint(server))
        with pytest.raises(HalignError, match="plain text without roles"):
            sampler.sample([Dialogue.of("Once upon a time")])
        with pytest.raises(HalignError, match="top_p = 2"):
            sampler.sample([ask("a")], top_p=2)
    assert not server.asked


def test_stop_strings_go_out_and_are_cut_from_servers_that_leave_them_in():
    with Server(lambda b, n: completion("One. ## Two", finish="length")) as server:
        sampler = EndpointSampler(endpoint(server))
        ((sample,),) = sampler.sample([ask("a")], stop=["##", "@"])
        ((plain,),) = sampler.sample([ask("a")])
        assert (sample.text, sample.finished) == ("One.", True)
        assert (plain.text, plain.finished) == ("One. ## Two", False)
        assert server.bodies[0]["stop"] == ["##", "@"]
        assert "stop" not in server.bodies[1]
        with pytest.raises(HalignError, match="stop is a list"):
            sampler.sample([ask("a")], stop="##")
        with pytest.raises(HalignError, match="top_k"):
            sampler.sample([ask("a")], top_k=3)


def test_logps_are_those_of_the_written_tokens():
    top = [{"Hi": -0.25, "Ho": -1.5}, {"!": -0.5}]
    with Server(lambda b, n: completion("Hi!", top=top if b.get("logprobs") else None)) as server:
        sampler = EndpointSampler(endpoint(server))
        ((sample,),) = sampler.sample([ask("a")], logps=True)
        assert sample.logps.tolist() == [-0.25, -0.5]
        assert server.bodies[0]["logprobs"] is True
        ((plain,),) = sampler.sample([ask("a")])
        assert plain.logps is None
    with Server(lambda b, n: completion("Hi!")) as server, pytest.raises(ItemsFailed, match="no log-prob"):
        EndpointSampler(endpoint(server)).sample([ask("a")], logps=True)


def test_a_dry_run_counts_draws():
    with Server() as server:
        priced = endpoint(server, input_price=1.0, output_price=1.0)
        found = EndpointSampler(Client(priced)).dry_run([ask("abcd"), ask("abcd")], n=3, max_new_tokens=10)
    assert (found.calls, found.prompt_tokens, found.reply_tokens) == (6, 6, 60)
    assert found.cost == pytest.approx(66e-6)


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def test_the_command_line_asks_an_endpoint(tmp_path):
    file, out = tmp_path / "prompts.jsonl", tmp_path / "replies.jsonl"
    file.write_text(
        json.dumps({"prompt": [{"role": "user", "content": "Hello"}], "guardrails": ["Be kind."]}) + "\n"
    )
    with Server() as server:
        words = (
            "sample",
            "--model",
            "m",
            "--prompts",
            file,
            "--output",
            out,
            "--endpoint",
            server.url,
            "--n",
            2,
        )
        dry = run(*words, "--dry-run")
        assert dry.exit_code == 0
        assert "2 calls" in dry.output
        assert not server.asked
        done = run(*words, "--input-price", 1, "--output-price", 2, "--budget", 1)
        assert done.exit_code == 0, done.output
        assert "cost 4e-05" in done.output
        assert "1 prompts answered" in done.output
        row = json.loads(out.read_text())
        assert row["responses"] == [{"content": "echo Hello", "finished": True}] * 2
        assert "Be kind." in server.bodies[0]["messages"][0]["content"]
        wrong = run(*words, "--top-k", 5)
        assert "--top-k would have no effect with --endpoint" in str(wrong.exception)
    words = ("sample", "--model", "m", "--prompts", file, "--output", out, "--budget", 3)
    assert "--budget would have no effect without --endpoint" in str(run(*words).exception)
