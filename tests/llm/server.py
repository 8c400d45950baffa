"""An OpenAI-compatible chat server of the tests' own, which misbehaves as told and remembers what it saw."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[dict[str, Any], int], Any]
"""(request body, how often this prompt was asked before) -> a reply's text, a whole ``completion``, or a ``Fault``."""


class Fault:
    """What goes wrong instead of a reply."""

    def __init__(
        self, status: int = 0, headers: dict[str, str] | None = None, body: str = "", cut: bool = False
    ):
        self.status, self.headers, self.body, self.cut = status, headers or {}, body, cut


def completion(
    text: str, finish: str = "stop", usage: Any = (10, 5), top: Any = None, **message: Any
) -> dict[str, Any]:
    """The body of a chat completion; ``top``: one dict of token -> logprob per position, the written token first."""
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **message},
    }
    if top is not None:
        choice["logprobs"] = {
            "content": [
                {
                    "token": next(iter(t)),
                    "logprob": next(iter(t.values())),
                    "top_logprobs": [{"token": k, "logprob": v} for k, v in t.items()],
                }
                for t in top
            ]
        }
    made = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    if usage:
        made["usage"] = {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
    return made


def last(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"]


class Server:
    """``with Server(script) as server``: at ``server.url`` until the end of the block.

    Attributes:
        asked: prompt (its last message) -> requests; ``bodies``, ``headers``: of each, in order.
        most: requests in flight at once, at most.
        times: when each request came.
    """

    def __init__(self, script: Script = lambda body, before: f"echo {last(body)}", seconds: float = 0.0):
        self.script, self.seconds = script, seconds
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.flying = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self) -> Server:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                outer.handle(self)

            def log_message(self, *args):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # clients that are killed hang up

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        return self

    def __exit__(self, *error: Any) -> None:
        self.http.shutdown()
        self.http.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["content-length"])))
        with self.lock:
            before = self.asked[last(body)]
            self.asked[last(body)] += 1
            self.bodies.append(body)
            self.headers.append({k.lower(): v for k, v in request.headers.items()})
            self.times.append(time.monotonic())
            self.flying += 1
            self.most = max(self.most, self.flying)
        try:
            time.sleep(self.seconds)
            done = self.script(body, before)
        finally:
            with self.lock:
                self.flying -= 1
        if isinstance(done, Fault):
            return self.fail(request, done)
        if isinstance(done, str):
            done = completion(done)
        return self.send(request, 200, json.dumps(done))

    def fail(self, request: BaseHTTPRequestHandler, fault: Fault) -> None:
        if fault.cut:
            request.wfile.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"
            )
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        self.send(request, fault.status, fault.body or '{"error": {"message": "no"}}', fault.headers)

    def send(
        self, request: BaseHTTPRequestHandler, status: int, body: str, headers: dict[str, str] | None = None
    ) -> None:
        data = body.encode()
        request.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            request.send_header(name, value)
        request.send_header("content-length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
