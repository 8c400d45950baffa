"""Following jobs: torn lines wait, what is new is said once, and only this machine is answered."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from halign.errors import HalignError
from halign.judges.records import FACTS, VERDICTS
from halign.reporting.following import Followed, Tail
from halign.reporting.serve import HOST, LiveReport
from tests.reporting import synthetic
from tests.reporting.browser import BROWSER, Browser
from tests.reporting.folders import judged_folder


def test_a_torn_line_waits_for_its_end(tmp_path):
    file = tmp_path / "metrics.jsonl"
    tail = Tail(file)
    assert tail.more() == (False, [])
    file.write_bytes(b'{"step": 1}\n{"ste')
    assert tail.more() == (False, [(1, b'{"step": 1}')])
    assert tail.more() == (False, [])
    with file.open("ab") as f:
        f.write('p": 2, "é'.encode()[:-1])
    assert tail.more() == (False, [])
    with file.open("ab") as f:
        f.write(b'\xa9": "x"}\n\n{"step": 4}\n')
    assert tail.more() == (False, [(2, '{"step": 2, "é": "x"}'.encode()), (4, b'{"step": 4}')])


def test_a_file_that_is_begun_anew_is_read_anew(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text("1\n2\n")
    tail = Tail(file)
    assert len(tail.more().lines) == 2
    file.write_text("1\n")  # a run that goes on from its checkpoint forgets what came after
    assert tail.more() == (True, [(1, b"1")])
    other = tmp_path / "other"
    other.write_text("7\n8\n")
    os.replace(other, file)
    assert tail.more() == (True, [(1, b"7"), (2, b"8")])
    file.write_text("7\n9\n10\n")  # cut, and longer than before when it is looked at
    assert tail.more() == (True, [(1, b"7"), (2, b"9"), (3, b"10")])


def test_a_look_reads_what_is_new_and_no_more(tmp_path):
    """Bytes read do not depend on how long the file is."""
    file = tmp_path / "verdicts.jsonl"
    file.write_bytes(b"x" * 99 + b"\n")
    tail = Tail(file)
    tail.more()
    read = []
    for length in (10, 10_000):
        with file.open("ab") as f:
            f.write((b"y" * 99 + b"\n") * length)
        tail.more()
        with file.open("ab") as f:
            f.write(b"z" * 99 + b"\n")
        with file.open("rb") as f:
            assert len(tail._read(Counted(f, read)).lines) == 1
    assert read == [256, 100, 256, 100]


class Counted:
    def __init__(self, file, read):
        self.file, self.bytes = file, read

    def seek(self, to):
        self.file.seek(to)

    def read(self, *most):
        found = self.file.read(*most)
        self.bytes.append(len(found))
        return found


def test_the_version_grows_with_what_is_new_and_only_then(tmp_path):
    run, judged = tmp_path / "run", tmp_path / "judged"
    followed = Followed([run, judged])
    first = followed.look()
    assert followed.look() == first
    assert followed.waiting() == [str(run), str(judged)]
    synthetic.run_folder(run)
    (run / "done").unlink()
    assert followed.look() == first + 1
    (run / "metrics.jsonl").open("a").write('{"step": 41, "split": "train", "loss": 1.0}\n')
    assert followed.look() == first + 2
    judged_folder(judged, items=2, facts=False)
    assert followed.look() == first + 3
    assert followed.waiting() == []
    assert not followed.finished
    (run / "done").write_text('{"steps": 41, "seconds": 3}')
    (judged / FACTS).write_text("{}")
    assert followed.look() == first + 4
    assert followed.finished
    assert followed.evidence().models[0].training.metrics[-1]["step"] == 41


@pytest.fixture
def server(tmp_path):
    run = synthetic.run_folder(tmp_path / "run")
    with LiveReport([run, tmp_path / "later"], port=0) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield served, run
        served.shutdown()
        thread.join()


def get(server, path, host=None):
    port = server.server_address[1]
    link = http.client.HTTPConnection(HOST, port, timeout=60)
    link.putrequest("GET", path, skip_host=True)
    link.putheader("Host", host or f"{HOST}:{port}")
    link.endheaders()
    answer = link.getresponse()
    found = answer.status, answer.read().decode()
    link.close()
    return found


def test_the_page_and_what_is_new(server):
    served, run = server
    status, html = get(served, "/")
    assert status == 200
    assert 'data-live="training"' in html
    assert "connect-src &#39;self&#39;" in html
    status, said = get(served, "/live?have=-1")
    news = json.loads(said)
    assert status == 200
    assert "<svg" in news["parts"]["training"]
    assert news["waiting"] == [str(run.parent / "later")]
    assert not news["finished"]
    assert get(served, f"/live?have={news['version']}") == (204, "")
    with (run / "metrics.jsonl").open("a") as f:
        f.write('{"step": 41, "split": "train", "loss": 9.5}\n{"step": 42, "split": "tr')
    after = json.loads(get(served, f"/live?have={news['version']}")[1])
    assert after["version"] == news["version"] + 1
    assert after["parts"]["training"] != news["parts"]["training"]
    judged_folder(run.parent / "later", items=2)
    begun = json.loads(get(served, "/live?have=0")[1])
    assert begun["generation"] != after["generation"]
    assert "Leaderboard" in begun["parts"]["standings"]
    assert "Leaderboard" in get(served, "/")[1]


def test_others_are_refused_and_mistakes_are_told(server):
    served, run = server
    assert get(served, "/", host="evil.example")[0] == 403
    assert get(served, "/../../etc/passwd")[0] == 404
    assert served.server_address[0] == "127.0.0.1"
    assert get(served, "/live?have=x")[0] == 200
    (run.parent / "later").mkdir()
    (run.parent / "later" / VERDICTS).write_text("no verdict\n{}\n")
    assert get(served, "/")[0] == 500
    assert "verdicts.jsonl:1" in get(served, "/")[1]
    with pytest.raises(HalignError, match="--port 0 takes one that is free"):
        LiveReport([run], port=served.server_address[1])


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_a_browser_sees_new_steps_without_loading_anew(server, tmp_path):
    served, run = server
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(served.address)
        browser.until("document.getElementById('live').textContent.includes('Following; last change')")
        assert "Not there yet" in browser.run("document.getElementById('live').textContent")
        browser.run("window.stays = true")
        steps = "document.querySelector('#training tr:nth-child(2) td:nth-child(6)').textContent"
        (run / "done").unlink()
        assert browser.run(steps) == "40"
        with (run / "metrics.jsonl").open("a") as f:
            f.write('{"step": 77, "split": "train", "loss": 9.5}\n')
        browser.until(f"{steps} === '77'")
        assert browser.run("window.stays") is True
    finally:
        browser.close()


def test_the_command_ends_cleanly(tmp_path):
    run = synthetic.run_folder(tmp_path / "run")
    words = [
        sys.executable,
        "-c",
        "from halign.cli.main import main; main()",
        "report",
        str(run),
        "--serve",
        "--port",
        "0",
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert not Path("report.html").exists()
