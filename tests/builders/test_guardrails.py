"""Policies as documents; both stages by rules and with a model; conversations from a policy alone."""

from __future__ import annotations

import json

import pytest

from halign import lineage
from halign.builders import Tools, build, find, resolve
from halign.builders.guardrails.check_wording import Longest
from halign.builders.guardrails.policy import read_policy
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.readers import read, write_rows
from tests.builders.test_driver import endpoint_tools
from tests.curation.plainly import rows_of, talk
from tests.llm.server import Server, completion, last

MARKDOWN = """\
# Shop policy

Every order has an id. Greet the customer.

## Refunds

- **Never** offer discounts.
- If a refund is refused,
  apologise.

You need to collect the following:

1. order number
2. postcode

Be kind, please.
"""
RULES = ["Greet the customer.", "Be kind, please.", "Never offer discounts."]


def document(tmp_path, text, suffix=".md"):
    (tmp_path / f"policy{suffix}").write_text(text)
    return tmp_path / f"policy{suffix}"


def test_markdown(tmp_path):
    policy = read_policy(document(tmp_path, MARKDOWN))
    assert [(g.section, g.text, g.scope, g.when) for g in policy.guardrails] == [
        ("Shop policy", "Greet the customer.", "always", ""),
        ("Refunds", "Never offer discounts.", "always", ""),
        ("Refunds", "If a refund is refused, apologise.", "when", "If a refund is refused"),
        ("Refunds", "You need to collect the following: order number", "always", ""),
        ("Refunds", "You need to collect the following: postcode", "always", ""),
        ("Refunds", "Be kind, please.", "always", ""),
    ]
    kinds = [g.check.kind if g.check else None for g in policy.guardrails]
    assert kinds == ["greets", "never_offers", "apologises", "asks", "asks", None]
    assert policy.skipped == 1
    assert len({g.id for g in policy.guardrails}) == 6
    assert read_policy(document(tmp_path, MARKDOWN, ".txt")).guardrails[1].id == policy.guardrails[1].id


def test_names_and_quotations_of_a_document_stay_whole(tmp_path):
    text = (
        "First call `transfer_to_human`, and then send the message 'YOU ARE BEING TRANSFERRED. PLEASE HOLD ON.' to the user.\n\n"
        "You should check order_status_id before _every_ answer. Don't guess the customers' wishes."
    )
    assert [g.text for g in read_policy(document(tmp_path, text)).guardrails] == [
        "First call transfer_to_human, and then send the message 'YOU ARE BEING TRANSFERRED. PLEASE HOLD ON.' to the user.",
        "You should check order_status_id before every answer.",
        "Don't guess the customers' wishes.",
    ]


def test_yaml_with_checks_of_ones_own(tmp_path):
    text = """\
refunds:
  - {id: short, text: Be brief., when: always at night, tasks: [night], check: {kind: longest, most: 9}}
  - Ask for the order number.
"""
    short, ask = read_policy(document(tmp_path, text, ".yaml")).guardrails
    assert (short.id, short.scope, short.tasks, short.check) == ("short", "when", ("night",), Longest(9))
    assert (ask.section, ask.check.kind) == ("refunds", "asks")
    for wrong, problem in {
        "- {text: x, chek: 1}": "no field 'chek'",
        "- {text: x, check: {kind: longst}}": "did you mean 'longest'",
        "- {text: x, check: {kind: longest, mots: 3}}": "did you mean 'most'",
        "- {text: x, check: {kind: longest}}": "missing 1 required",
        "- 5": "which is no rule",
        "just words": "a list of rules",
        "a: [": "is no YAML",
    }.items():
        with pytest.raises(HalignError, match=problem):
            read_policy(document(tmp_path, wrong, ".yaml"))
    with pytest.raises(HalignError, match="no rule found among 1"):
        read_policy(document(tmp_path, "Orders have an id."))
    with pytest.raises(HalignError, match="none of"):
        read_policy(document(tmp_path, "x", ".doc"))


def test_forms_of_known_files(tmp_path):
    star = {"bank": {"task": "bank", "policy": ['bank: after "A b?": "C d."']}}
    abcd = {
        "Orders": {
            "description": "x",
            "subflows": {
                "Late Order": {
                    "instructions": ["Ask for the order ID."],
                    "actions": [{"type": "x", "button": "B", "text": "x", "subtext": ["Always apologise."]}],
                }
            },
        }
    }
    sgd = {
        "Alarm_1": {
            "service_name": "Alarm_1",
            "slots": [{"name": "t", "description": "Time"}],
            "intents": [
                {
                    "name": "Add",
                    "description": "Set an alarm",
                    "is_transactional": True,
                    "required_slots": ["t"],
                },
                {"name": "Get", "description": "x", "is_transactional": False, "required_slots": ["t"]},
            ],
        }
    }
    found = {}
    for name, form in (("star", star), ("abcd", abcd), ("sgd", sgd)):
        rules = read_policy(document(tmp_path, json.dumps(form), ".json")).guardrails
        found[name] = [(g.tasks, g.check.kind) for g in rules]
    assert found == {
        "star": [(("bank",), "after")],
        "abcd": [(("late_order",), "asks"), (("late_order",), "apologises")],
        "sgd": [(("Alarm_1",), "asks_before"), (("Alarm_1",), "confirms")],
    }


def chats(tmp_path):
    rows = [
        {
            "id": "c1",
            "tasks": ["shop"],
            "guardrails": RULES,
            "messages": [
                {"role": "user", "content": "My order?"},
                {"role": "assistant", "content": "Hello! Which one?"},
                {"role": "user", "content": "Number 5"},
                {"role": "assistant", "content": "It comes on Monday."},
                {"role": "user", "content": "Thanks"},
                {"role": "assistant", "content": "You are welcome."},
            ],
        },
        talk("Hi", "c2", "What now?", guardrails=["Greet the customer."]),
    ]
    write_rows(rows, tmp_path / "chats.jsonl")
    return tmp_path / "chats.jsonl"


def run(tmp_path, name="guardrails", file=None, tools=None, **settings):
    builder, out = find(name), tmp_path / "out.jsonl"
    report = build(
        builder,
        RowSource(file or chats(tmp_path)),
        out,
        resolve(builder, settings),
        tools or Tools(),
        overwrite=True,
    )
    return rows_of(out), report


def test_by_rules_alone(tmp_path):
    rows, report = run(tmp_path, everywhere=2)
    (row,) = rows
    broken = {i: [a["violates"] for a in m.get("alternatives", ())] for i, m in enumerate(row["messages"])}
    greet = next(k for k, v in row["rules"].items() if v == "Greet the customer.")
    offer = next(k for k, v in row["rules"].items() if v == "Never offer discounts.")
    assert broken[1][0] == greet
    assert sum(offer in b for b in broken.values()) == 2  # everywhere, but at two drawn turns only
    assert row["guardrails"] == RULES
    assert report.dropped == {"conversations: no turn tagged and broken": 1}
    assert report.tallies["turns that follow a rule"] == 3
    assert any("1  Be kind" in note for note in report.notes)
    (example,) = read(tmp_path / "out.jsonl")
    assert example.alternatives[1][0].violates == greet
    for a in row["messages"][1]["alternatives"]:
        assert a["content"] != "Hello! Which one?"
    assert lineage.of(row)["id"] == "c1"


def test_turns_that_are_not_to_be_learnt_are_no_better_replies(tmp_path):
    """OpenAI's weight 0: somebody said that the turn is no model of anything."""
    row = talk("Hi", "c", "Hello! I can look into that.", guardrails=["Greet the customer."])
    row["messages"] += [{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Goodbye."}]
    row["messages"][1]["weight"] = 0
    other = talk("Hi", "d", "Hello! What is it?", guardrails=["Greet the customer."])
    write_rows([row, other], tmp_path / "weights.jsonl")
    rows, report = run(tmp_path, file=tmp_path / "weights.jsonl", form="pairs")
    assert [r["conversation"] for r in rows] == ["d"]
    assert report.tallies["turns that follow a rule"] == 1


def test_alternatives_that_the_data_had_are_counted_when_they_go(tmp_path):
    row = talk("Hi", "c", "Hello! What is it?", guardrails=["Greet the customer."])
    row["messages"][1]["alternatives"] = [{"content": "Hm?", "rank": 2}, {"content": "Yes", "rank": 3}]
    write_rows([row], tmp_path / "ranked.jsonl")
    (built,), report = run(tmp_path, file=tmp_path / "ranked.jsonl")
    assert [a["rank"] for a in built["messages"][1]["alternatives"]] == [2]
    assert report.dropped == {"alternatives that the data had": 2}


def test_a_conversation_keeps_the_rules_that_it_carries(tmp_path):
    """Also one that no pattern takes for an order: its agent followed it, so the prompt has to show it."""
    own = ["The word is parcel, not package.", "Greet the customer."]
    write_rows([talk("My order?", "c1", "Hello! Which one?", guardrails=own)], tmp_path / "in.jsonl")
    rows, _ = run(tmp_path, file=tmp_path / "in.jsonl", form="pairs")
    assert [(r["rule"], r["guardrails"]) for r in rows] == [("Greet the customer.", own)]
    rows, _ = run(tmp_path, file=tmp_path / "in.jsonl", form="pairs", show="followed")
    assert [r["guardrails"] for r in rows] == [["Greet the customer."]]


def test_pairs_and_policies_by_task(tmp_path):
    policy = document(
        tmp_path,
        "- {text: Greet the customer., tasks: [shop]}\n- {text: Never offer discounts., tasks: [bank]}",
        ".yaml",
    )
    rows, report = run(tmp_path, policy=policy, form="pairs", show="followed")
    (row,) = rows
    assert row["rule"] == "Greet the customer."
    assert row["guardrails"] == ["Greet the customer."]
    assert [m["content"] for m in row["prompt"]] == ["My order?"]
    assert row["chosen"][0]["content"] == "Hello! Which one?"
    assert "ello" not in row["rejected"][0]["content"]
    assert report.dropped == {"conversations: no rules": 1}
    assert report.notes[0] == "The policy has 2 rules, 2 with a check; 0 sentences are no rules."


def script(breaks):
    """A model that tags turn 3 with the rule about kindness, writes ``breaks`` and judges "Shut up." to break a rule."""

    def answer(body, before):
        said = last(body)
        if "Which turns follow which rule" in said:
            rule = next(line.split(":")[0] for line in said.splitlines() if "Be kind" in line)
            tags = [{"turn": 3, "rule": rule}, {"turn": 2, "rule": rule}, {"turn": 3, "rule": "none"}]
            return json.dumps({"tags": tags})
        if "1 for yes" in said:
            yes = "1" if "Reply:\nShut up." in said else "2"
            return completion(yes, top=[{yes: 0.0}] if body.get("logprobs") else None)
        return breaks

    return answer


@pytest.mark.parametrize(
    ("breaks", "dropped"),
    [
        ("Shut up.", None),
        ("As you wish.", "stage 2: the judge does not find it broken"),
        ("It comes on  Monday.", "stage 2: equals the good reply"),
    ],
)
def test_a_writer_and_a_judge_for_rules_without_a_check(tmp_path, breaks, dropped):
    with Server(script(breaks)) as server:
        rows, report = run(tmp_path, tools=endpoint_tools(server)[0], everywhere=0)
        asked = sum(server.asked.values())
        again, _ = run(tmp_path, tools=endpoint_tools(server)[0], everywhere=0)
        assert sum(server.asked.values()) == asked
    assert again == rows
    assert report.dropped["stage 1: no such turn or rule"] == 2
    written = [a["content"] for a in rows[0]["messages"][3].get("alternatives", ())]
    if dropped is None:
        assert written == ["Shut up."]
        assert len(lineage.of(rows[0])["replies"]) == 3  # the tags, the reply, the verdict
    else:
        assert written == []
        assert report.dropped[dropped] == 1


def test_the_check_verifies_what_a_writer_breaks(tmp_path):
    problem = "2 stage 2: the check does not find it broken"  # it greets, and offers no discount
    with Server(script("Hello, I am rude!")) as server, pytest.raises(HalignError, match=problem):
        run(tmp_path, tools=endpoint_tools(server)[0], write="all", everywhere=1)
    with Server(script("Here is a discount for you.")) as server:
        rows, _ = run(tmp_path, tools=Tools(endpoint_tools(server)[0].writer), write="all", everywhere=1)
        assert not any("1 for yes" in q for q in server.asked)
    kinds = [
        v
        for m in rows[0]["messages"]
        for v in [a["violates"].split("-")[0] for a in m.get("alternatives", ())]
    ]
    assert set(kinds) <= {"greet", "never"}
    assert "never" in kinds


POLICY = """\
- text: 'bank: go through these steps in order: "Hello, how can I help?"; "What is your name?"; "Is there anything else?".'
  tasks: [bank]
- text: 'bank: when asked for anything else: "I am only able to help with banking."'
  tasks: [bank]
"""


def test_conversations_from_a_policy_alone(tmp_path):
    policy = document(tmp_path, POLICY, ".yaml")
    rows, report = run(tmp_path, "policy_chats", policy, count=5, chunk=2)
    assert (report.read, report.built) == (5, 5)
    for row in rows:
        said = [m["content"] for m in row["messages"]]
        agent = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"] * (len(said) // 2)
        assert agent[0] == "Hello, how can I help?"
        assert agent[-2:] == ["Is there anything else?", "Thank you and goodbye."]
        assert (row["made"], row["tasks"]) == ("template", ["bank"])
    assert len({json.dumps(r["messages"]) for r in rows}) == 5
    assert lineage.read_header(tmp_path / "out.jsonl")[lineage.of(rows[0])["step"]].file.endswith(
        "policy.yaml"
    )
    made = tmp_path / "made.jsonl"
    (tmp_path / "out.jsonl").rename(made)
    pairs, _ = run(tmp_path, file=made, policy=policy)
    assert len(pairs) == 5


def test_made_conversations_break_no_rule_by_its_check(tmp_path):
    """A step whose place nothing fills is left out, so that the one after it would be said too early."""
    steps = [
        "Hello, how can I help?",
        "Who is your doctor?",
        "Do this: {instructions}.",
        "Is there anything else?",
    ]
    rule = {"text": "In this order.", "check": {"kind": "steps", "steps": steps}}
    policy = document(tmp_path, json.dumps([rule]), ".json")
    (row,), _ = run(tmp_path, "policy_chats", policy, count=1)
    assert [m["content"] for m in row["messages"] if m["role"] == "assistant"] == steps[:2]
    assert row["messages"][-1]["role"] == "assistant"
    good = {"turns": [{"role": "customer", "content": "Hi"}, {"role": "agent", "content": steps[0]}]}
    bad = {"turns": [{"role": "customer", "content": "Hi"}, {"role": "agent", "content": steps[3]}]}
    answers = iter([good, bad])
    with Server(lambda body, before: completion(json.dumps(next(answers)))) as server:
        tools, _ = endpoint_tools(server)
        rows, report = run(tmp_path, "policy_chats", policy, tools, count=2, chunk=1)
    assert [r["messages"][1]["content"] for r in rows] == [steps[0]]
    assert report.dropped == {"the agent breaks a rule, by its check": 1}


def test_conversations_that_a_writer_makes(tmp_path):
    good = {"turns": [{"role": "customer", "content": "Hi"}, {"role": "agent", "content": "Hello!"}]}
    bad = {"turns": [{"role": "agent", "content": "Hello!"}, {"role": "customer", "content": "Hi"}]}
    policy = document(tmp_path, POLICY, ".yaml")
    seen = []

    def answer(body, before):
        seen.append(last(body))
        return json.dumps(bad if len(seen) == 1 else good)

    with Server(answer) as server:
        tools, client = endpoint_tools(server)
        rows, report = run(tmp_path, "policy_chats", policy, tools, count=3, chunk=1)
    assert [r["made"] for r in rows] == ["writer"] * 2
    assert report.dropped == {"the agent begins": 1}
    assert rows[0]["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
    ]
    assert "go through these steps" in seen[0]
    assert len(set(seen)) == 3  # other customers
    assert client.spent.calls == 3
