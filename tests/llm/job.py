"""A job to be killed: ``python -m tests.llm.job URL COUNT``; prints its replies as JSON."""

from __future__ import annotations

import json
import sys

from halign.llm import Client, Endpoint, Request, all_answered


def requests(count: int) -> list[Request]:
    return [Request.of(f"prompt {i}", max_tokens=20) for i in range(count)]


if __name__ == "__main__":
    url, count = sys.argv[1], int(sys.argv[2])
    replies = all_answered(Client(Endpoint(url, "m", concurrency=4)).ask(requests(count)))
    print(json.dumps([r.text for r in replies]))
