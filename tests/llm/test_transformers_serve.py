"""Against a real server: the OpenAI-compatible one that transformers ships, offline, with a tiny model made here."""

from __future__ import annotations

import pytest

from halign.dialogue import Dialogue
from halign.judges import PairwiseLabeller
from halign.llm import Client, Endpoint, Request, all_answered
from halign.sampling import EndpointSampler
from tests.llm.serving import serving

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from tests.conftest import make_llama, make_tokenizer

    tokenizer = make_tokenizer()
    folder = tmp_path_factory.mktemp("served") / "model"
    model = make_llama(tokenizer)
    model.generation_config.do_sample = True
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with serving(folder) as url:
        yield url, folder


@pytest.mark.long
def test_a_real_server_is_asked_sampled_and_judged_with(served):
    url, folder = served
    client = Client(Endpoint(url, str(folder), concurrency=3, input_price=1.0, output_price=1.0))
    requests = [Request.of(f"Hello {i}", max_tokens=8, temperature=1.0) for i in range(6)]
    guess = client.dry_run(requests)
    assert "by the tokenizer" in str(guess)  # the model is a folder here
    replies = all_answered(client.ask(requests))
    assert len(replies) == 6
    assert client.spent.prompt_tokens == guess.prompt_tokens
    assert 6 <= client.spent.completion_tokens <= 48
    assert all_answered(client.ask(requests)) == [
        r.__class__(**{**r.__dict__, "cached": True}) for r in replies
    ]
    assert client.spent.calls == 6

    prompt = Dialogue.of([{"role": "user", "content": "Hello"}], guardrails=("Be kind.",))
    ((one, two),) = EndpointSampler(client).sample([prompt], n=2, max_new_tokens=12, seed=5)
    assert one.text != two.text
    labels = PairwiseLabeller(client, samples=2).label([prompt], [one.text], [two.text])
    assert labels.by_logprobs == 0  # this server gives none, and says nothing about it
    assert labels.by_samples == 2
