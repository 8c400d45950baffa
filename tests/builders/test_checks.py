"""Every template of checks: replies that keep the rule, that break it, and about which it says nothing; and that each reply
it proposes for breaking does break, judged by words that stand here."""

from __future__ import annotations

import random

import pytest

from halign.builders.guardrails.check_conduct import (
    Apologises,
    Asks,
    AsksBefore,
    Confirms,
    Greets,
    OffersMore,
    Thanks,
)
from halign.builders.guardrails.check_flow import After, Line, Steps
from halign.builders.guardrails.check_wording import Longest, Marks, NeverOffers, NeverSays, OneQuestion, Says
from halign.builders.guardrails.contract import Turn, Verdict
from halign.builders.guardrails.recognise import CHECKS, recognise
from halign.dialogue import Message

HELLO, NAME, PIN, MORE = (
    "Hello, how can I help?",
    "Could I get your full name, please?",
    "And your PIN?",
    "Anything else?",
)
STEPS = Steps((HELLO, NAME, PIN, "Your balance is {balance:d} in credit."))
REFUSAL = "I am sorry, I am only able to help with bank accounts."


def turn(*said, good=""):
    roles = ("user", "assistant")
    return Turn([Message(roles[i % 2], text) for i, text in enumerate(said)], good)


NEW = turn("Hi")
ON = turn("Hi", HELLO, "My balance, please")
NAMED = turn("Hi", NAME, "Ann Lee")
KEPT, BROKEN, OPEN = Verdict.KEPT, Verdict.BROKEN, Verdict.OPEN

CASES = [
    (STEPS, NEW, HELLO, KEPT),
    (STEPS, NEW, NAME, KEPT),  # the greeting may be left out
    (STEPS, NEW, PIN, BROKEN),
    (STEPS, ON, "Could I get your full name please", KEPT),
    (STEPS, ON, "Your balance is 30 in credit.", BROKEN),
    (STEPS, NAMED, "And your PIN?", KEPT),
    (STEPS, NAMED, HELLO, OPEN),  # said again
    (STEPS, turn("Hi", NAME, "Ann Lee", "For how many people?", "Two"), PIN, OPEN),  # of another task
    # of two steps that differ in a word, the reply is the one that it is more like
    (
        Steps(("For what day is the forecast?", "For what place is the forecast?")),
        NEW,
        "For what place is the forecast?",
        BROKEN,
    ),
    (STEPS, NAMED, "Nice weather today, is it not?", OPEN),
    (After(NAME, PIN), NAMED, "And your PIN?", KEPT),
    (After(NAME, PIN), NAMED, "Thank you and goodbye.", BROKEN),
    (After(NAME, PIN), ON, "Thank you and goodbye.", OPEN),
    (Line(REFUSAL, refuses=True), turn("Sing!", good=REFUSAL), REFUSAL, KEPT),
    (Line(REFUSAL, refuses=True), turn("Sing!", good=REFUSAL), "Sure, la la la!", BROKEN),
    (Line(REFUSAL, refuses=True), turn("Sing!", good=REFUSAL), "I cannot help with that.", OPEN),
    (Line(REFUSAL, refuses=True), turn("Sing!", good="La la la"), "Sure, la la la!", OPEN),
    (  # the refusal of another task, which differs in a few words
        Line("I am sorry, I do not understand. I am only able to help you change your ride.", refuses=True),
        turn(
            "Sing!",
            good="I am sorry, I do not understand. I am only able to help you check the status of your ride.",
        ),
        "Sure!",
        OPEN,
    ),
    (After("It will be {n:d} minutes.", MORE), turn("Hi", "It will be sunny all day.", "Nice"), "Bye!", OPEN),
    (After("It will be {n:d} minutes.", MORE), turn("Hi", "It will be 5 minutes.", "Nice"), "Bye!", BROKEN),
    (Greets(), NEW, "Good morning, what can I do for you?", KEPT),
    (Greets(), NEW, "What do you want?", BROKEN),
    (Greets(), NEW, "This is it.", BROKEN),  # "hi" within a word
    (Greets(), ON, "What do you want?", OPEN),
    (OffersMore(), ON, "It is done. Is there anything else I can do?", KEPT),
    (OffersMore(), ON, "It is done. Goodbye.", BROKEN),
    (OffersMore(), turn("Hi", "Is there anything else?", "No"), "Goodbye.", OPEN),
    (OffersMore(), ON, "Your balance is 3.", OPEN),
    (Apologises(), turn("x", good="Sorry, we can't."), "I'm sorry, we can't do that.", KEPT),
    (Apologises(), turn("x", good="Sorry, we can't."), "We can't do that.", BROKEN),
    (Apologises(), turn("x", good="Yes, we can."), "We did it.", OPEN),
    (Thanks(), turn("x", good="Thanks for that."), "Thank you!", KEPT),
    (Thanks(), turn("x", good="Thanks for that."), "Noted.", BROKEN),
    (Thanks(), turn("x", good="Fine."), "Noted.", OPEN),
    (Asks("the order number"), ON, "May I have your order number?", KEPT),
    (Asks("the order number"), ON, "I do not need your order number.", BROKEN),
    (Asks("the order number"), ON, "I see.", OPEN),
    (Asks("Full Name or Account ID"), ON, "would you give me your account ID", KEPT),
    (Asks("Full Name or Account ID"), ON, "would you give me your shoe size", OPEN),
    (AsksBefore("order number", "refund"), ON, "Could you tell me the order number?", KEPT),
    (AsksBefore("order number", "refund"), ON, "I have sent the refund.", BROKEN),
    (AsksBefore("order number", "refund"), ON, "Would you like a refund?", OPEN),
    (AsksBefore("order number", "refund"), turn("My order number is 12"), "I have sent the refund.", OPEN),
    (
        AsksBefore("order number", "refund"),
        turn("Hi", "What is your order number?", "12"),
        "I have sent the refund.",
        OPEN,
    ),
    (Confirms(), ON, "So a table for two, is that correct?", KEPT),
    (Confirms(), ON, "I have booked it.", BROKEN),
    (Confirms(), turn("Hi", "Shall I book it?", "Yes"), "I have booked it.", OPEN),
    (Confirms(), ON, "Which day?", OPEN),
    (NeverSays(("guys", "no worries")), ON, "Thanks, disguyse.", KEPT),
    (NeverSays(("guys", "no worries")), ON, "No worries!", BROKEN),
    (NeverOffers("discounts", "offer"), ON, "The price is fixed.", KEPT),
    (NeverOffers("discounts", "offer"), ON, "I can give you a discount.", BROKEN),
    (NeverOffers("discounts", "offer"), ON, "I cannot give you a discount.", OPEN),
    (Marks("emoji", wanted=False), ON, "Fine :-", KEPT),
    (Marks("emoji", wanted=False), ON, "Fine 😊", BROKEN),
    (Marks("exclamation", wanted=False), ON, "Fine!", BROKEN),
    (Marks("link"), ON, "See https://a.org/b.", KEPT),
    (Marks("link"), ON, "See there.", BROKEN),
    (Marks("number", everywhere=False), turn("x", good="It is 5."), "It is some.", BROKEN),
    (Marks("number", everywhere=False), turn("x", good="It is so."), "It is some.", OPEN),
    (Longest(3), ON, "one two three", KEPT),
    (Longest(3), ON, "one two three four", BROKEN),
    (Longest(1, "sentences"), ON, "One. Two.", BROKEN),
    (Longest(5, "characters"), ON, "123456", BROKEN),
    (OneQuestion(), ON, "Who? Where?", BROKEN),
    (OneQuestion(), ON, "Who?", KEPT),
    (OneQuestion(), ON, "You.", OPEN),
    (Says("Stay safe."), ON, "It is done. Stay safe.", KEPT),
    (Says("Stay safe."), ON, "It is done.", BROKEN),
]


@pytest.mark.parametrize(("check", "place", "reply", "verdict"), CASES, ids=lambda v: str(v)[:40])
def test_verdicts(check, place, reply, verdict):
    assert check.judge(Turn(place.before, place.good or reply), reply) is verdict


BREAKABLE = [
    (STEPS, NEW, HELLO),
    (After(NAME, PIN), NAMED, PIN),
    (Line(REFUSAL, refuses=True), turn("Sing!"), REFUSAL),
    (Greets(), NEW, "Hello there. What can I do for you?"),
    (OffersMore(), ON, "It is done. Is there anything else?"),
    (Apologises(), ON, "I'm sorry, but we can't do that."),
    (Thanks(), ON, "Thank you. It is done."),
    (Asks("the order number"), ON, "May I have your order number?"),
    (AsksBefore("order number", "process the refund"), ON, "May I have your order number?"),
    (Confirms(), ON, "So two of them, is that correct?"),
    (NeverSays(("guys",)), ON, "Fine."),
    (NeverOffers("discounts", "offer"), ON, "Fine."),
    (NeverOffers("delivery dates", "promise"), ON, "Fine."),
    (Marks("emoji", wanted=False), ON, "Fine."),
    (Marks("exclamation", wanted=False), ON, "It is done. 4.50 dollars in all. Your team"),
    (Marks("exclamation", wanted=False), ON, "Who?"),
    (Marks("link"), ON, "It is done. See https://a.org."),
    (Longest(12), ON, "Fine."),
    (Longest(2, "sentences"), ON, "Fine."),
    (Longest(300, "characters"), ON, "Fine."),
    (OneQuestion(), ON, "Who?"),
    (Says("Stay safe."), ON, "It is done. Stay safe."),
]


@pytest.mark.parametrize(("check", "place", "good"), BREAKABLE, ids=lambda v: str(v)[:40])
def test_what_should_break_a_rule_does(check, place, good):
    here = Turn(place.before, good)
    assert check.judge(here, good) is KEPT
    for seed in range(5):
        proposed = check.breaking(here, random.Random(seed))
        assert proposed
        assert [check.judge(here, p) for p in proposed] == [BROKEN] * len(proposed), proposed
        assert proposed == check.breaking(here, random.Random(seed))


def test_every_template_is_tested():
    assert {type(c) for c, *_ in CASES} == {type(c) for c, *_ in BREAKABLE} == set(CHECKS.values())


@pytest.mark.parametrize(
    ("phrase", "breaks", "keeps"),
    [
        ("бесплатно", "Доставка бесплатно!", "Доставка платная."),
        ("gratuité", "La gratuité, oui.", "La gratuite est autre."),
        ("免费", "我们提供免费送货。", "送货费五元。"),
    ],
)
def test_words_of_other_alphabets_are_seen(phrase, breaks, keeps):
    check = NeverSays((phrase,))
    assert check.judge(NEW, breaks) is BROKEN
    assert check.judge(NEW, keeps) is KEPT
    assert check.judge(NEW, check.breaking(turn("Hi", good=keeps), random.Random(0))[0]) is BROKEN


def test_an_exclamation_mark_stands_for_the_last_full_stop():
    said = Turn((), "It is done. 4.50 dollars in all. Your team")
    first = Marks("exclamation", wanted=False).breaking(said, random.Random(0))[0]
    assert first == "It is done. 4.50 dollars in all! Your team"


RULES = {
    'bank: go through these steps in order: "Hi"; run query; "Bye now".': Steps(("Hi", "Bye now")),
    'x: after "A b?": "C d.".': After("A b?", "C d."),
    'x: when asked for anything else: "I am only able to x."': Line("I am only able to x.", refuses=True),
    'x: if the answer or result is "Yes": "Fine.".': None,  # its occasion cannot be seen
    "Answer in at most two sentences.": Longest(2, "sentences"),
    "Replies must not exceed 50 words.": Longest(50),
    "Keep it under 20 words.": Longest(19),
    "Use no fewer than three sentences.": None,  # the least, not the most
    "Write not less than 20 words.": None,
    "Ask only one question at a time.": OneQuestion(),
    "Never use the words 'guys' or 'cheap'.": NeverSays(("guys", "cheap")),
    "Do not use emojis.": Marks("emoji", wanted=False),
    "Never offer discounts to customers.": NeverOffers("discounts", "offer"),
    "Do not promise a delivery date.": NeverOffers("delivery date", "promise"),
    "Never offer a refund unless the item is broken.": None,  # only forbidden on a condition
    "When you explain delivery, do not mention express.": None,
    "If a customer is angry, do not use exclamation marks.": None,
    "Do not discuss competitors with the customer.": NeverOffers("competitors", "mention"),
    "Greet the customer warmly.": Greets(),
    "Never greet the customer.": None,
    "End every chat by asking if the customer needs anything else.": OffersMore(),
    "If a request is refused, apologise.": Apologises(),
    "Always thank the customer.": Thanks(),
    "Ask for the order number.": Asks("the order number"),
    "You must ask the customer for their email address.": Asks("their email address"),
    "Ask their name.": Asks("their name"),
    "Ask the customer's name.": Asks("the customer's name"),
    "Ask the Oracle": None,  # somebody who is asked, not what is asked for
    "Ask for the shipping status from the customer and then submit using [Shipping Status]": Asks(
        "the shipping status"
    ),
    "Ask the customer for their membership level and enter into [Membership Privileges]": Asks(
        "their membership level"
    ),
    "Before issuing a refund, you must ask for the order number.": AsksBefore(
        "the order number", "issuing a refund"
    ),
    "Collect the postcode before you change the address.": AsksBefore("the postcode", "change the address"),
    "Ask the customer if they like it.": None,
    "Confirm the details with the customer before booking.": Confirms(),
    "Every reply must include a link.": Marks("link"),
    'End every message with "Stay safe."': Says("Stay safe."),
    "Be empathetic.": None,
    "Orders can be cancelled within two days.": None,
}


@pytest.mark.parametrize(("text", "check"), RULES.items())
def test_rules_in_words(text, check):
    assert recognise(text) == check
