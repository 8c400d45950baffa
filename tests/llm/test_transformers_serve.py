"""Against a real server: the OpenAI-compatible one that transformers ships, offline, with a tiny model made here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from halign.dialogue import Dialogue
from halign.judges import PairwiseLabeller
from halign.llm import Client, Endpoint, Request, all_answered
from halign.sampling import EndpointSampler

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    code = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = folder.parent / "log"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-c", code, *words], env=env, stdout=out, stderr=out)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1", folder
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(url, process, log):
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not come up:\n{log.read_text()[-3000:]}")


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
