"""Judged folders: resumed without asking twice, cut anywhere, and refused where they hold something else."""

from __future__ import annotations

import json

import pytest

from halign import judges
from halign.errors import DataError, HalignError
from halign.judges import Verdict
from halign.judges.folder import STATE, JudgedFolder, about, counts, judge_cases
from halign.judges.records import FACTS, VERDICTS, Judged
from halign.judges.stored import items_of, stored_items
from halign.llm import BudgetSpent
from halign.llm.cost import most_tokens
from tests.judges.judging import item, saying, shown
from tests.llm.server import Fault, Server

ITEMS = [item(i, A=f"{i} long", B=f"{i} x") for i in range(10)]
CASES = [(i, "A", "B") for i in ITEMS]


class Counting:
    """A judge of its own that counts what it is asked, and may die."""

    dimensions, sees_order = ("length", "first"), True

    def __init__(self, dies_at=None):
        self.asked, self.dies_at = [], dies_at

    def compare(self, prompts, a, b):
        if self.dies_at is not None and len(self.asked) >= self.dies_at:
            raise KeyboardInterrupt
        self.asked += [p.meta["item"] for p in prompts]
        longer = [Verdict.A if len(x) > len(y) else Verdict.B for x, y in zip(a, b, strict=True)]
        return [{"length": v, "first": Verdict.A} for v in longer]


def judged(path, judge, identity=None, **options):
    folder = JudgedFolder(path, identity or {"judges": ["x"]})
    folder.add_items(ITEMS)
    judge_cases(folder, [judge], CASES, chunk=3, **options)
    return folder.finish({"judges": about([judge])})


def test_a_job_that_died_goes_on_where_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path, Counting(dies_at=12))
    assert len(Judged.read(tmp_path).pairs) == 2 * 6
    assert not (tmp_path / FACTS).exists()
    again = Counting()
    seen = []
    whole = judged(tmp_path, again, watch=lambda *s: seen.append(s[:2]))
    assert sorted(set(again.asked)) == ["q6", "q7", "q8", "q9"]
    assert len(again.asked) == 8
    assert seen == [(6, 10), (9, 10), (10, 10)]
    assert whole.facts["counts"] == {"pairs": 20, "grades": 0, "orders disagree": 10}
    assert whole.records == Judged.read(tmp_path).records
    assert judged(tmp_path, Counting(dies_at=0)).records == whole.records
    other = judged(tmp_path / "straight", Counting())
    assert other.records == whole.records


@pytest.mark.parametrize("lost", [1, 40, 700])
def test_a_kill_in_the_middle_of_a_chunk_costs_that_chunk(tmp_path, lost):
    """A chunk that is written in part, at any byte, is cut off as a whole."""
    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path, Counting(dies_at=12))
    state = (tmp_path / STATE).read_text()
    whole = judged(tmp_path, Counting()).records
    kept = json.loads(state)["bytes"]
    (tmp_path / STATE).write_text(state)
    data = (tmp_path / VERDICTS).read_bytes()
    (tmp_path / VERDICTS).write_bytes(data[: kept + lost])
    again = Counting()
    assert judged(tmp_path, again).records == whole
    assert sorted(set(again.asked)) == ["q6", "q7", "q8", "q9"]


def test_other_verdicts_are_not_taken_up(tmp_path):
    judged(tmp_path, Counting())
    with pytest.raises(HalignError, match="another judge, rubric or setting"):
        judged(tmp_path, Counting(), {"judges": ["y"]})
    assert JudgedFolder(tmp_path, {"judges": ["y"]}, overwrite=True).records == []
    (tmp_path / VERDICTS).write_text("")
    with pytest.raises(HalignError, match="not written here"):
        JudgedFolder(tmp_path, {})


def test_failed_answers_are_asked_again_when_wanted(tmp_path):
    down = True

    def script(body, before):
        return Fault(400) if down and "3 " in shown(body)[0][:2] else "1"

    with Server(script) as server:
        judge = judges.llm("m", server.url, dimensions=["naturalness"], read="samples", retries=0)
        first = judged(tmp_path, judge)
        assert first.facts["counts"] == {"pairs": 10, "grades": 0, "orders disagree": 9, "failed": 1}
        asked, down = server.asked.total(), False
        assert judged(tmp_path, judge).records == first.records
        folder = JudgedFolder(tmp_path, {"judges": ["x"]})
        assert folder.drop_failed() == 1
        judge_cases(folder, [judge], CASES)
        assert counts(folder.records) == {"pairs": 10, "grades": 0, "orders disagree": 10}
        assert server.asked.total() == asked + 2


def test_a_spent_budget_keeps_what_was_paid_for(tmp_path):
    with Server(saying(lambda x, y: 1)) as server:
        settings = {"dimensions": ["naturalness"], "read": "samples", "input_price": 1e3, "output_price": 1e3}
        rich = judges.llm("m", server.url, **settings)
        (question,) = rich.pair_questions(*([x] for x in (ITEMS[0].dialogue, "0 long", "0 x")))
        bound = (most_tokens(rich.numbers._request(question)) + 16) * 1e-3  # of one call, which costs .015
        poor = judges.llm("m", server.url, budget=bound + 6.5 * 0.015, concurrency=1, **settings)
        with pytest.raises(BudgetSpent):
            judged(tmp_path, poor)
        paid = server.asked.total()
        assert paid == 7
        whole = judged(tmp_path, rich)
        assert server.asked.total() == 20
        assert set(server.asked.values()) == {1}
        assert whole.facts["calls"] == 20
        assert whole.facts["cost"] == pytest.approx(20 * 0.015)
        (said,) = whole.facts["judges"]
        assert (said["model"], said["rubrics"][0]["name"]) == ("m", "naturalness")


def rows(path, *texts, draws=1, **more):
    made = [
        {
            "conversation": f"c{i}",
            "prompt": [{"role": "user", "content": f"Q{i}"}],
            "responses": [{"content": f"{t} {d}"} for d in range(draws)],
            **more,
        }
        for i, t in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in made))
    return path


def test_items_come_from_what_models_answered(tmp_path):
    a = rows(tmp_path / "a.jsonl", "x", "y", "z", draws=2, guardrails=["Be kind."], meta={"reference": "r"})
    b = rows(tmp_path / "b.jsonl", "u", "v", draws=2, guardrails=["Be kind."])
    found = stored_items({"A": a, "B": b})
    assert [i.item for i in found.items] == ["c0:1", "c0:1#2", "c1:1", "c1:1#2"]
    assert found.items[1].replies == {"A": "x 1", "B": "u 1"}
    assert (found.left_out, found.models) == (2, ["A", "B"])
    assert found.items[0].dialogue.guardrails == ("Be kind.",)
    assert found.items[0].meta == {"reference": "r"}
    folder = JudgedFolder(tmp_path / "j", {})
    folder.add_items(found.items)
    assert items_of(tmp_path / "j").items == found.items
    (tmp_path / "c.jsonl").write_text('{"prompt": "Q", "answer": 3}\n')
    with pytest.raises(DataError, match=r"c.jsonl:1: no prompt and reply: 'responses'"):
        stored_items({"C": tmp_path / "c.jsonl"})
    with pytest.raises(HalignError, match="no prompt that all of them answer"):
        stored_items({"A": a, "D": rows(tmp_path / "d.jsonl", "x")})


def test_two_judges_with_one_name_do_not_share_a_folder(tmp_path):
    folder = JudgedFolder(tmp_path, {})
    with pytest.raises(HalignError, match="two judges are called Counting"):
        judge_cases(folder, [Counting(), Counting()], CASES)
