"""Jobs that are killed at any moment: nothing is lost, stored twice, or paid again."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from halign.cache import cache_dir
from halign.llm import Client, Endpoint
from tests.llm.job import requests
from tests.llm.server import Server, last

ROOT = Path(__file__).resolve().parents[2]
COUNT, AT_ONCE, KILLS = 100, 4, 4


def start(url: str, count: int = COUNT) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.llm.job", url, str(count)], stdout=subprocess.PIPE, env=env, cwd=ROOT
    )


def stored() -> list[str]:
    """The prompts whose replies are in the cache, one entry per row."""
    file = cache_dir("llm") / "replies.sqlite"
    if not file.exists():
        return []
    with sqlite3.connect(file) as base:
        try:
            rows = base.execute("SELECT request, reply FROM replies").fetchall()
        except sqlite3.OperationalError:  # killed before the table was made
            return []
    for request, reply in rows:
        assert json.loads(reply)["text"] == f"echo {last(json.loads(request))}"
    return [last(json.loads(request)) for request, _ in rows]


def test_a_job_killed_again_and_again_answers_every_prompt_exactly_once():
    rng = random.Random(os.getpid())
    kept: set[str] = set()
    with Server(seconds=0.02) as server:
        kills = 0
        while kills < KILLS and len(kept) < COUNT:
            job, before = start(server.url), server.asked.total()
            target = before + rng.randint(0, COUNT // 5)
            until = time.monotonic() + 30
            while server.asked.total() <= target and job.poll() is None and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.03)
            asked = server.asked.copy()
            job.send_signal(signal.SIGKILL)
            job.wait()
            kills += 1
            time.sleep(0.05)  # requests on their way reach the server
            now = stored()
            assert len(now) == len(set(now))
            assert kept <= set(now)  # a kill loses nothing that was stored before
            assert len(set(asked) - set(now)) <= AT_ONCE * kills
            kept = set(now)
            assert kept <= set(server.asked)
        paid, times = kept, server.asked.copy()
        job = start(server.url)
        replies = json.loads(job.communicate(timeout=60)[0])
        assert replies == [f"echo prompt {i}" for i in range(COUNT)]
        assert all(server.asked[p] == times[p] for p in paid)  # what was stored is not asked again
        assert sum(n - 1 for n in server.asked.values()) <= AT_ONCE * kills  # only what was in flight is
        assert max(server.asked.values()) <= kills + 1
        final = stored()
        assert len(final) == len(set(final)) == COUNT
        again = Client(Endpoint(server.url, "m")).ask(requests(COUNT))
        assert [r.text for r in again] == replies
        assert server.asked.total() == sum(times.values()) + COUNT - len(paid)


def test_several_processes_share_one_cache():
    with Server(seconds=0.005) as server:
        jobs = [start(server.url, 60) for _ in range(2)]
        results = [json.loads(j.communicate(timeout=60)[0]) for j in jobs]
    assert results == [[f"echo prompt {i}" for i in range(60)]] * 2
    kept = stored()
    assert len(kept) == len(set(kept)) == 60


def test_an_interrupt_keeps_what_has_arrived():
    with Server(seconds=0.02) as server:
        job = start(server.url, 400)
        while server.asked.total() < 40:
            time.sleep(0.001)
        job.send_signal(signal.SIGINT)
        job.communicate(timeout=30)
        assert job.returncode != 0
        assert 40 - AT_ONCE <= len(stored()) < 400
        assert server.asked.total() - len(stored()) <= AT_ONCE
