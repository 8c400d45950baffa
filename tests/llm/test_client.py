"""The client against a server that misbehaves."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from dataclasses import replace

import pytest
from pydantic import BaseModel

from halign.errors import HalignError
from halign.llm import (
    Budget,
    BudgetSpent,
    Client,
    Endpoint,
    EndpointDown,
    EndpointRefused,
    Failure,
    ItemsFailed,
    Reply,
    Request,
    Spent,
    all_answered,
)
from halign.llm.cache import ReplyCache
from halign.llm.cost import most_tokens
from tests.llm.server import Fault, Server, completion, last


def at(server, **settings):
    return Endpoint(server.url, "m", **{"backoff": 0.01, "retries": 3, **settings})


def asks(count, **settings):
    return [Request.of(f"prompt {i}", max_tokens=20, **settings) for i in range(count)]


def test_answers_come_in_order_and_never_more_at_once_than_allowed():
    with Server(seconds=0.02) as server:
        seen = []
        answers = Client(at(server, concurrency=5)).ask(asks(40), progress=lambda *p: seen.append(p))
    assert [a.text for a in answers] == [f"echo prompt {i}" for i in range(40)]
    assert server.most == 5
    assert seen == [(i + 1, 40) for i in range(40)]


def test_two_jobs_of_one_client_share_its_bound():
    with Server(seconds=0.02) as server:
        client = Client(at(server, concurrency=3))

        async def both():
            await asyncio.gather(client.ask_async(asks(10)), client.ask_async(asks(10, seed=1)))

        asyncio.run(both())
    assert server.most == 3


def test_a_repeated_job_asks_nothing_and_settings_tell_replies_apart():
    with Server() as server:
        client = Client(at(server))
        first = client.ask(asks(5))
        again = Client(at(server)).ask(asks(5))
        assert server.asked.total() == 5
        assert again == [Reply(r.text, r.finish, 10, 5, cached=True) for r in first]
        for change in ({"seed": 1}, {"sample": 1}, {"temperature": 0.5}, {"top_p": 0.5}, {"top_logprobs": 3}):
            client.ask(asks(1, **change))
        Client(at(server, extra={"top_k": 3})).ask(asks(1))
    assert server.asked["prompt 0"] == 7
    assert server.bodies[-1]["top_k"] == 3
    assert "sample" not in server.bodies[6]


def test_equal_requests_are_asked_once():
    with Server(seconds=0.02) as server:
        answers = Client(at(server)).ask([*asks(2), *asks(2), *asks(2, sample=1)])
    assert [a.text for a in answers] == ["echo prompt 0", "echo prompt 1"] * 3
    assert server.asked == {"prompt 0": 2, "prompt 1": 2}


def test_works_where_an_event_loop_runs_already():
    with Server() as server:

        async def notebook():
            return Client(at(server)).ask(asks(2))

        assert len(asyncio.run(notebook())) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429),
        Fault(500),
        Fault(503, body="<html>"),
        Fault(cut=True),
        Fault(200, body="{not json"),
        Fault(200, body='{"choices": []}'),
        Fault(200, body="[1]"),
    ],
    ids=["429", "500", "503", "cut", "malformed", "no choices", "a list"],
)
def test_what_may_pass_is_tried_again(fault):
    with Server(lambda body, before: fault if before < 2 else "at last") as server:
        client = Client(at(server))
        assert [a.text for a in all_answered(client.ask(asks(3)))] == ["at last"] * 3
    assert client.spent.retries == 6
    assert client.spent.calls == 3


def test_retry_after_is_kept_and_holds_back_the_other_prompts_too():
    def script(body, before):
        return Fault(429, {"retry-after": "0.4"}) if last(body) == "prompt 0" and not before else "fine"

    with Server(script) as server:
        assert len(all_answered(Client(at(server, concurrency=1)).ask(asks(3)))) == 3
    assert server.times[1] - server.times[0] >= 0.4
    with Server(script) as server:
        Client(at(server, concurrency=2), cache=None).ask(
            [Request.of("prompt 0"), *[Request.of(f"later {i}") for i in range(20)]]
        )
    first = min(server.times)
    pause = [t - first for t in server.times if t - first >= 0.05]
    assert min(pause) >= 0.35  # whatever was not on its way already waited


def test_a_wait_beyond_the_longest_fails_the_prompt_and_says_so():
    with Server(lambda body, before: Fault(429, {"retry-after": "3600"})) as server:
        (answer,) = Client(at(server, longest_wait=1.0)).ask(asks(1))
    assert isinstance(answer, Failure)
    assert "longest_wait = 1 s" in answer.problem
    assert server.asked.total() == 1


def test_without_retry_after_waits_grow():
    with Server(lambda body, before: Fault(500) if before < 3 else "ok") as server:
        Client(at(server, backoff=0.1)).ask(asks(1))
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert gaps[0] >= 0.05
    assert gaps[1] >= 0.1
    assert gaps[2] >= 0.2


def test_a_slow_answer_is_cut_and_tried_again():
    def script(body, before):
        time.sleep(0 if before else 1.0)
        return "in time"

    with Server(script) as server:
        client = Client(at(server, timeout=0.3))
        assert client.ask(asks(1))[0].text == "in time"
    assert client.spent.unsure == 1
    assert "1 cut off" in str(client.spent)


def test_one_bad_prompt_costs_no_other_and_is_named():
    def script(body, before):
        return Fault(500 if "3" in last(body) else 400) if last(body) in ("prompt 3", "prompt 5") else "ok"

    with Server(script) as server:
        client = Client(at(server, retries=1))
        answers = client.ask(asks(8))
        assert [i for i, a in enumerate(answers) if isinstance(a, Failure)] == [3, 5]
        assert "2 attempts" in str(answers[3])
        assert server.url in str(answers[3])
        assert "“prompt 5”" in str(answers[5])
        assert answers[5].status == 400
        assert server.asked["prompt 5"] == 1
        with pytest.raises(ItemsFailed, match="2 of 8 prompts") as caught:
            all_answered(answers)
        assert caught.value.answers[0].text == "ok"


@pytest.mark.parametrize(
    ("status", "words"), [(401, "does not accept the key"), (404, "no such model"), (402, "payment")]
)
def test_what_no_retry_mends_stops_the_job_and_keeps_what_is_done(status, words):
    def script(body, before):
        return "ok" if int(last(body).split()[1]) < 4 else Fault(status)

    with Server(script) as server:
        with pytest.raises(EndpointRefused, match=words) as caught:
            Client(at(server, concurrency=1)).ask(asks(100))
        assert "4 of 100 prompts are answered" in str(caught.value)
        assert sum(a is not None for a in caught.value.answers) == 4
        assert server.asked.total() == 5


def test_a_prompt_that_moderation_refuses_fails_alone():
    with Server(lambda body, n: Fault(403, body="flagged") if last(body) == "prompt 2" else "ok") as server:
        answers = Client(at(server, concurrency=1)).ask(asks(4))
    assert [isinstance(a, Failure) for a in answers] == [False, False, True, False]
    assert "flagged" in str(answers[2])


def test_a_used_up_quota_is_no_rate_limit():
    fault = Fault(429, body='{"error": {"code": "insufficient_quota"}}')
    with Server(lambda b, n: fault) as server, pytest.raises(EndpointRefused, match="quota"):
        Client(at(server)).ask(asks(1))
    assert server.asked.total() == 1


def test_a_dead_endpoint_is_given_up():
    with Server() as server:
        url = server.url
    with pytest.raises(EndpointDown, match="prompts in a row") as caught:
        Client(Endpoint(url, "m", retries=1, backoff=0.001, concurrency=2)).ask(asks(500))
    assert url in str(caught.value)


class Verdict(BaseModel):
    score: int
    why: str


def structured(answers):
    """A script that gives these answers, one per question about the same prompt."""

    def script(body, before):
        return answers[sum(m["role"] == "assistant" for m in body["messages"])]

    return script


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 3, "why": "so"}',
        'Sure!\n```json\n{"score": 3, "why": "so"}\n```\nAnything else?',
        '<think>{hm}</think>Here: {"score": 3, "why": "so"} .',
    ],
)
def test_an_object_is_found_in_the_answer(text):
    with Server(lambda b, n: text) as server:
        (answer,) = Client(at(server)).ask(asks(1), schema=Verdict)
    assert answer.value == Verdict(score=3, why="so")
    assert '"score"' in last(server.bodies[0])


def test_an_answer_that_does_not_fit_is_sent_back_once():
    with Server(structured(['{"score": "many"}', '{"score": 2, "why": "mended"}'])) as server:
        client = Client(at(server, structured="json_schema"))
        (answer,) = client.ask(asks(1), schema=Verdict)
        assert answer.value.why == "mended"
        assert "score: Input should be a valid integer" in last(server.bodies[1])
        assert "why: Field required" in last(server.bodies[1])
        assert server.bodies[1]["messages"][1] == {"role": "assistant", "content": '{"score": "many"}'}
        assert server.bodies[0]["response_format"]["json_schema"]["name"] == "Verdict"
        again = client.ask(asks(1), schema=Verdict)
        assert again[0].value == answer.value
        assert server.asked.total() == 2


@pytest.mark.parametrize("bad", ['{"score": 1}', "no idea", '{"score": 1, "why": "cut'])
def test_a_second_misfit_fails_this_prompt_alone(bad):
    def script(body, before):
        return '{"score": 1, "why": "ok"}' if "prompt 1" in body["messages"][0]["content"] else bad

    with Server(script) as server:
        answers = Client(at(server)).ask(asks(3), schema=Verdict)
        assert server.asked.total() == 5
    assert [isinstance(a, Failure) for a in answers] == [True, False, True]
    assert "“prompt 2”" in str(answers[2])
    assert "does not fit Verdict" in str(answers[2])


def test_costs_are_counted_from_usage():
    with Server(lambda b, n: completion("x", usage=(1000, 100))) as server:
        client = Client(at(server, input_price=2.0, output_price=10.0))
        client.ask(asks(3))
        assert client.spent.cost == pytest.approx(3 * (1000 * 2 + 100 * 10) / 1e6)
        assert "cost unknown" in str(Client(at(server)).spent)
    with Server(lambda b, n: completion("x", usage=None)) as server:
        client = Client(at(server, input_price=2.0, output_price=10.0))
        client.ask(asks(3))
    assert "3 without a count of tokens" in str(client.spent)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("usage", [(30, 20), None], ids=["usage", "no usage"])
def test_the_budget_is_never_exceeded_and_a_larger_one_goes_on(concurrency, usage):
    prices = {"input_price": 1000.0, "output_price": 1000.0}  # a token costs 0.001
    budget = 1.0
    with Server(lambda b, n: completion("x", usage=usage), seconds=0.005) as server:
        endpoint = at(server, concurrency=concurrency, **prices)
        client = Client(endpoint, budget=budget)
        with pytest.raises(BudgetSpent, match="larger budget") as caught:
            client.ask(asks(50))
        asked = server.asked.total()
        worst = (most_tokens(asks(1)[0]) + 20) / 1000
        assert asked * 0.05 <= budget
        if usage:  # used up to what one more call could cost
            assert client.spent.cost == pytest.approx(asked * 0.05)
            assert client.spent.cost + worst + 0.01 > budget
        assert sum(isinstance(a, Reply) for a in caught.value.answers) == asked > 0
        answers = Client(endpoint, budget=100.0).ask(asks(50))
        assert len(all_answered(answers)) == 50
        assert server.asked.total() == 50


def test_what_timed_out_counts_against_the_budget():
    def script(body, before):
        time.sleep(0.3)
        return "late"

    with Server(script) as server:
        client = Client(at(server, timeout=0.1, retries=50, input_price=1000, output_price=1000), budget=0.5)
        with pytest.raises(BudgetSpent):
            client.ask(asks(1))
    assert client.spent.unsure == server.asked.total() == int(0.5 / ((most_tokens(asks(1)[0]) + 20) / 1000))


def test_clients_of_several_prices_spend_of_one_budget():
    """A call costs .05 at the first price and .10 at the second; 1.0 of the budget was spent before."""
    worst = (most_tokens(asks(1)[0]) + 20) / 1000
    budget = Budget(1.0 + 0.05 * 4 + 0.10 * 3 + 2 * worst + 0.01, gone=1.0)
    with Server(lambda b, n: completion("x", usage=(30, 20))) as server:
        cheap = at(server, concurrency=1, input_price=1000.0, output_price=1000.0)
        dear = replace(cheap, model="other", input_price=2000.0, output_price=2000.0)
        first, second = Client(cheap, budget=budget), Client(dear, budget=budget)
        first.ask(asks(4))
        with pytest.raises(BudgetSpent, match=f"of budget = {budget.amount:.4g}") as caught:
            second.ask(asks(50))
        # a dear call is made while its bound, 2 * worst, is left: so it is after three of them, and not after four
        assert len([a for a in caught.value.answers if a]) == 4
        assert second.spent.cost == pytest.approx(0.1 * second.spent.calls)
        assert budget.left == pytest.approx(budget.amount - 1.0 - 0.2 - second.spent.cost)
        assert budget.left < 2 * worst
        with pytest.raises(BudgetSpent):
            first.ask([Request.of("x" * 10_000, max_tokens=20)])
    together = first.spent.counts + second.spent.counts
    assert (together.calls, together.prompt_tokens) == (4 + second.spent.calls, 30 * (4 + second.spent.calls))
    left = together - first.spent.counts
    assert (left.calls, left.cost) == (second.spent.calls, pytest.approx(second.spent.cost))
    assert (together + Spent(cost=None)).cost is None


def test_a_budget_needs_prices_and_bounds():
    with Server() as server:
        with pytest.raises(HalignError, match="input_price"):
            Client(at(server), budget=1.0)
        with pytest.raises(HalignError, match="max_tokens"):
            Client(at(server, input_price=1, output_price=1), budget=1.0).ask([Request.of("Hi")])
    assert not server.asked


def test_a_dry_run_asks_nothing_and_says_how_it_counts(tokenizer, tmp_path):
    with Server() as server:
        client = Client(at(server))
        client.ask(asks(2))
        found = client.dry_run([*asks(5), *asks(5)])
        assert found.calls == 3
        assert found.cached == 7
        assert found.prompt_tokens == 3 * 2  # 8 characters each
        assert found.reply_tokens == 60
        assert "characters/4" in str(found)
        assert "cost unknown" in str(found)
        assert server.asked.total() == 2
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        priced = at(server, tokenizer=str(tmp_path / "tokenizer"), input_price=1e6, output_price=1e6)
        counted = Client(priced).dry_run(asks(3))
        text = tokenizer.apply_chat_template(
            list(asks(3)[2].messages), tokenize=False, add_generation_prompt=True
        )
        assert counted.prompt_tokens == len(tokenizer(text)["input_ids"])
        assert counted.cost == counted.prompt_tokens + 20
        assert "by the tokenizer" in str(counted)
        with pytest.raises(HalignError, match="not on this machine"):
            Client(at(server, tokenizer=str(tmp_path / "none"))).dry_run(asks(3))
        assert client.dry_run([Request.of("Hi")]).cost is None


def test_the_cache_is_safe_among_threads_and_stores_a_key_once(tmp_path):
    file = tmp_path / "replies.sqlite"
    got = []

    def write(name):
        with ReplyCache(file) as cache:
            got.extend(cache.put(f"key {i}", "m", "{}", f"{name} {i}") for i in range(30))

    threads = [threading.Thread(target=write, args=(n,)) for n in "abcd"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with ReplyCache(file) as cache:
        assert len(cache) == 30
        kept = {cache.get(f"key {i}") for i in range(30)}
    assert set(got) == kept  # everyone was given what is kept


def test_a_damaged_cache_is_named(tmp_path):
    file = tmp_path / "replies.sqlite"
    file.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(HalignError, match=r"replies\.sqlite.*HALIGN_CACHE"):
        ReplyCache(file)


def test_the_cache_is_durable(tmp_path):
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        assert cache._base.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert cache._base.execute("PRAGMA synchronous").fetchone()[0] == 2
        cache.put("a", "m", "{}", "x")
        other = sqlite3.connect(tmp_path / "r.sqlite")  # seen by others at once
        assert other.execute("SELECT reply FROM replies").fetchall() == [("x",)]
        other.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "localhost:8000"}, "no http"),
        ({"url": "http://me:secret-word@host/v1"}, "key_env"),
        ({"url": "http://host/v1?api_key=secret-word"}, "key_env"),
        ({"concurrency": 0}, "concurrency = 0"),
        ({"timeout": 0}, "timeout = 0"),
        ({"model": ""}, "model"),
        ({"input_price": -1}, "input_price"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(HalignError, match=words) as caught:
        Endpoint(**{"url": "http://host/v1", "model": "m", **settings})
    assert "secret-word" not in str(caught.value)
