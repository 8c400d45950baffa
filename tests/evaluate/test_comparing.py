"""Comparisons of two models and of more: on stored replies, resumed, ended by an interval, with a known truth."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch

import halign as hl
from halign.errors import HalignError
from halign.evaluate import compare, compare_all, compare_records
from halign.evaluate.standing import Contest
from halign.judges import Ruling, Verdict
from halign.judges.records import Judged, PairRecord
from halign.llm import Endpoint
from halign.reporting.sections import NAMES
from halign.sampling import Sample
from halign.sampling.versions import version_of
from tests.judges.judging import prompt, saying
from tests.llm.server import Server

PROMPTS = [prompt(i) for i in range(400)]


class Chances:
    """Takes a reply "strength number" for better with the odds of the strengths; the draw is that of its pair."""

    dimensions, sees_order, name = ("overall",), False, "chances"

    def __init__(self):
        self.asked = 0

    def compare(self, prompts, a, b):
        self.asked += len(prompts)
        found = []
        for p, x, y in zip(prompts, a, b, strict=True):
            odds = float(x), float(y)
            draw = random.Random(f"{p.meta['item']} {x} {y}").random()
            found.append({"overall": Verdict.A if draw < odds[0] / sum(odds) else Verdict.B})
        return found


class Says:
    """A sampler that always says the same, and counts."""

    def __init__(self, text):
        self.text, self.asked = text, 0

    def sample(self, prompts, **settings):
        self.asked += len(prompts)
        return [[Sample(self.text)] for _ in prompts]


def test_two_models_are_judged_until_the_interval_is_reached(tmp_path):
    models, judge = {"a": Says("3"), "b": Says("1")}, Chances()
    found = compare_all(models, PROMPTS, judge=judge, interval=0.15, chunk=16, output=tmp_path)
    advantage = found.comparisons["a", "b"].dimensions["overall"].advantage
    assert found.reached
    assert advantage.high - advantage.low <= 0.3
    assert advantage.low < 0.5 < advantage.high
    assert judge.asked == models["a"].asked == found.compared == advantage.n < 200
    assert "every interval is within ±0.15" in found.table()
    again = compare_all(
        {"a": Says("3"), "b": Says("1")}, PROMPTS, judge=judge, interval=0.15, chunk=16, output=tmp_path
    )
    assert again == found
    assert judge.asked == found.compared
    assert Judged.read(tmp_path).facts["interval"] == 0.15


def test_a_comparison_that_died_goes_on_to_the_same_end(tmp_path):
    whole = compare_all(
        {"a": ["3"] * 400, "b": ["1"] * 400}, PROMPTS, judge=Chances(), interval=0.15, output=tmp_path / "x"
    )

    class Dies(Chances):
        def compare(self, prompts, a, b):
            if self.asked > 60:
                raise KeyboardInterrupt
            return super().compare(prompts, a, b)

    with pytest.raises(KeyboardInterrupt):
        compare_all(
            {"a": ["3"] * 400, "b": ["1"] * 400}, PROMPTS, judge=Dies(), interval=0.15, output=tmp_path / "y"
        )
    rest = Chances()
    found = compare_all(
        {"a": ["3"] * 400, "b": ["1"] * 400}, PROMPTS, judge=rest, interval=0.15, output=tmp_path / "y"
    )
    assert found == whole
    assert rest.asked == whole.compared - 64
    with pytest.raises(HalignError, match="on other replies"):
        compare_all(
            {"a": ["2"] * 400, "b": ["1"] * 400}, PROMPTS, judge=rest, interval=0.15, output=tmp_path / "y"
        )


def test_several_models_take_fewer_comparisons_than_all_pairs_and_come_in_order():
    strengths = {"a": "1", "b": "4", "c": "2", "d": "8"}
    judge = Chances()
    found = compare_all({n: [s] * 400 for n, s in strengths.items()}, PROMPTS, judge=judge, interval=0.15)
    assert found.reached
    assert [name for name, _ in found.ranking["overall"]] == ["d", "b", "c", "a"]
    assert judge.asked == found.compared < 600  # each of six pairs by itself takes 110 to 180
    odds = {n: float(s) for n, s in strengths.items()}
    intervals = found.advantages["overall"]
    truths = {(x, y): (odds[x] - odds[y]) / (odds[x] + odds[y]) for x, y in intervals}
    assert sum(i.low <= truths[p] <= i.high for p, i in intervals.items()) >= 5
    assert all(i.high - i.low <= 0.3 for i in intervals.values())
    assert "advantage over the next" in found.table()


def test_prompts_that_are_not_enough_are_said_to_be():
    found = compare_all(
        {"a": ["1"] * 8, "b": ["2"] * 8, "c": ["3"] * 8}, PROMPTS[:8], judge=Chances(), interval=0.05
    )
    assert (found.reached, found.compared) == (False, 24)
    assert "24 comparisons: the prompts were not enough for ±0.05" in found.table()


def test_what_is_no_verdict_is_shown_and_in_no_share():
    def record(i, first, second, trouble=None):
        return PairRecord(f"q{i}", f"c{i}", "d", "j", "a", "b", first, second, trouble=trouble)

    rows = [record(i, Verdict.A, Verdict.A) for i in range(3)] + [record(3, Verdict.B, None, "unparsable")]
    rows += [record(4, None, None, "abstained"), record(5, Verdict.A, Verdict.B)]
    found = compare_records("a", "b", rows)
    assert found.dimensions["d"].advantage.value == pytest.approx(3 / 4)
    assert (found.dimensions["d"].advantage.n, found.dimensions["d"].disagreements) == (4, 0.25)
    assert found.troubles == {"d": {"unparsable": 1, "abstained": 1}}
    assert "not counted above: 1 unparsable, 1 abstained" in found.table()
    turned = compare_records("b", "a", rows)
    assert turned.dimensions["d"].advantage.value == pytest.approx(-3 / 4)


def test_rulings_on_guardrails_stand_beside_the_dimension():
    class ByRule:
        dimensions, sees_order = ("d",), False

        def rulings(self, prompts, a, b, others=None):
            return [[Ruling("d", Verdict.A), Ruling("d", Verdict.B, "be kind")] for _ in prompts]

    found = compare(Says("x"), Says("y"), PROMPTS[:4], judge=ByRule())
    assert found.dimensions["d"].advantage.value == 1


def test_the_example_of_the_design_works(tmp_path):
    with Server(saying(lambda x, y: 1 if len(x) > len(y) else 2)) as server:
        judge = hl.judges.llm("gpt-4o-mini", server.url, dimensions=["adherence"], read="samples")
        verdict = hl.compare(Says("a long reply"), Says("short"), PROMPTS[:5], judge=judge)
    assert "adherence" in verdict.table()
    assert verdict.dimensions["adherence"].advantage.value == 1
    assert NAMES["adherence"] in hl.report([], verdict).save(tmp_path / "report.html").read_text()


def test_judges_that_do_not_compare_are_refused():
    class Grades:
        dimensions, sees_order = ("d",), False

        def marks(self, prompts, replies):
            return [[] for _ in prompts]

    with pytest.raises(HalignError, match="does not compare"):
        compare(Says("x"), Says("y"), PROMPTS[:2], judge=Grades())
    with pytest.raises(HalignError, match="interval = 2 is out of range"):
        compare(Says("x"), Says("y"), PROMPTS[:2], judge=Chances(), interval=2)
    with pytest.raises(HalignError, match="a: 1 replies to 2 prompts"):
        compare_all({"a": ["x"], "b": ["y"] * 2}, PROMPTS[:2], judge=Chances())


def test_a_folder_is_not_taken_up_for_another_model_of_the_same_name(tmp_path):
    """`compare a=runs/1 b=runs/2` and then `a=runs/3`: the replies there are of another model."""

    class Behind(Says):
        def __init__(self, text, model):
            super().__init__(text)
            self.client = SimpleNamespace(endpoint=Endpoint("http://localhost:1/v1", model))

    compare_all({"a": Behind("3", "x"), "b": Says("1")}, PROMPTS[:4], judge=Chances(), output=tmp_path)
    again = Behind("3", "x")
    compare_all({"a": again, "b": Says("1")}, PROMPTS[:4], judge=Chances(), output=tmp_path)
    assert again.asked == 0
    with pytest.raises(HalignError, match="on other replies"):
        compare_all({"a": Behind("3", "y"), "b": Says("1")}, PROMPTS[:4], judge=Chances(), output=tmp_path)


def test_the_same_folder_of_weights_trained_on_is_another_model():
    model = torch.nn.Linear(2, 2)
    sampler = SimpleNamespace(
        policy=SimpleNamespace(model=model), renderer=SimpleNamespace(response_prefix="")
    )
    before = version_of(sampler)
    assert version_of(sampler) == before
    model.weight.data += 1
    assert version_of(sampler) != before


def test_every_pair_is_tested_whichever_way_round_it_was_asked():
    """m against n: won in three conversations, lost in none, once asked the other way round: p = 2/8. Of n and o one conversation
    says nothing; m and o never met. Two tests of .25 are .5 after Holm, .25 after Benjamini and Hochberg."""

    def record(item, a, b, verdict, dimension="quality"):
        return PairRecord(item, item, dimension, "j", a, b, verdict, verdict)

    records = [
        record("1", "m", "n", Verdict.A),
        record("2", "n", "m", Verdict.B),
        record("3", "m", "n", Verdict.A),
    ]
    found = Contest(["m", "n", "o"], [*records, record("3", "n", "o", Verdict.A)]).standing()
    assert found.p == {"quality": {("m", "n"): 0.25}}
    assert "quality           m against n: p 0.25" in found.table()
    more = [record(r.item, r.a, r.b, r.first, "other") for r in records]
    two = Contest(["m", "n"], [*records, *more]).standing()
    assert "other             m against n: p 0.25, after Holm 0.5" in two.table()
    assert "p 0.25, after Benjamini and Hochberg 0.25" in two.table("benjamini-hochberg")
    assert "after" not in two.table("none")
    with pytest.raises(HalignError, match="none of none, holm, benjamini-hochberg"):
        two.table("bonferroni")
