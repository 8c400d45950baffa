"""The page of judged folders: what stands in it, what is packed for the explorer, what must never be in it."""

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest

from halign.audits import position_bias
from halign.evaluate.bradley_terry import bradley_terry
from halign.evaluate.intervals import rate
from halign.evaluate.matches import Matches
from halign.judges.records import GradeRecord, Judged
from halign.reporting import Training, report
from halign.reporting.books import Books
from halign.reporting.explorer import Table
from halign.reporting.judged_sections import frontiers
from halign.reporting.page import gather, run_command
from halign.reporting.pool import Pool
from halign.reporting.run_data import run_data
from halign.reporting.standings import boards
from tests.reporting import synthetic
from tests.reporting.folders import HOSTILE, MODELS, judged_folder
from tests.reporting.test_report import check

SCRIPT = re.compile(r"<script\b.*?</script>", re.S)


def unpacked(text):
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("judged")
    return [
        judged_folder(home / "first", items=30),
        judged_folder(home / "second", items=30, judge="other", grades=False, facts=False),
    ]


def test_the_page_says_the_numbers_of_the_functions(folders, tmp_path):
    html = report([synthetic.run_folder(tmp_path / "tuned"), *folders]).save(tmp_path / "r.html").read_text()
    text = check(SCRIPT.sub("", html))
    for words in (
        "Leaderboard",
        "Rule by rule",
        "Every verdict",
        "The judges",
        "What was judged",
        "Cost and time",
    ):
        assert words in text
    wins, clusters = [], []
    for r in Judged.read(folders[0]).pairs:
        if r.outcome and "tuned" in (r.a, r.b):
            wins.append((1 + r.outcome.advantage * (1 if r.a == "tuned" else -1)) / 2)
            clusters.append(r.conversation)
    i = rate(wins, clusters)
    assert f"{100 * i.value:.1f} % {100 * i.low:.1f}–{100 * i.high:.1f} · {len(wins)}" in text
    rated = bradley_terry(Matches.of(Judged.read(folders[0]).pairs)).ratings["tuned"]
    assert f"{rated.value:.0f} {rated.low:.0f}–{rated.high:.0f} · {rated.n}" in text
    first = position_bias(Judged.read(folders[0]).pairs).first
    assert f"{100 * first.value:.1f} % {100 * first.low:.1f}–{100 * first.high:.1f}" in text
    assert "second: judging is not finished" in text
    assert "6,000 calls; 0.25" in text
    assert "1 min 15 s" in text
    assert "halign judge items.jsonl --judge careful" in text
    assert f"halign train --config {tmp_path}/tuned/config.yaml --output NEW/tuned" in text
    assert html.count("<script>") == 1
    digest = re.search(r"script-src 'sha256-([^']+)'", html.replace("&#39;", "'"))
    assert digest
    assert "default-src" in html


def test_every_verdict_is_packed_with_its_texts(folders):
    pool = Pool.of([Judged.read(f) for f in folders])
    packed = Table(pool).packed()
    table = unpacked(packed.table)
    texts = [t for piece in packed.pieces for t in unpacked(piece)]
    assert packed.verdicts == len(pool.seen) == len(table["rows"]["item"]) == 30 * 12 + 30 * 3
    assert len(texts) == len(table["items"]) == 30  # both judges saw the same items
    rows = table["rows"]
    for n, seen in enumerate(pool.seen):
        r = seen.record
        assert table["items"][rows["item"][n]] == r.item
        assert table["judges"][rows["judge"][n]] == r.judge
        assert texts[rows["item"][n]]["why"].get(str(n), []) == list(r.why)
        if isinstance(r, GradeRecord):
            assert (table["models"][rows["a"][n]], rows["b"][n]) == (r.model, -1)
            assert (rows["value"][n], rows["fine"][n]) == (r.value, int(bool(r.acceptable)))
            assert table["rules"][rows["rule"][n]] == r.guardrail
        else:
            said = [table["verdicts"][rows[k][n]] if rows[k][n] >= 0 else None for k in ("first", "second")]
            assert said == [r.first, r.second]
            assert rows["split"][n] & 1 == (r.outcome is not None and not r.outcome.agrees)
            assert (table["troubles"][rows["trouble"][n]] if rows["trouble"][n] >= 0 else None) == r.trouble
    assert texts[1]["replies"]["tuned"].endswith(HOSTILE)
    assert texts[0]["prompt"][-1] == ["user", "It is 1000.", ""]


def test_texts_come_in_pieces_that_find_their_items(folders, monkeypatch):
    monkeypatch.setattr("halign.reporting.explorer.PIECE", 2000)
    pool = Pool.of([Judged.read(folders[0])])
    packed = Table(pool).packed()
    starts = unpacked(packed.table)["starts"]
    assert len(starts) == len(packed.pieces) > 3
    for start, piece in zip(starts, packed.pieces, strict=True):
        assert unpacked(piece)[0]["replies"] == pool.items[start].replies
    assert Table(pool).whole()["models"] == list(MODELS)


def test_nothing_hostile_and_no_secret_is_in_the_page(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_API_KEY", "item-17,")  # what a reply says happens to be a key
    run = synthetic.run_folder(tmp_path / "run")
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "note: sk-0123456789abcdef\n")
    monkeypatch.setenv("LAB_TOKEN", "sk-0123456789abcdef")
    html = report([run, *folders]).html
    assert HOSTILE not in html
    assert "<img" not in html
    assert "<b>bold</b>" not in html
    assert "sk-0123456789abcdef" not in html
    assert "[LAB_TOKEN]" in html
    monkeypatch.setenv("SHOP_API_KEY", "item-17.")
    texts = [json.dumps(unpacked(p)) for p in Table(Pool.of([Judged.read(folders[0])])).packed().pieces]
    assert any("[SHOP_API_KEY]" in t for t in texts)
    assert not any("item-17." in t for t in texts)


def test_a_folder_in_which_judging_has_begun_or_was_cut(tmp_path):
    cut = judged_folder(tmp_path / "cut", items=4, facts=False)
    whole = (cut / "verdicts.jsonl").read_bytes()
    (cut / "verdicts.jsonl").write_bytes(whole[: len(whole) // 2])
    assert "judging is not finished" in check(SCRIPT.sub("", report([cut]).html))
    (cut / "verdicts.jsonl").unlink()
    text = check(SCRIPT.sub("", report([cut]).html))
    assert "there are no verdicts yet" in text
    assert "Every verdict" not in text
    (cut / "items.jsonl").write_text("")
    assert "prompts and replies cannot be read" in check(SCRIPT.sub("", report([cut]).html))


def test_a_torn_last_line_of_metrics_is_left_out(tmp_path):
    run = synthetic.run_folder(tmp_path / "run", steps=3)
    whole = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(whole[:-9])
    assert len(Training.read(run).metrics) == whole.count(b"\n") - 1
    check(report([run]).html)


def test_folders_of_one_name_are_told_apart(tmp_path):
    a, b = synthetic.run_folder(tmp_path / "a" / "run"), synthetic.run_folder(tmp_path / "b" / "run")
    text = check(report([a, b]).html)
    assert "a/run and b/run" in text


def test_the_frontier_has_reply_length_and_the_distance_that_runs_of_those_names_log(folders, tmp_path):
    runs = []
    for name, kl in (("tuned", 3.25), ("start", 0.0)):
        run = synthetic.run_folder(tmp_path / name, steps=2)
        with (run / "metrics.jsonl").open("a") as f:
            f.write(json.dumps({"step": 3, "split": "eval", "kl": kl}) + "\n")
        runs.append(run)
    evidence = gather([*runs, folders[0]])
    books = Books.of(evidence.judged)
    ranked = boards(books.tally, books.examined.ratings, books.pool.models)
    drawn = dict(frontiers(evidence, books.prompts.lengths, ranked, {}))
    assert list(drawn) == [
        "helpfulness, win rate by careful, against words per reply",
        "helpfulness, win rate by careful, against KL of own replies from the reference, nats",
        "adherence, acceptable by yes-no, against words per reply",
        "adherence, acceptable by yes-no, against KL of own replies from the reference, nats",
    ]
    charts = list(drawn.values())
    assert [c.count("<circle") for c in charts] == [3, 2, 3, 2]
    assert ">0<" in charts[1]
    assert ">4<" in charts[1]  # the axis reaches over the distance of 3.25


def test_what_a_run_was_trained_on(tmp_path):
    run, data = synthetic.run_folder(tmp_path / "run"), tmp_path / "pairs.jsonl"
    data.write_text("{}\n")
    (tmp_path / "pairs.jsonl.card.yaml").write_text("licence: CC BY 4.0\n")
    settings = f"data: {data}\ndata_fingerprint: 0123456789abcdef\nmodel: base\n"
    (run / "config.yaml").write_text(settings)
    said = dict(run_data(gather([run]).models))
    assert said["run: data"] == f"{data}; fingerprint 0123456789ab; licence: CC BY 4.0"
    assert said["run: model"] == "base"
    assert "licence: CC BY 4.0" in check(report([run]).html)


def test_a_loop_is_done_again_by_its_own_command(tmp_path):
    run = synthetic.run_folder(tmp_path / "my loop")
    (run / "config.yaml").write_text("loop: rloo\nlearning_rate: 1.0e-5\n")
    words = run_command("my loop", Training.read(run))
    assert words == f"halign run rloo --config '{run}/config.yaml' --output 'NEW/my loop'"
