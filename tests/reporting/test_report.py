"""The page: self-contained, well-formed, escaped, without NaN; and its words say what the numbers say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from halign.errors import HalignError
from halign.evaluate import Interval, Reply, compare_outcomes
from halign.judges import Grade, Outcome, Verdict
from halign.reporting import Evidence, ModelEntry, Training, report
from halign.reporting.samples import choose, example
from halign.reporting.sections import curves, guardrails
from halign.reporting.svg import Series, Spot, lines, scatter, ticks
from halign.reporting.words import headline
from tests.reporting import synthetic

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Checker(HTMLParser):
    """Every tag is closed in order, ids are unique, and nothing is fetched from elsewhere."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.words, self.problems = [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in {"script", "iframe", "link", "img"}:
            self.problems.append(f"<{tag}>")
        for name in ("src", "href"):
            if name in values and not values[name].startswith("#"):
                self.problems.append(f"{name}={values[name]}")
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> after {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def check(html: str) -> str:
    """The visible text of a page that is in order."""
    checker = Checker()
    checker.feed(html)
    assert checker.problems == []
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    text = " ".join(" ".join(checker.words).split())
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", text)
    assert "nan" not in re.sub(r"[a-z]{4,}", "", html.lower())
    assert not re.search(r"(https?:)?//[a-z]|url\(|@import", html)
    return text


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Evidence:
    return synthetic.evidence(tmp_path_factory.mktemp("runs"))


def test_the_page_is_whole_and_self_contained(found, tmp_path):
    path = report(found).save(tmp_path / "deep" / "report.html")
    text = check(path.read_text())
    for words in ("What was found", "Head to head", "Mipo against M1SFT", "Guardrail by guardrail"):
        assert words in text
    assert "halign run flow1" in text
    assert "<b>base</b>" not in path.read_text()  # what comes from outside is escaped


def test_single_runs_and_plain_comparisons(tmp_path):
    run = synthetic.run_folder(tmp_path / "my-run")
    text = check(report([run]).html)
    assert "my-run" in text
    assert "policy equals reference at step 0" in text
    assert "<script>" not in report([run]).html
    wins = [{"adherence": Outcome(Verdict.A, Verdict.B)}] * 3 + [{"adherence": Outcome(Verdict.A, Verdict.A)}]
    c = compare_outcomes("one", "two", wins, list("abcd"))
    text = check(report([], c, title="one against two").html)
    assert "one against two" in text
    assert "two orders disagreed on 75 %" in text
    with pytest.raises(HalignError, match="not a run folder"):
        report([tmp_path])


def test_an_unfinished_or_diverged_run_can_be_looked_at(tmp_path):
    run = synthetic.run_folder(tmp_path / "run", last_loss=float("nan"))
    (run / "done").unlink()
    (run / "environment.json").unlink()
    check(report([run]).html)
    training = Training.read(run)
    assert len(training.series("loss", "train")) == 40  # the NaN is left out
    (run / "metrics.jsonl").write_text("")
    check(report([run]).html)


def entry(name, rights, dimension="adherence", kl=0.0):
    """A model with one reply per conversation, right or wrong on one dimension."""
    replies = []
    for i, right in enumerate(rights):
        acceptable = {"adherence": True, "naturalness": True, "hallucination": True, dimension: bool(right)}
        replies.append(Reply(str(i), "a reply", Grade(acceptable), 4, True, kl))
    return ModelEntry(name, replies={"given": replies})


def says(*models, pairs=()):
    return headline(Evidence("t", models, baseline="base", pairs=pairs))


def test_a_gain_is_told_with_its_numbers():
    found = says(entry("base", [0] * 30 + [1] * 30), entry("new", [1] * 60, kl=2.0))
    assert "new, beats the base model: 100 of 100 replies against 50" in found[0].text
    assert "+50 points" in found[0].text
    assert found[0].tone == "good"
    assert any("2.0 nats" in s.text for s in found)


def test_no_gain_is_said_plainly_and_is_bad_news():
    found = says(entry("base", [0, 1] * 30), entry("new", [1, 0] * 29 + [1, 1]))
    assert found[0].text.startswith("No gain: no trained model clearly beats the base model")
    assert found[0].tone == "bad"
    assert not any("No cost" in s.text for s in found)


def test_worse_than_base_is_said():
    found = says(entry("base", [1] * 60), entry("new", [0, 1] * 30), entry("other", [0] * 60))
    assert found[0].text.startswith("Every trained model is worse than the base model")
    assert any("Worse than the base model in all respects at once: other" in s.text for s in found)


def test_what_is_paid_is_told():
    base = entry("base", [0] * 50 + [1] * 10)
    gained = [
        replace(r, grade=Grade({**r.grade.acceptable, "adherence": True})) for r in base.replies["given"]
    ]
    for i in (50, 51, 52, 53, 54, 55, 56):
        gained[i] = replace(gained[i], grade=Grade({**gained[i].grade.acceptable, "naturalness": False}))
    found = says(base, ModelEntry("new", replies={"given": gained}), pairs=[("new", "base")])
    assert any("sounds natural less often, −12 points" in s.text and s.tone == "bad" for s in found)
    assert any(
        "keeps all guardrails more often (+83), but sounds natural less often (−12)" in s.text for s in found
    )


def test_a_difference_that_nobody_can_see_is_open():
    found = says(
        entry("base", [0] * 60), entry("a", [1, 0] * 30), entry("b", [0, 1] * 30), pairs=[("a", "b")]
    )
    assert any("a against b: no difference that these prompts can show" in s.text for s in found)


def test_guardrail_rows_and_samples(found):
    rows = guardrails(found, ["base", "Mipo"])
    assert any(r["unseen"] for r in rows)
    assert rows[0]["heading"] == "Style"
    n = {m.name: sum(len(r.grade.active) for r in m.pooled) for m in found.models}
    counted = sum(s.active.n for r in rows for name, s in r["bars"] if name == "Mipo" and s.active)
    assert counted == n["Mipo"]
    assert 'class="broken"' in report(found).html
    base = found.model("base").replies["mixed"]
    lying = next(i for i, r in enumerate(base) if "9999" in r.text)
    (shown,) = example(found, "mixed", lying, ["base"]).replies
    assert "<mark>9999 dollars</mark>" in shown.text
    assert any("nothing supports “9999 dollars”" in f for f in shown.faults)
    assert not shown.right


def test_samples_come_from_every_class_of_outcome(found):
    groups = choose(found, "base", "Mipo", ["base", "Mipo"])
    assert sum(g.count for g in groups) == groups[0].total == 80
    for g in groups:
        for e in g.examples:
            was, now = (r.right for r in e.replies)
            assert {"mended": (False, True), "spoilt": (True, False)}.get(g.title, (was, was)) == (was, now)


def test_charts_have_round_ticks_and_survive_constant_values():
    assert ticks(3.0, 3.0)[0] <= 3.0 <= ticks(3.0, 3.0)[-1]
    assert lines([Series("a", [])], "nothing") == ""
    chart = lines([Series("a", [(1.0, 2.0), (2.0, 2.0)])], "flat <line>")
    assert "<polyline" in chart
    assert "flat &lt;line&gt;" in chart
    spot = Spot("m", 1.0, 50.0, (0.9, 1.1), (40.0, 60.0))
    assert scatter([spot, spot], "two in one place", "x", "y").count("<circle") == 2


def test_curves_put_the_held_out_split_as_points(tmp_path):
    drawn = dict(curves(Training.read(synthetic.run_folder(tmp_path / "run"))))
    assert drawn["loss"].count("<circle") == 3  # evaluations at steps 0, 20 and 40
    assert drawn["loss"].count("<polyline") == 2
    assert set(drawn) == {"loss", "reward margin, nats", "share of pairs with the good reply ahead"}


def test_interval_positions(found):
    assert json.dumps(Interval(0.5, 0.4, 0.6, 10, 10).to_dict())
