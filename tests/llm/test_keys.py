"""A planted key must reach the server, and nothing that is written, shown or raised."""

from __future__ import annotations

import logging
import pickle
import traceback

import pytest
from pydantic import BaseModel

from halign.cache import cache_dir
from halign.errors import HalignError
from halign.llm import Client, Endpoint, EndpointRefused, Request
from tests.llm.server import Fault, Server

KEY = "sk-planted-0123456789abcdef"


class Shape(BaseModel):
    a: int


def test_a_key_goes_to_its_server_and_nowhere_else(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "halign"):
        caplog.set_level(logging.DEBUG, logger=name)
    written = []
    faults = [
        Fault(500, body=f"bad key {KEY}"),
        Fault(429, {"x-echo": "no"}, body=KEY),
        Fault(200, body=f"{{{KEY}"),
        f"your key is {KEY}",
        f'{{"a": "{KEY}"}}',
    ]
    with Server(lambda body, before: faults[min(before, 4)]) as server:
        endpoint = Endpoint(server.url, "m", key_env="MY_KEY", backoff=0.001)
        client = Client(endpoint)
        for schema in (None, Shape):
            answers = client.ask([Request.of("Hi"), Request.of("Ho")], schema=schema)
            written += [repr(answers), str(answers)]
        written += [str(client.dry_run([Request.of("Hi")]))]
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    for status in (401, 403, 404, 400):
        with Server(lambda b, n, s=status: Fault(s, body=f'{{"error": "Incorrect key: {KEY}"}}')) as server:
            refused = Client(Endpoint(server.url, "m", key_env="MY_KEY"))
            if status == 400:
                written.append(str(refused.ask([Request.of("Hi")])))
                continue
            with pytest.raises(EndpointRefused) as caught:
                refused.ask([Request.of("Hi")])
            written += [
                str(caught.value),
                repr(caught.value),
                "".join(traceback.format_exception(caught.value)),
            ]
    written += [repr(x) + str(x) for x in (endpoint, client, client.spent, refused)] + [caplog.text]
    written += [pickle.dumps(endpoint).decode("latin-1")]
    assert "[key]" in "".join(written)  # the server's echoes did come through
    assert "again in" in caplog.text
    assert not [w[max(0, w.find(KEY) - 80) : w.find(KEY)] for w in written if KEY in w]
    files = [f for f in cache_dir().rglob("*") if f.is_file()]
    assert files
    assert not [f for f in files if KEY.encode() in f.read_bytes()]


def test_a_missing_key_is_named_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with Server() as server, pytest.raises(HalignError, match="variable MY_KEY is not set"):
        Client(Endpoint(server.url, "m", key_env="MY_KEY")).ask([Request.of("Hi")])
    assert not server.asked


def test_openais_key_goes_to_openai_only(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    assert Endpoint("https://api.openai.com/v1", "m").secret() == KEY
    with Server() as server:
        Client(Endpoint(server.url, "m")).ask([Request.of("Hi")])
    assert all(KEY not in v for h in server.headers for v in h.values())


def test_a_key_in_place_of_its_variable_is_refused_and_not_repeated():
    with pytest.raises(HalignError, match="never the key itself") as refused:
        Endpoint("https://host/v1", "m", key_env=KEY)
    assert KEY not in str(refused.value)
