"""Hallucination and naturalness, on replies made wrong by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from halign.worlds import care
from halign.worlds.care.agent import SLOTS, reply
from halign.worlds.care.assess import flaws, unsupported
from halign.worlds.care.facts import Order, draw_facts
from halign.worlds.care.state import State

ORDERS = (
    Order(4821, "green lamp", 45, "sent", "Monday", "Friday", "red lamp"),
    Order(7390, "black chair", 62, "late", "Tuesday", "Sunday", "blue chair"),
)
FACTS = replace(
    draw_facts(random.Random(0), "train", ("sent", "late"), False),
    orders=ORDERS,
    shop="Silver River",
    title="Ms",
    first="Anna",
    last="Reed",
    product="red mug",
    price=23,
    stock=31,
    rate=10,
    years=3,
    competitor="Webway",
    street="12 Oak Street",
    postcode=5317,
    note="nuts",
)
STATUS, LATE = State("status", order=0), State("late", order=1)


def test_a_true_reply_has_no_unsupported_fact():
    text = "Your parcel with the green lamp left us on Monday and should arrive on Friday."
    assert unsupported(text, FACTS, STATUS) == []
    assert flaws(text, FACTS, STATUS) == []


@pytest.mark.parametrize(
    ("text", "state", "invented"),
    [
        (
            "Your parcel with the green chair left us on Monday and is on the road now.",
            STATUS,
            ["green chair"],
        ),
        ("Your parcel with the kettle is on its way to you.", STATUS, ["kettle"]),
        ("It left us on Friday and is due on Friday.", STATUS, ["Friday"]),
        ("It left us on Monday and is due on Monday.", STATUS, ["Monday"]),
        ("Order 4812 is on its way to you.", STATUS, ["4812"]),
        ("Order 7390 is on its way to you.", STATUS, ["7390"]),
        ("Ben, it is on its way to you.", STATUS, ["Ben"]),
        ("Mr Reed, it is on its way to you.", STATUS, ["Mr Reed"]),
        ("It is on its way to you. Your Golden River team", STATUS, ["Golden River"]),
        ("It was delayed by the carrier.", STATUS, ["carrier"]),
        ("It was delayed by the carrier.", LATE, []),
        ("The red mug costs $24.", State("price"), ["$24"]),
        ("The red mug costs 23 dollars.", State("price"), []),
        ("We have 13 in stock.", State("stock"), ["13 in stock"]),
        ("I can take 15 percent off.", State("price_match"), ["15 percent"]),
        ("I know that Webway is cheaper.", State("price_match"), ["Webway"]),
        ("The red mug contains milk.", State("advice"), ["contains milk"]),
        ("The warranty on the green lamp runs for 4 years.", State("warranty", order=0), ["4 years"]),
        ("We will send it to 17 Oak Street then.", State("address", order=0), ["17 Oak Street"]),
    ],
)
def test_an_invented_fact_is_found(text, state, invented):
    assert unsupported(text, FACTS, state) == invented


def test_what_the_customer_said_is_support():
    state = State("price_match")
    assert unsupported("I know that Webway is cheaper.", FACTS, state, "Webway sells it for less.") == []
    address = State("address", order=0)
    assert (
        unsupported("We will send it to 12 Oak Street then.", FACTS, address, "My address is 12 Oak Street.")
        == []
    )


@pytest.mark.parametrize(
    ("text", "state", "reason"),
    [
        ("Your parcel with the green lamp left us on", STATUS, "does not end"),
        ("", STATUS, "does not end"),
        ("You are welcome. Have a nice day.", STATUS, "does not answer the customer"),
        ("The red mug costs $23.", STATUS, "does not answer the customer"),
        ("May I have your order number?", STATUS, "does not answer the customer"),
        ("It is on its way to you. It is on its way to you.", STATUS, "repeats itself"),
        ("Your your parcel is on its way to you.", STATUS, "repeats itself"),
        ("Parcel way the on is its you to on its way to you.", STATUS, "not fluent"),
        ("Your parzel with the green lamp is late this time.", LATE, "no such word"),
        (
            "I am sorry about that. Please send me a photo of the green lamp. It is on its way to you.",
            STATUS,
            "asks for photo",
        ),
    ],
)
def test_an_unnatural_reply_is_found(text, state, reason):
    assert any(flaw.startswith(reason) for flaw in flaws(text, FACTS, state)), flaws(text, FACTS, state)


def test_asking_is_an_answer_where_something_is_unknown():
    assert flaws("May I have your order number?", FACTS, State("status", ("order",), 0)) == []


def test_the_three_dimensions_are_independent():
    prompt = next(
        t.dialogue[:2]
        for t in care.conversations(200, seed=5)
        if {"no_exclamation"} <= set(t.dialogue.meta["active"].values())
        and not t.dialogue.meta["states"][0]["gates"]
    )
    good = care.good_reply(prompt)
    assert care.assess(prompt, good).ok
    shouted = care.assess(prompt, good.replace(".", "!"))
    assert (shouted.adherent, shouted.natural, shouted.hallucination) == (False, True, False)
    invented = care.assess(prompt, good[:-1] + " on Noday." if good.endswith(".") else "Xenia, " + good)
    assert invented.adherent
    assert not invented.natural


def test_replies_depend_on_choices_and_poles_only():
    state = State("status", order=0)
    text = reply(FACTS, state, {"date": "date"}, [0.0] * len(SLOTS))
    assert text == "Your parcel with the green lamp left us on Monday and should arrive on Friday."
    text = reply(
        FACTS, state, {"date": "no_date", "name": "last_name", "signature": "sign"}, [0.0] * len(SLOTS)
    )
    assert text == (
        "Sure, Ms Reed. Your parcel with the green lamp left us on Monday and is on its way to you. "
        "Your Silver River team"
    )


def test_inactive_rules_are_reported_apart():
    prompt = care.test_prompts(1, seed=8)[0]
    result = care.assess(prompt, care.good_reply(prompt))
    active = set(prompt.meta["active"].values())
    assert set(result.adherence) <= active
    assert not set(result.inactive) & active
    assert {"question", "no_question"} <= set(result.inactive) | active
