"""Guardrails and their checks: keeping agents pass, breaking agents fail exactly one, and no guardrail can be
kept by wording alone."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.worlds import care
from halign.worlds.care.checks import CHECKS, promised_days, sentence_count, signature, words_in
from halign.worlds.care.facts import Facts, draw_facts
from halign.worlds.care.guardrails import GUARDRAILS, KINDS
from halign.worlds.care.state import State

FACTS = draw_facts(random.Random(0), "train", ("late", "delivered"), False)


@pytest.mark.parametrize("split", ["train", "test"])
def test_keeping_agents_pass_and_breaking_agents_fail_exactly_the_flipped_rule(split):
    broken = Counter()
    for tree in care.conversations(500, split=split, seed=11):
        for i, message in enumerate(tree.dialogue.messages):
            if message.role != "assistant":
                continue
            prompt = tree.dialogue[:i]
            good = care.assess(prompt, message.content)
            assert good.ok, (prompt.messages[-1].content, message.content, good)
            for alternative in tree.alternatives.get(i, ()):
                bad = care.assess(prompt, alternative.message.content)
                assert [r for r, kept in bad.adherence.items() if not kept] == [alternative.violates]
                assert bad.natural, (alternative.message.content, bad.flaws)
                assert not bad.hallucination, (alternative.message.content, bad.unsupported)
                broken[alternative.violates] += 1
    expected = {g.id for g in GUARDRAILS.values() if split == "test" or not g.held_out}
    assert set(broken) == expected


def test_breaking_a_rule_by_hand():
    tree = next(t for t in care.conversations(50, seed=2) if t.alternatives)
    turn, (alternative,) = next(iter(tree.alternatives.items()))
    prompt = tree.dialogue[:turn]
    for seed in range(20):
        good = care.good_reply(prompt, seed)
        bad = care.break_guardrail(prompt, alternative.violates, seed)
        assert care.assess(prompt, good).ok
        assert not care.assess(prompt, bad).adherence[alternative.violates]
        assert sum(not k for k in care.assess(prompt, bad).adherence.values()) == 1
        assert good == care.good_reply(prompt, seed)
    absent = next(g for g in GUARDRAILS if g not in prompt.meta["active"].values())
    with pytest.raises(HalignError):
        care.break_guardrail(prompt, absent)


def test_a_foreign_prompt_is_refused():
    with pytest.raises(HalignError):
        care.assess(Dialogue.of([{"role": "user", "content": "Hi"}]), "Hello.")


def test_every_guardrail_has_an_opposite_that_it_excludes():
    for guardrail in GUARDRAILS.values():
        opposite = GUARDRAILS[guardrail.opposite]
        assert opposite.kind == guardrail.kind
        assert opposite.id != guardrail.id
    for tree in care.conversations(300, split="test"):
        kinds = [GUARDRAILS[p].kind for p in tree.dialogue.meta["active"].values()]
        assert len(set(kinds)) == len(kinds)


def test_every_guardrail_is_worded_four_ways_and_two_more_for_the_test():
    for guardrail in GUARDRAILS.values():
        assert len(set(guardrail.sentences)) >= 4
        assert len(set(guardrail.held_out_sentences)) >= 2


def test_the_same_reply_is_right_under_one_rule_and_wrong_under_another():
    """Of every kind, each pole's check is kept by some reply that breaks the check of the other pole."""
    witnessed = set()
    for tree in care.conversations(1200, split="test", seed=4):
        for i, alternatives in tree.alternatives.items():
            good, bad = tree.dialogue.messages[i].content, alternatives[0].message.content
            state = State.of(tree.dialogue.meta["states"][(i - 1) // 2])
            facts = Facts.of(tree.dialogue.meta["facts"])
            rule = GUARDRAILS[alternatives[0].violates]
            others = [GUARDRAILS[p] for p in KINDS[rule.kind].poles if p != rule.id]
            assert not any(o.check(good, state, facts) for o in others)
            assert any(o.check(bad, state, facts) for o in others)
            witnessed.add(rule.id)
    assert witnessed == set(GUARDRAILS)


# Checks, one by one, on replies that no grammar made

ORDER, PARCEL = State("status", order=0), State("late", order=0)


def check(rule, reply, state=ORDER, facts=FACTS):
    return CHECKS[rule](reply, state, facts)


def test_checks_match_whole_words():
    assert not words_in("Your backpack is here.", "pack")
    assert not words_in("We postpone it.", "post")
    assert check("invoice_mail", "I will e-mail it.", State("invoice", order=0))
    assert check("no_name", f"The {FACTS.first}son chair is here.")
    assert not check("no_name", f"It is here, {FACTS.first}.")
    assert check("no_blame", "The carriers are fine.", PARCEL)  # the plural is another word
    assert not check("no_blame", "Blame the carrier!", PARCEL)


def test_a_question_is_what_stands_last_before_the_signature():
    assert check("question", f"It is on its way. Is that all right? Your {FACTS.shop} team")
    assert not check("question", "Is that all right? It is on its way.")
    assert check("no_question", "Is that all right? It is on its way.")


def test_a_signature_carries_the_right_name():
    assert signature(f"Here it is. Your {FACTS.shop} team") == FACTS.shop
    assert signature(f"Your {FACTS.shop} team sends it.") is None
    assert check("sign", f"Here it is. Your {FACTS.shop} team")
    assert not check("sign", "Here it is. Your Other Shop team")
    assert not check("no_signature", "Here it is. Your Other Shop team")
    assert check("no_signature", f"Your {FACTS.shop} team sends it.")


def test_sentences_are_counted_without_the_signature():
    assert sentence_count(f"Hello! It is here. All right? Your {FACTS.shop} team") == 3
    assert check("brief", "One. Two.")
    assert not check("brief", "One. Two. Three.")
    assert check("detailed", "One. Two. Three.")


def test_the_day_of_dispatch_is_no_promise():
    assert promised_days("It left us on Monday and is due on Friday.") == ["Friday"]
    assert check("no_date", "It left us on Monday.")
    assert not check("no_date", "It left us on Monday and is due on Friday.")


def test_asking_first_is_broken_by_acting_only():
    refund = State("refund", ("order", "exchange"), 1)
    assert check("exchange_first", "May I have your order number?", refund) is None
    assert check("exchange_first", "I will refund $40 to your card.", refund) is False
    assert check("exchange_first", "Would you like an exchange?", refund) is True
    assert check("order_first", "Would you like an exchange?", refund) is False
    assert check("to_card", "May I have your order number?", refund) is None
    assert check("to_card", "You get store credit.", refund) is False


def test_prices():
    price = State("price")
    assert check("dollar_sign", "It costs $40.", price)
    assert not check("dollar_sign", "It costs 40 dollars.", price)
    assert not check("dollar_sign", "It costs $40, 40 dollars.", price)
    assert check("dollar_word", "It costs 40 dollars.", price)
    assert not check("dollar_word", "It costs 40.", price)


# A bag of words


def _counts(texts, vocabulary):
    rows = np.zeros((len(texts), len(vocabulary)))
    for row, text in zip(rows, texts, strict=True):
        for word in text:
            if word in vocabulary:
                row[vocabulary[word]] = 1
    return rows


def _logistic(x, y, steps=300, rate=0.5, decay=1e-3):
    weights, bias = np.zeros(x.shape[1]), 0.0
    for _ in range(steps):
        error = 1 / (1 + np.exp(-(x @ weights + bias))) - y
        weights -= rate * (x.T @ error / len(y) * 5 + decay * weights)
        bias -= rate * error.mean()
    return weights, bias


def bag_of_words_accuracy(pairs, folds=4):
    """How often a logistic regression on a reply's words tells chosen from rejected, cross-validated over
    conversations: the mean over single replies, and over pairs (which of the two scores higher)."""
    single, paired = [], []
    for fold in range(folds):
        train = [p for i, p in enumerate(pairs) if i % folds != fold]
        held_out = [p for i, p in enumerate(pairs) if i % folds == fold]
        words = Counter(w for group in train for pair in group for reply in pair for w in set(reply))
        vocabulary = {w: i for i, (w, n) in enumerate(words.most_common()) if n >= 3}
        flat = [reply for group in train for pair in group for reply in pair]
        labels = np.array([1.0, 0.0] * (len(flat) // 2))
        weights, bias = _logistic(_counts(flat, vocabulary), labels)
        for group in held_out:
            for pair in group:
                scores = _counts(pair, vocabulary) @ weights + bias
                single += [scores[0] > 0, scores[1] <= 0]
                paired.append(scores[0] > scores[1])
    return float(np.mean(single)), float(np.mean(paired))


def _bags(split, n):
    def bag(text):
        return "".join(c if c.isalnum() or c in "-$'" else f" {c} " for c in text).split()

    return [
        [
            (bag(tree.dialogue.messages[i].content), bag(alternatives[0].message.content))
            for i, alternatives in tree.alternatives.items()
        ]
        for tree in care.conversations(n, split=split, seed=9)
    ]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_bag_of_words_does_not_tell_chosen_from_rejected(split):
    single, paired = bag_of_words_accuracy(_bags(split, 500))
    assert single <= 0.6
    assert paired <= 0.6


def test_the_bag_of_words_would_find_a_style_that_always_loses():
    """The measure has power: it finds one extra word in half of the rejected replies."""
    pairs = [
        [(good, [*bad, "whatever"] if k % 2 else bad) for k, (good, bad) in enumerate(group)]
        for group in _bags("train", 300)
    ]
    assert bag_of_words_accuracy(pairs)[0] > 0.6
