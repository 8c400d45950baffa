"""The recipe from a policy and conversations to a report, on a model of a few thousand weights; its verdicts by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from halign.builders import Tools
from halign.builders.guardrails.contract import Turn
from halign.builders.guardrails.judging import SILENT, grade
from halign.builders.guardrails.policy import of_text
from halign.cli.main import app
from halign.cli.run import settings_of
from halign.curation.source import RowSource
from halign.dialogue import Message
from halign.errors import HalignError
from halign.evaluate import Reply
from halign.evaluate.intervals import difference
from halign.readers import write_rows
from halign.recipes import guardrails_data
from halign.recipes import run as recipes
from halign.recipes.guardrails_data import Steps, held_out, resolved
from halign.recipes.guardrails_findings import Findings, findings
from halign.recipes.guardrails_llm import bill, paid, spent, tools_of
from halign.recipes.guardrails_panels import rule_by_rule, whole
from halign.recipes.guardrails_verdicts import BANS, DUTIES, groups, rules, tally, verdicts_on
from halign.reporting import Evidence, ModelEntry
from tests.builders.test_driver import endpoint_tools
from tests.conftest import make_llama, make_tokenizer
from tests.curation.plainly import rows_of
from tests.llm.server import Server, completion, last

POLICY = "- Greet the customer.\n- Never offer discounts.\n- Be kind.\n"
ORDER = "Ask for the order number before processing a refund."
GREET, DISCOUNTS = "Greet the customer.", "Never offer discounts."


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Twenty conversations of two agent turns, a policy, a model, and a cache of their own."""
    monkeypatch.setenv("HALIGN_CACHE", str(tmp_path / "cache"))
    tokenizer = make_tokenizer()
    make_llama(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "policy.md").write_text(POLICY)
    said = [
        *(("user", "Hello {}"), ("assistant", "Hello, how can I help?")),
        *(("user", "No {}"), ("assistant", "Thank you.")),
    ]
    write_rows(
        (
            {"id": f"c{i}", "messages": [{"role": r, "content": t.format(i)} for r, t in said]}
            for i in range(20)
        ),
        tmp_path / "chats.jsonl",
    )
    return tmp_path


def given(files, **more):
    places = {"conversations": files / "chats.jsonl", "policy": files / "policy.md", "model": files / "model"}
    return recipes.resolve("guardrails", "tiny", {**{k: str(v) for k, v in places.items()}, **more})


def test_from_policy_to_report(files):
    settings = given(files)
    assert {state for _, state in recipes.plan("guardrails", settings)} == {"to do"}
    done = recipes.execute("guardrails", settings, files / "out", size="tiny", workers=0)
    data = files / "out" / "data"
    parts = {
        p: {r["id"] for r in rows_of(data / "divided" / f"{p}.jsonl")}
        for p in ("train", "validation", "test")
    }
    assert {p: len(ids) for p, ids in parts.items()} == {"train": 12, "validation": 2, "test": 4}
    assert len(set.union(*parts.values())) == 18
    learnt = rows_of(data / "train.jsonl")
    assert {r["id"] for r in learnt} == parts["train"]
    # a greeting that is left out, and a discount at each of two turns
    assert all(sum(len(m.get("alternatives", ())) for m in r["messages"]) == 3 for r in learnt)
    asked = rows_of(data / "asked-test.jsonl")
    assert {a["conversation"] for a in asked} <= parts["test"]
    # of eight turns, six at even distances; the first of a conversation is asked about both rules
    assert [a["place"] for a in asked] == [1, 3, 1, 1, 3, 1]
    assert [[r["text"] for r in a["rules"]] for a in asked[:2]] == [[GREET, DISCOUNTS], [DISCOUNTS]]
    found = json.loads((files / "out" / "results.json").read_text())
    assert set(found["kept"]) == {DUTIES, BANS, "all"}
    for name in ("base", "SFT", "SFT+ipo", "silent"):
        rows = rows_of(files / "out" / "replies" / "verdicts" / f"{name}.jsonl")
        assert len(rows) == 10
        assert (
            found["kept"][DUTIES][name]["kept"]["value"]
            == sum(r["verdict"] == "kept" for r in rows if r["text"] == GREET) / 4
        )
        assert (found["kept"][DUTIES][name]["gain"] is None) == (name == "base")
    assert found["kept"][DUTIES]["silent"]["kept"]["value"] == 0
    assert found["kept"][BANS]["silent"]["kept"]["value"] == 1
    page = done.report.read_text()
    for words in ("Are the rules kept?", "cannot tell", "“OK.” everywhere", "Rule by rule", "Be kind."):
        assert words in page
    assert "all three right" not in page
    assert "Guardrail pairs" in (files / "out" / "card.html").read_text()
    again = recipes.execute("guardrails", settings, files / "out", size="tiny", workers=0)
    assert again.outcome.made == []


def test_an_arm_can_be_left_out_or_added(files):
    def planned(**arms):
        return [s.name for s, _ in recipes.plan("guardrails", given(files, arms=arms))]

    assert {"SFT", "SFT+ipo"} <= set(planned())
    assert "SFT+ipo" not in planned(**{"SFT+ipo": None})
    assert {"SFT", "dpo"} <= set(planned(**{"SFT+ipo": None, "dpo": {"from": "SFT", "objective": "dpo"}}))
    assert "grades" in planned(**{"SFT+ipo": None, "SFT": None})


class Killed(BaseException):
    """The process is gone."""


def test_killed_while_it_builds_it_ends_in_the_same_files(files, monkeypatch):
    from halign.builders import driver

    def make(output):
        output.mkdir(exist_ok=True)
        s = given(files, build={"chunk": 5})
        guardrails_data.data(
            output, inputs={}, progress=lambda *_: None, threads=0, world=None, world_version=None,
            conversations=s["conversations"], rules_column=None, policy=s["policy"], fingerprints=[],
            build=s["build"], llm=s["llm"], seed=0, most={"train": 12, "validation": 4, "test": 8}, turns=6,
        )  # fmt: skip

    make(files / "whole")
    calls, add = [], driver._Job.add

    def dies(job, read, made):
        calls.append(read)
        if len(calls) == 2:
            raise Killed
        add(job, read, made)

    monkeypatch.setattr(driver._Job, "add", dies)
    with pytest.raises(Killed):
        make(files / "killed")
    make(files / "killed")
    # the second chunk of the first part again, its third, one of the second part; nothing twice that was done
    assert calls == [5, 5, 5, 2, 2]
    wanted = sorted(f.relative_to(files / "whole") for f in (files / "whole").rglob("*") if f.is_file())
    assert wanted == sorted(
        f.relative_to(files / "killed") for f in (files / "killed").rglob("*") if f.is_file()
    )
    for name in ("asked-test.jsonl", "prompts-test-given.jsonl", "divided/test.jsonl"):
        assert (files / "whole" / name).read_bytes() == (files / "killed" / name).read_bytes()
    built = [[{**r, "lineage": 0} for r in rows_of(files / f / "train.jsonl")] for f in ("whole", "killed")]
    assert built[0] == built[1]


def turns(count):
    """Turns at which the customer is to be greeted, one a conversation, and no discount offered."""
    before = [Message("user", "Hi, can I have a lamp?")]
    both = [of_text(GREET), of_text(DISCOUNTS)]
    return [(f"c{i}", Turn(before, "Hello! Which one?"), both) for i in range(count)]


def judged(asked=None, **replies):
    """Findings on models by name, one reply for all turns each, or a list of them."""
    asked = asked or turns(12)
    verdicts, entries = {}, []
    for name, said in {**replies, "silent": SILENT}.items():
        texts = said if isinstance(said, list) else [said] * len(asked)
        found, verdicts[name] = verdicts_on(asked, texts, Tools(), 0.5)
        graded = [Reply(c, t, grade(f), 3) for (c, _, _), t, f in zip(asked, texts, found, strict=True)]
        if name != "silent":
            entries.append(ModelEntry(name, replies={"given": graded}, untrained=name == "base"))
    return Findings(Evidence("x", entries, "base", pairs=[]), verdicts)


def test_a_model_that_says_ok_everywhere_does_not_look_good():
    found = judged(base="Which lamp?", ok=SILENT)
    duties = found.tallies(groups(found.asked)[DUTIES])["ok"]
    assert (duties.kept.value, duties.broken.value, duties.open.value) == (0, 1, 0)
    said = findings(found)
    assert said[0].text.startswith(
        "Where rules ask for something, ok keeps 0 of 100, the base 0: no clear difference"
    )
    assert said[0].tone == "open"
    assert (
        said[1].tone,
        "clearly more often than a reply that says nothing" in said[1].text,
    ) == ("bad", True)
    assert not [s for s in said if s.tone == "good"]


def test_a_model_that_keeps_the_rules_does():
    found = judged(base=["Which lamp?"] * 8 + ["Hello, which?"] * 4, good="Hello! Which one?")
    said = findings(found)
    assert said[0].tone == "good"
    assert "good keeps 100 of 100, the base 33: +67 points" in said[0].text
    assert not [s for s in said if s.tone == "bad"]
    # both keep the prohibition, as saying nothing does: said, but not as a success
    (forbidden,) = (s for s in said if "forbid" in s.text)
    assert (forbidden.tone, forbidden.text[-45:].strip()) == (
        "open",
        "A reply that says nothing (“OK.”) keeps 100.",
    )
    panel = whole(found)
    assert [r[:4] for r in panel.rows[:3]] == [
        ["base", DUTIES, "12", panel.rows[0][3]],
        ["good", DUTIES, "12", panel.rows[1][3]],
        ["“OK.” everywhere", DUTIES, "12", panel.rows[2][3]],
    ]
    assert [r[3].split(" %")[0] for r in panel.rows[:3]] == ["33", "100", "0"]
    by_rule = rule_by_rule(found).rows
    assert [f"<small>{group}</small>" in r[0] for r, group in zip(by_rule, (DUTIES, BANS), strict=True)] == [
        True
    ] * 2
    assert [[cell.split("<small>")[0] for cell in r[1:]] for r in by_rule] == [
        ["12 / 12", "33 · 0 · 67", "100 · 0 · 0", "0 · 0 · 100"],
        ["12 / 12", "100 · 0 · 0", "100 · 0 · 0", "100 · 0 · 0"],
    ]
    assert by_rule[0][3].split("<small>")[1].startswith("+67 [")


def test_who_keeps_more_may_break_more_and_that_is_said():
    wary, bold = "Tell me, please.", "Could you tell me your order number, please?"
    asked = [(f"c{i}", Turn([Message("user", "Refund!")], bold), [of_text(ORDER)]) for i in range(20)]
    found = judged(asked, base=wary, M=[bold] * 12 + ["I have processed the refund."] * 8)
    said = findings(found)
    assert [s.tone for s in said] == ["good", "bad"]
    assert "M keeps 60 of 100, the base 0" in said[0].text
    assert "Broken are 40 (the base 0); of 0 nobody can tell (100)" in said[0].text
    assert said[1].text.startswith("M also breaks more of them than the base: +40 points")


def test_the_model_that_gained_most_stands_first():
    found = judged(base="Which lamp?", some=["Which lamp?"] * 6 + ["Hello, which?"] * 6, all="Hello, which?")
    assert [s.text.split(" keeps ")[0].split(", ")[-1] for s in findings(found)[:2]] == ["all", "some"]


def test_only_prohibitions_show_nothing():
    found = judged(base="Which lamp?", M="Hello!")
    banned = Findings(
        found.evidence, {n: [r for r in rows if r["forbids"]] for n, rows in found.verdicts.items()}
    )
    said = [s for s in findings(banned) if "cost" not in s.text]
    assert "All rules that were asked forbid something" in said[-1].text
    assert {s.tone for s in said} == {"open"}


def verdict(conversation, prompt, found, rule="r", by="check", forbids=False):
    said = {"conversation": conversation, "prompt": prompt, "rule": rule, "text": rule}
    return {**said, "forbids": forbids, "verdict": found, "by": by}


def test_tallies_by_hand():
    own = [
        verdict("a", 0, "kept"),
        verdict("a", 1, "open", by=""),
        verdict("b", 2, "broken"),
        verdict("c", 3, "kept", by="judge"),
    ]
    base = [
        verdict("a", 0, "open"),
        verdict("a", 1, "broken"),
        verdict("b", 2, "broken"),
        verdict("c", 3, "kept"),
    ]
    found = tally(own, base)
    assert (found.kept.value, found.broken.value, found.open.value) == (0.5, 0.25, 0.25)
    assert (found.kept.n, found.kept.clusters, found.judged) == (4, 3, 1)
    wide = difference([1, 0, 0, 1], [0, 0, 0, 1], ["a", "a", "b", "c"])
    assert wide.high > 1
    assert found.gain == replace(wide, high=1.0)
    assert found.more_broken.value == -0.25
    assert found.gain.value == 0.25
    assert tally(own[:2], base[:2]).gain is None  # of one conversation
    with pytest.raises(ValueError, match="same rules at the same turns"):
        tally(own, [*base[:3], verdict("c", 4, "kept")])
    mixed = [*own, verdict("a", 0, "kept", rule="ban", forbids=True), verdict("a", 0, "kept", rule="other")]
    assert groups(mixed) == {DUTIES: [0, 1, 2, 3, 5], BANS: [4], "all": [0, 1, 2, 3, 4, 5]}
    assert groups(own) == {DUTIES: [0, 1, 2, 3]}
    assert rules(mixed) == {"r": [0, 1, 2, 3], "other": [5], "ban": [4]}


def test_what_a_writer_tags_has_to_convince_the_judge(files):
    """Of rules without a check the writer names turns; those at which the judge does not find the good reply keeping it are not
    asked about."""

    def answer(body, before):
        if "1 for yes" in last(body):
            kept = "clearly keep it" in last(body) and "Reply:\nHello" in last(body)
            return completion("1" if kept else "2")
        name = next(w for w in last(body).split() if w.startswith("be-kind"))
        return json.dumps({"tags": [{"turn": t, "rule": name.rstrip(":")} for t in (1, 3)]})

    (files / "kind.md").write_text("- Be kind.\n")
    with Server(answer) as server:
        tools, _ = endpoint_tools(server)
        found = held_out(
            RowSource(files / "chats.jsonl"),
            resolved({}, 0, files / "kind.md"),
            tools,
            Steps(lambda *_: None),
        )
    assert [(row["place"], row["good"]) for row, _ in found] == [(1, "Hello, how can I help?")] * 20
    assert all(prompt.guardrails == ("Be kind.",) and len(prompt.messages) == 1 for _, prompt in found)


def ask_and_die(llm, folder, question, left):
    with paid(llm, folder) as tools:
        assert tools.writer.client.spent.budget.amount == left
        tools.judge.read = "samples"
        tools.ask([question])
        raise Killed


def test_the_budget_is_the_whole_commands(files):
    """What an earlier stage or an earlier try has spent is not there any more."""
    llm = {"model": "m", "input_price": 1e6, "output_price": 1e6, "budget": 1000.0}
    first, second = files / "first", files / "second"
    first.mkdir(), second.mkdir()
    with Server(lambda body, before: completion("2", usage=(10, 5))) as server:
        llm["url"] = server.url
        for question, left in (("Is it?", 1000.0), ("Was it?", 985.0)):
            with pytest.raises(Killed):
                ask_and_die(llm, first, question, left)
        with paid(llm, second, first) as tools:
            assert tools.writer.client.spent.budget.amount == 970.0
    assert spent(first) == {"calls": 2, "cost": 30.0, "priced": True}
    assert bill(first, second) == "The language model was asked 2 times, at a cost of 30."
    assert bill(second) == ""


def test_the_care_world_brings_its_own(tmp_path):
    most = {"train": 12, "validation": 2, "test": 8}
    guardrails_data.data(
        tmp_path, inputs={}, progress=lambda *_: None, threads=0, world="care", world_version="x", conversations=None,
        rules_column=None, policy=None, fingerprints=[], build={}, llm={}, seed=0, most=most, turns=6,
    )  # fmt: skip
    assert len(rows_of(tmp_path / "divided" / "test.jsonl")) == 8
    assert 0 < len(rows_of(tmp_path / "asked-test.jsonl")) <= 6
    names = [{r["id"] for r in rows_of(tmp_path / "divided" / f"{p}.jsonl")} for p in most]
    assert len(set.union(*names)) == 12 + 2 + 8
    learnt = rows_of(tmp_path / "train.jsonl")
    assert 0 < len(learnt) <= 12
    assert all(any(m.get("alternatives") for m in r["messages"]) for r in learnt)


def test_what_it_needs(files):
    asked = {"conversations": str(files / "chats.jsonl"), "model": "m"}
    for more, problem in (
        ({"model": None}, "needs --model, the model to align .or world=care"),
        ({"conversations": None}, "needs --conversations"),
        ({"conversations": None, "world": "care", "policy": "p.md"}, "carry their own rules"),
        ({"policy": "nowhere.md"}, "no such file: nowhere.md"),
        ({"llm": {"url": "http://localhost/v1"}}, "--llm and --llm-model go together"),
        ({"build": {"evrywhere": 1}}, "everywhere"),
        ({"arms": {"SFT": {"epoch": 1}}}, "arms.SFT"),
    ):
        with pytest.raises(HalignError, match=problem):
            recipes.plan("guardrails", recipes.resolve("guardrails", "tiny", {**asked, **more}))
    with pytest.raises(HalignError, match="2 conversations: at least 3"):
        guardrails_data.shares(2, {"train": 3, "validation": 1, "test": 1})
    assert tools_of({"url": None, "model": None, "concurrency": 8}).writer is None


def test_options_stand_for_settings(files):
    options = {"--policy": "policy", "--llm": "llm.url"}
    assert settings_of(["a=1", "--policy", "p.md", "--llm=u"], options) == ["a=1", "policy=p.md", "llm.url=u"]
    for words, problem in (
        (["--polcy", "p"], "no option --polcy; did you mean --policy"),
        (["--siz", "p"], "did you mean --size"),
        (["--policy"], "--policy needs a value"),
        (["--policy", "--llm", "u"], "--policy needs a value"),
    ):
        with pytest.raises(HalignError, match=problem):
            settings_of(words, options, ["--size"])
    words = ["run", "guardrails", "--size", "tiny", "--dry-run", "--policy", str(files / "policy.md")]
    words += ["--conversations", str(files / "chats.jsonl"), f"--model={files / 'model'}", "seed=3"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert all(name in shown.output for name in ("data", "SFT+ipo", "grades", "to do"))
    helped = CliRunner().invoke(app, ["run", "guardrails", "--help"]).output
    assert "halign run guardrails --policy policy.md --conversations chats.jsonl --model MODEL" in helped
    assert isinstance(CliRunner().invoke(app, ["run", "flow1", "--policy", "x"]).exception, HalignError)
