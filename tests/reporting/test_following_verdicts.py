"""A judging job that runs: what is appended reaches the numbers and the page, and ends in what a report of the folder says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading

import pytest

from halign.errors import DataError
from halign.judges.records import FACTS, ITEMS, VERDICTS, Judged, append
from halign.reporting import report
from halign.reporting.books import Books
from halign.reporting.explorer import Mark
from halign.reporting.following import Followed
from halign.reporting.page import growing_parts
from halign.reporting.serve import LiveReport
from tests.reporting.browser import BROWSER, Browser
from tests.reporting.folders import judged_folder


@pytest.fixture
def whole(tmp_path):
    """Two judges' folders, finished: the second answers the same questions."""
    return [
        judged_folder(tmp_path / "whole" / "first", items=9),
        judged_folder(tmp_path / "whole" / "second", items=9, judge="other", grades=False),
    ]


def written(folder, name, lines, to):
    """Append some lines of a folder's file to another's."""
    to.mkdir(parents=True, exist_ok=True)
    with (to / name).open("ab") as f:
        f.writelines((folder / name).read_bytes().splitlines(keepends=True)[lines])


def joined(table, delta):
    """What the page does with what it is sent."""
    for name, values in delta["rows"].items():
        table["rows"][name] += values
    for name in ("items", "conversations"):
        table[name] += delta[name]
    for row, value in delta["split"]:
        if row < len(table["rows"]["split"]):
            table["rows"]["split"][row] = value
    for name in ("judges", "dimensions", "rules", "models", "scales", "troubles"):
        table[name] = delta[name]
    table["texts"] |= delta["texts"]
    table["mark"] = delta["mark"]


def by_names(table):
    """Every verdict in words, whatever the order in which names and verdicts came."""
    lists = {
        "item": "items", "judge": "judges", "dimension": "dimensions", "rule": "rules", "a": "models", "b": "models",
        "scale": "scales", "trouble": "troubles",
    }  # fmt: skip
    found = []
    for n in range(len(table["rows"]["item"])):
        row = {k: of[n] for k, of in table["rows"].items()}
        row |= {k: table[names][row[k]] if row[k] >= 0 else None for k, names in lists.items()}
        found.append(json.dumps(row, sort_keys=True))
    return sorted(found)


def test_a_job_that_is_followed_ends_in_the_numbers_and_the_table_of_its_folder(tmp_path, whole):
    """Chunk by chunk, items before and after verdicts, lines torn in between; told in answers of at most 7 verdicts."""
    ours = [tmp_path / "first", tmp_path / "second"]
    followed = Followed(ours)
    written(whole[0], ITEMS, slice(0, 2), ours[0])
    written(whole[1], ITEMS, slice(0, 2), ours[1])
    assert followed.look() == 1
    books = followed.books
    table = {**json.loads(json.dumps(books.table.whole())), "texts": {}}
    for start in range(9):
        written(whole[0], VERDICTS, slice(12 * start, 12 * start + 12), ours[0])
        with (ours[0] / VERDICTS).open("ab") as f:
            f.write(b'{"kind": "pa')  # torn: a job was killed here
        followed.look()
        assert books.waiting[0] == (12 if start >= 2 else 0)
        if start >= 2:
            written(whole[0], ITEMS, slice(start, start + 1), ours[0])
        with (ours[0] / VERDICTS).open("rb+") as f:
            f.truncate(f.seek(0, 2) - 12)  # and goes on
        written(whole[1], ITEMS, slice(start + 2, start + 3), ours[1])
        written(whole[1], VERDICTS, slice(3 * start, 3 * start + 3), ours[1])
        followed.look()
        while table["mark"] != list(books.table.mark):
            joined(table, json.loads(json.dumps(books.table.since(Mark(*table["mark"]), 7))))
    for folder, to in zip(whole, ours, strict=True):
        shutil.copy(folder / FACTS, to)
    followed.look()
    assert followed.books is books
    assert followed.generation == 1
    assert followed.finished
    assert by_names(table) == by_names(Books.of([Judged.read(f) for f in whole]).table.whole())
    assert table["rows"] == books.table.rows
    assert table["texts"] == {str(i): books.table.texts(i) for i in range(9)}
    evidence = followed.evidence()
    again = Books.of([Judged.read(f) for f in ours])
    for part, html in growing_parts(evidence, books).items():
        assert html == growing_parts(evidence, again)[part], part


def test_what_is_rewritten_is_read_anew_and_what_is_no_verdict_is_told_until_it_is_mended(tmp_path, whole):
    ours = tmp_path / "first"
    shutil.copytree(whole[0], ours)
    (ours / FACTS).unlink()
    followed = Followed([ours])
    followed.look()
    assert (followed.generation, len(followed.books.pool.seen)) == (1, 108)
    lines = (ours / VERDICTS).read_bytes().splitlines(keepends=True)
    (ours / VERDICTS).write_bytes(
        b"".join(lines[12:])
    )  # failed verdicts are taken out, to be asked for again
    followed.look()
    assert (followed.generation, len(followed.books.pool.seen)) == (2, 96)
    with (ours / ITEMS).open("ab") as f:  # an item says something else than before
        row = json.loads((ours / ITEMS).read_text().splitlines()[0])
        f.write(json.dumps({**row, "replies": {"start": "Another reply."}}).encode() + b"\n")
    followed.look()
    assert followed.generation == 3
    assert followed.books.pool.items[0].replies == {"start": "Another reply."}
    with (ours / VERDICTS).open("ab") as f:
        f.write(b'{"kind": "none"}\n')
    for _ in range(2):
        with pytest.raises(DataError, match=r"verdicts.jsonl:97: not a row of verdicts"):
            followed.look()
    (ours / VERDICTS).write_bytes(b"".join(lines))
    followed.look()
    assert len(followed.books.pool.seen) == 108


def test_what_takes_all_verdicts_waits_for_a_tenth_more_and_for_the_end(tmp_path, whole):
    ours = tmp_path / "first"
    written(whole[0], ITEMS, slice(None), ours)
    written(whole[0], VERDICTS, slice(0, 60), ours)
    followed = Followed([ours])
    examined = []
    for end in (60, 66, 67):
        written(
            whole[0], VERDICTS, slice(max(60, len((ours / VERDICTS).read_bytes().splitlines())), end), ours
        )
        followed.look()
        examined.append(followed.books.examined.verdicts)
    assert examined == [60, 60, 67]
    written(whole[0], VERDICTS, slice(67, 70), ours)
    followed.look()
    assert "of the first 67 verdicts" in growing_parts(followed.evidence(), followed.books)["judges"]
    shutil.copy(whole[0] / FACTS, ours)
    followed.look()
    assert followed.books.examined.verdicts == 70


JOB = """
import sys, time
from pathlib import Path
folder, to = map(Path, sys.argv[1:])
for name in ("verdicts.jsonl",):
    lines = (folder / name).read_bytes().splitlines(keepends=True)[24:]
    with (to / name).open("ab", buffering=0) as f:
        for start in range(0, len(lines), 12):
            chunk = b"".join(lines[start:start + 12])
            f.write(chunk[:-20])
            time.sleep(0.05)
            f.write(chunk[-20:])
(to / "judging.json").write_bytes((folder / "judging.json").read_bytes())
"""


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("searched", ["", "&text=This+is+TUNED+on"])
def test_a_browser_sees_the_verdicts_of_a_process_that_runs_without_loading_anew(tmp_path, whole, searched):
    ours = tmp_path / "first"
    written(whole[0], ITEMS, slice(None), ours)
    written(whole[0], VERDICTS, slice(0, 24), ours)
    with LiveReport([ours], port=0) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        browser = Browser(tmp_path / "profile")
        try:
            browser.open(served.address + "#explore&model=tuned&open=0" + searched)
            browser.until(
                "window.halignExplorer && document.getElementById('count').textContent === '10 of 24 verdicts'"
            )
            browser.until("document.getElementById('live').textContent.includes('last change')")
            browser.run("window.stays = true")
            board = "document.querySelector('#leaderboard tbody tr td:nth-child(3)')?.textContent"
            before = browser.run(board)
            with subprocess.Popen([sys.executable, "-c", JOB, str(whole[0]), str(ours)]) as job:
                browser.until("document.getElementById('count').textContent === '45 of 108 verdicts'")
            assert job.returncode == 0
            browser.until("document.getElementById('live').textContent === 'Everything is finished.'")
            assert browser.run(board) != before
            assert browser.run("window.stays") is True
            assert browser.run("document.getElementById('reading').dataset.row") == "0"
            final = browser.run(
                "['leaderboard', 'rules', 'judges'].map((id) => document.getElementById(id).innerText)"
            )
            assert "1 min 15 s" in browser.run("document.getElementById('costs').innerText")
            browser.run("location.hash = '#explore&text=this+is+tuned+on+item-8&verdict=fine'")
            wanted = "document.getElementById('count').textContent.endsWith(' of 108 verdicts')"
            browser.until(f"{wanted} && !document.getElementById('count').textContent.startsWith('45')")
            browser.open(report([ours]).save(tmp_path / "report.html").as_uri())
            browser.until("window.halignExplorer && document.getElementById('explorer').hidden === false")
            same = "['leaderboard', 'rules', 'judges'].map((id) => document.getElementById(id).innerText)"
            assert browser.run(same) == final
        finally:
            browser.close()
            served.shutdown()
            thread.join()


def test_a_page_that_was_made_before_judging_began_is_told_to_load_anew(tmp_path, whole):
    ours = tmp_path / "first"
    followed = Followed([ours])
    followed.look()
    assert (followed.generation, followed.books) == (0, None)
    append(ours / ITEMS, Judged.read(whole[0]).items.values())
    followed.look()
    assert followed.generation == 1
    assert "there are no verdicts yet" in growing_parts(followed.evidence(), followed.books)["standings"]
