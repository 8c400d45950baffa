"""Leaderboard, rules, judges: numbers worked out by hand, and the very ones of ``evaluate``; folders laid together by item."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from halign.audits import position_bias
from halign.errors import DataError, HalignError
from halign.evaluate import mean, share
from halign.evaluate.intervals import rate
from halign.judges import Verdict
from halign.judges.records import FACTS, ITEMS, VERDICTS, GradeRecord, Judged, JudgedItem, PairRecord, append
from halign.reporting.books import Books
from halign.reporting.conduct import Conducts, agreements, audits, lacking
from halign.reporting.judged_sections import cell
from halign.reporting.judged_sections import missing as missing_of
from halign.reporting.pool import Pool
from halign.reporting.sources import sort_out
from halign.reporting.standings import Tally, heats, ratings
from halign.reporting.standings import boards as boards_of
from tests.reporting import synthetic
from tests.reporting.folders import judged_folder

A, B, BOTH, NEITHER = Verdict.A, Verdict.B, Verdict.BOTH, Verdict.NEITHER


def pair(item, first, second, a="x", b="y", judge="j", conversation=None, trouble=None, guardrail=None):
    return PairRecord(
        item, conversation or f"c{item}", "helpful", judge, a, b, first, second, guardrail, trouble=trouble
    )


def grade(item, model, value, fine=None, scale=(1.0, 10.0), rule=None, judge="j"):
    return GradeRecord(
        item, f"c{item}", "quality", judge, model, value, scale=scale, acceptable=fine, guardrail=rule
    )


def folder(records, items=(), facts=None, path="judged"):
    return Judged(Path(path), {i.item: i for i in items}, list(records), facts or {})


def boards(records, models):
    return boards_of(Tally(records), ratings(records), models)


def split_judges(pool):
    return [s >= 2 for s in Books(pool).table.rows["split"]]


def missing(name, judged):
    found = missing_of(Books.of([judged]))
    assert all(m.startswith(f"{name}: ") for m in found)
    return found


def same(one, other):
    """Two intervals, of sums and of all values at once."""
    assert (one.n, one.clusters) == (other.n, other.clusters)
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-12)


def test_a_win_rate_counts_ties_and_split_orders_half():
    """x against y: won (1), tied (.5), split A/B (.5), split A/BOTH (.75), lost (0): 2.75 of 5; the unreadable one is out."""
    said = [(A, A), (BOTH, BOTH), (A, B), (A, BOTH), (B, B)]
    records = [pair(str(i), *v) for i, v in enumerate(said)] + [pair("6", None, A, trouble="unparsable")]
    (board,) = boards(records, ["x", "y", "z"])
    (x, (of_x, rated)), (y, (of_y, _)) = board.rows
    assert (x, y) == ("x", "y")
    assert (of_x.value, of_y.value) == (pytest.approx(0.55), pytest.approx(0.45))
    same(of_x, rate([1.0, 0.5, 0.5, 0.75, 0.0], list("01234")))
    assert of_y.low == pytest.approx(1 - of_x.high)
    # two models: the odds of .55 are e^d, and 400 / ln 10 points a nat are shared out around 1000
    assert rated.value == pytest.approx(1000 + 200 * math.log10(0.55 / 0.45), abs=0.01)
    assert board.columns[1].what == "rating"
    assert cell(board.columns[1], rated).value == "1017"


def test_models_that_never_lost_have_no_rating_and_the_board_says_so():
    (board,) = boards([pair(str(i), A, A) for i in range(4)], ["x", "y"])
    assert [c.what for c in board.columns] == ["win rate"]
    assert board.rows[0][1][0].value == 1.0
    assert "no path of wins" in board.notes[0]


def test_grades_have_a_share_where_there_is_a_threshold_and_a_mean_on_their_scale():
    records = [grade(str(i), "x", v, v >= 5) for i, v in enumerate((2.0, 6.0, 7.0))] + [grade("9", "y", 10.0)]
    (board,) = boards(records, ["y", "x"])
    assert [c.what for c in board.columns] == ["acceptable", "grade"]
    rows = dict(board.rows)
    same(rows["x"][0], share([False, True, True], ["0", "1", "2"]))
    wanted = mean([2.0, 6.0, 7.0], ["0", "1", "2"])
    assert (rows["x"][1].value, rows["x"][1].high) == (5.0, min(10.0, wanted.high))
    assert rows["y"][0] is None  # nobody said what is acceptable of y
    assert (rows["y"][1].value, rows["y"][1].low, rows["y"][1].high) == (
        10.0,
        1.0,
        10.0,
    )  # one conversation says nothing
    assert board.rows[0][0] == "x"  # ranked by the first column, in which y has no number
    assert cell(board.columns[1], rows["y"][1]).value == "10.00"


def test_rules_come_worst_first_and_stand_in_for_their_dimension():
    kept = {"first": (1, 1, 0, 1), "second": (0, 0, 1, 0)}
    records = [
        grade(str(i), "x", float(k), bool(k), (0.0, 1.0), rule)
        for rule, of in kept.items()
        for i, k in enumerate(of)
    ]
    (heat,) = heats(Tally(records), ["x", "other"])
    assert heat.models == ["x"]
    assert [(rule, cells[0].value) for rule, cells in heat.rows] == [("second", 0.25), ("first", 0.75)]
    same(heat.rows[1][1][0], share([True, True, False, True], list("0123")))
    (board,) = boards(records, ["x"])
    assert board.rows[0][1][0].value == 0.5
    assert board.by_rule == {"quality"}
    (asked,) = boards([*records, grade("1", "x", 1.0, True, (0.0, 1.0))], ["x"])
    assert (
        asked.rows[0][1][0].value == 1.0
    )  # the whole dimension was asked about, so the rules do not stand in
    assert asked.by_rule == frozenset()


def test_what_did_not_come_is_counted_and_the_rest_is_audited():
    items = {str(i): JudgedItem(str(i), f"c{i}", [], {"x": "a b c", "y": "a"}) for i in range(1, 7)}
    del items["4"].replies["y"]
    records = [pair("1", A, B), pair("2", B, A), pair("3", A, BOTH), pair("4", A, A)]
    records += [pair("5", None, None, trouble="abstained"), pair("6", None, A, trouble="failed")]
    (row,) = Conducts(records).rows
    assert (row.asked, row.trouble) == (6, {"abstained": 1, "failed": 1})
    assert lacking(records, items) == {"4"}
    ((name, found),) = audits(Pool.of([folder(records, items.values(), path="some/judged")]))
    assert name == "judged"
    assert found.position == position_bias(records)
    assert found.length.longer.n == 3  # of item 4 a reply is not stored
    (nothing,) = audits(Pool.of([folder([pair("5", None, None, trouble="abstained")])]))
    assert nothing[1].position is None
    assert nothing[1].notes


def test_judges_are_compared_on_the_same_replies_whoever_stood_first():
    item = JudgedItem("1", "c1", [{"role": "user", "content": "hi"}], {"x": "one", "y": "two"})
    mine = folder([pair("1", A, A), grade("1", "x", 1.0, True, (0, 1))], [item], path="mine")
    turned = folder(
        [pair("1", B, B, a="y", b="x", judge="k"), grade("1", "x", 0.0, False, (0, 1), judge="k")], [item]
    )
    pool = Pool.of([mine, turned])
    assert len(pool.items) == 1
    assert split_judges(pool) == [False, True, False, True]
    found = agreements(pool, Books(pool).table.splits)
    assert [(a.dimension, a.same.value) for a in found] == [("helpful", 1.0), ("quality", 0.0)]
    against = folder([pair("1", A, A, a="y", b="x", judge="k")], [item])
    assert split_judges(Pool.of([mine, against])) == [True, False, True]


def test_items_are_one_only_where_no_reply_differs():
    def item(replies, said="hi"):
        return JudgedItem("1", "c1", [{"role": "user", "content": said}], replies)

    folders = [
        folder([pair("1", A, A)], [item(r, said)])
        for r, said in (
            ({"x": "one"}, "hi"),
            ({"y": "two"}, "hi"),
            ({"x": "ONE"}, "hi"),
            ({"x": "one"}, "ho"),
        )
    ]
    pool = Pool.of(folders)
    assert [i.replies for i in pool.items] == [{"x": "one", "y": "two"}, {"x": "ONE"}, {"x": "one"}]
    assert [s.item for s in pool.seen] == [0, 0, 1, 2]
    assert pool.models == ["x", "y"]
    lost = Pool.of([folder([pair("7", A, A)])])
    assert [i.item for i in lost.items] == ["7"]


def test_lengths_and_the_card(tmp_path):
    pool = Pool.of([Judged.read(judged_folder(tmp_path / "f", items=6))])
    texts = [(len(i.replies["start"].split()), i.conversation) for i in pool.items]
    prompts = Books(pool).prompts
    same(prompts.lengths["start"], mean([n for n, _ in texts], [c for _, c in texts]))
    said = dict(prompts.card(pool))
    assert (said["prompts"], said["conversations"], said["replies"], said["verdicts"]) == (
        "6",
        "2",
        "18",
        "72",
    )
    assert said["category"] == "orders 3, returns 3"


def test_what_is_missing_is_said(tmp_path):
    item = JudgedItem("1", "c", [], {})
    assert missing("judged", folder([pair("1", A, A)], [item], {"judge": "j"})) == []
    assert "not finished" in missing("judged", folder([pair("1", A, A)], [item]))[0]
    assert (
        "1 judged items have no row"
        in missing("judged", folder([pair("2", A, A)], [item], {"judge": "j"}))[0]
    )
    assert len(missing("judged", folder([]))) == 3


def test_folders_are_told_apart(tmp_path):
    run, judged = synthetic.run_folder(tmp_path / "run"), judged_folder(tmp_path / "judged", items=2)
    begun = tmp_path / "begun"
    append(begun / ITEMS, [JudgedItem("1", "c", [], {})])
    found = sort_out([judged, run, begun, run])
    assert found.runs == [run]
    assert [len(j.records) for j in found.judged] == [24, 0]
    with pytest.raises(HalignError, match=r"not a run folder \(it has no config.yaml\), not a judged one"):
        sort_out([tmp_path])
    (judged / VERDICTS).write_text('{"kind": "pair"}\n{"kind"')
    with pytest.raises(DataError, match=r"verdicts.jsonl:1"):
        sort_out([judged])
    (judged / VERDICTS).write_text('{"kind": "pa')  # torn: the first verdict is being written
    assert sort_out([judged]).judged[0].records == []
    assert json.loads((judged / FACTS).read_text())["judge"] == "careful"


def test_two_judges_under_one_name_are_kept_apart_by_their_folders():
    def said(path, dimension, **about):
        of = [grade(f"i{k}", "x", 1.0, fine=True) for k in range(2)]
        rubrics = [{"name": dimension, "criteria": about.pop("criteria", "kindness")}]
        return folder(of, facts={"judges": [{"name": "j", "rubrics": rubrics, **about}]}, path=path)

    one, other = said("one", "d", url="http://a/v1"), said("other", "d", url="http://b/v1")
    assert {r.judge for r in Pool.of([one, other]).records} == {"j (one)", "j (other)"}
    assert [b.judge for b in boards(Pool.of([one, other]).records, ["x"])] == ["j (one)", "j (other)"]
    words = said("other", "d", url="http://a/v1", criteria="length")
    assert {r.judge for r in Pool.of([one, words]).records} == {"j (one)", "j (other)"}
    elsewhere, silent = said("other", "e", url="http://a/v1"), folder([grade("i", "x", 1.0)], path="silent")
    assert {r.judge for r in Pool.of([one, elsewhere, silent]).records} == {"j"}
