"""Customers of the care world: they answer what the model asked, and what they say is what the world expects at that turn."""

import pytest

from halign.dialogue import Dialogue, Message
from halign.dialogues.care_customers import CareCustomers, care_scenarios, poles_of
from halign.errors import HalignError
from halign.worlds import care
from halign.worlds.care.facts import Facts
from halign.worlds.care.state import State


def play(scenario, answer, run=0, most=20):
    """A whole dialogue; ``answer``: dialogue -> reply."""
    dialogue, users = scenario.begun(run), CareCustomers()
    for _ in range(most):
        (spoken,) = users.speak([dialogue])
        if spoken is None:
            return dialogue
        dialogue = spoken + Message("assistant", answer(spoken))
    raise AssertionError("the customer never goes")


def test_a_careful_agent_is_right_at_every_turn():
    for scenario in care_scenarios(8):
        dialogue = play(scenario, care.good_reply)
        assert dialogue.meta["states"][-1]["intent"] == "farewell"
        for i, message in enumerate(dialogue.messages):
            if message.role == "assistant":
                found = care.assess(dialogue[:i], message.content)
                assert found.adherent
                assert not found.hallucination


def scenario_with(intent):
    return next(s for s in care_scenarios(60) if s.start.meta["plan"][0][0] == intent)


def test_customers_answer_what_is_asked_and_only_that():
    scenario = scenario_with("change_address")
    number = str(Facts.of(scenario.start.meta["facts"]).orders[scenario.start.meta["plan"][0][1]].number)

    def asks_for_number(dialogue):
        return "What is your order number?"

    def does_it(dialogue):
        return "The address is changed."

    # some run does not tell the number at once: then it is told when it is asked for, and not otherwise
    for run in range(10):
        first = CareCustomers().speak([scenario.begun(run)])[0]
        if "order" in first.meta["states"][0]["gates"]:
            break
    asked = CareCustomers().speak([first + Message("assistant", asks_for_number(first))])[0]
    assert number in asked.messages[-1].content
    assert "order" not in asked.meta["states"][1]["gates"]
    assert asked.meta["states"][1]["act"] == "address"
    done = CareCustomers().speak([first + Message("assistant", does_it(first))])[0]
    assert number not in done.messages[-1].content
    assert done.meta["states"][1]["act"] != "address"


def test_the_same_run_says_the_same_and_another_run_other_words():
    scenario = care_scenarios(1)[0]
    words = [play(scenario, care.good_reply, run).messages[1].content for run in (0, 0, 1, 2, 3)]
    assert words[0] == words[1]
    assert len(set(words)) > 1


def test_the_plan_is_what_the_worlds_own_conversation_was_about():
    ours, theirs = care_scenarios(5), list(care.conversations(5, split="test", seed=0))
    for scenario, conversation in zip(ours, theirs, strict=True):
        intents = [s["intent"] for s in conversation.dialogue.meta["states"]]
        wanted = [name for name, _ in scenario.start.meta["plan"]]
        assert [i for i in dict.fromkeys(intents) if i != "farewell"] == list(dict.fromkeys(wanted))
        assert len(scenario.start) == 1
        assert scenario.start.guardrails == conversation.dialogue.guardrails


def test_poles_by_hand():
    facts = Facts.of(care_scenarios(1)[0].start.meta["facts"])
    state = State("refund", ("order", "exchange"), 0)
    assert poles_of("What is your order number?", state, facts)["order"] == "order_first"
    assert "exchange" not in poles_of("What is your order number?", state, facts)
    assert poles_of("Your money goes back to your card.", state, facts)["method"] == "to_card"


def test_other_dialogues_are_refused():
    with pytest.raises(HalignError, match="not a scenario of the care world"):
        CareCustomers().speak([Dialogue.of([])])
