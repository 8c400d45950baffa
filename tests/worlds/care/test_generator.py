"""Conversations: reproducible, split cleanly, varied, and long enough."""

from __future__ import annotations

import json
import re
from itertools import islice

import pytest

from halign.worlds import care
from halign.worlds.care import customers, facts
from halign.worlds.care.facts import Facts
from halign.worlds.care.guardrails import BY_SENTENCE
from halign.worlds.care.sentences import SENTENCES


def some(n=200, **kwargs):
    return list(care.conversations(n, **kwargs))


@pytest.mark.parametrize("quality", ["clean", "mixed"])
def test_same_seed_same_conversations(quality):
    assert some(20, seed=3, quality=quality) == some(20, seed=3, quality=quality)
    assert some(20, seed=3, quality=quality) != some(20, seed=4, quality=quality)


def test_fewer_are_the_first_of_more():
    assert some(5, seed=1) == list(islice(care.conversations(50, seed=1), 5))


def test_meta_is_json():
    for conversation in some(20, split="test"):
        meta = conversation.dialogue.meta
        assert json.loads(json.dumps(meta)) == meta
        assert Facts.of(meta["facts"]).to_dict() == meta["facts"]


def test_roles_alternate_after_the_system_message():
    for conversation in some(100):
        roles = [m.role for m in conversation.dialogue.messages]
        assert roles == ["system"] + ["user", "assistant"] * ((len(roles) - 1) // 2)
        assert len(conversation.dialogue.meta["states"]) == (len(roles) - 1) // 2


def test_length_and_guardrails():
    trees = some(500)
    turns = [len(t.dialogue.messages) // 2 for t in trees]
    assert 4 <= sum(turns) / len(turns) <= 8
    assert max(turns) <= 12
    assert all(2 <= len(t.dialogue.guardrails) <= 5 for t in trees)
    assert {len(t.dialogue.guardrails) for t in trees} == {2, 3, 4, 5}
    judged = sum(len(t.alternatives) for t in trees)
    assert judged / sum(turns) > 0.8  # most agent turns have something to get wrong


def test_the_pool_is_wide_enough():
    assert len(care.KINDS) >= 15
    assert len(care.INTENTS) >= 8
    seen = {s["intent"] for c in some(400) for s in c.dialogue.meta["states"]}
    assert seen == set(care.INTENTS) | {"farewell"}


def test_alternatives_differ_and_name_a_guardrail_in_force():
    for tree in some(200):
        for turn, alternatives in tree.alternatives.items():
            for alternative in alternatives:
                assert alternative.violates in tree.dialogue.meta["active"].values()
                assert alternative.message.content != tree.dialogue.messages[turn].content
                assert alternative.rank == 2


def test_mixed_conversations_have_no_alternatives():
    assert not any(c.alternatives for c in some(50, quality="mixed"))


# Splits

COMBINATIONS = {
    "products": facts.PRODUCTS,
    "customers": facts.CUSTOMERS,
    "shops": facts.SHOPS,
    "numbers": facts.NUMBERS,
    "streets": facts.STREETS,
    "consumables": facts.CARE_PRODUCTS,
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_splits_share_no_combination_but_every_word(name):
    pools = COMBINATIONS[name]
    train, validation, test = (set(pools[s]) for s in ("train", "validation", "test"))
    assert not train & validation
    assert not test & (train | validation)
    assert pools["pretrain"] == pools["train"]

    def words(pool):
        return {w for value in pool for w in str(value).replace("(", "").replace("'", " ").split()}

    if name != "numbers":
        assert words(pools["test"]) <= words(pools["train"])


def test_held_out_kinds_and_wordings_are_only_in_the_test_split():
    held_out = {g.id for g in care.GUARDRAILS.values() if g.held_out}
    held_out_sentences = {s for _, late in SENTENCES.values() for s in late}
    in_force = {}
    for split in ("pretrain", "train", "validation", "test"):
        conversations = some(600, split=split)
        in_force[split] = {p for c in conversations for p in c.dialogue.meta["active"].values()}
        used = {s for c in conversations for s in c.dialogue.guardrails}
        assert {BY_SENTENCE[s] for s in used} == in_force[split]
        assert bool(used & held_out_sentences) == (split == "test")
    assert held_out
    assert not held_out & (in_force["train"] | in_force["validation"])
    assert held_out <= in_force["test"]
    assert held_out <= in_force["pretrain"]


def _words(lines):
    return {word for line in lines for word in re.findall(r"[\w'-]+|[$]", line)}


def test_held_out_wordings_are_made_of_words_that_other_wordings_use():
    seen = _words(s for early, _ in SENTENCES.values() for s in early)
    assert not _words(s for _, late in SENTENCES.values() for s in late) - seen
    openings = customers.OPENINGS.values()
    seen = _words(o for lines in openings for o in lines[: -customers.HELD_OUT])
    assert not _words(o for lines in openings for o in lines[-customers.HELD_OUT :]) - seen


def test_held_out_openings_are_only_in_the_test_split():
    late = [
        o.partition("{")[0] for lines in customers.OPENINGS.values() for o in lines[-customers.HELD_OUT :]
    ]
    early = [
        o.partition("{")[0] for lines in customers.OPENINGS.values() for o in lines[: -customers.HELD_OUT]
    ]
    marks = [s for s in late if len(s) > 20 and not any(s in e or e.startswith(s) for e in early)]
    assert len(marks) >= 5

    def seen(split):
        text = "\n".join(
            m.content for c in some(600, split=split) for m in c.dialogue.messages if m.role == "user"
        )
        return {mark for mark in marks if mark in text}

    assert not seen("train")
    assert not seen("pretrain")
    assert seen("test")


def test_prompts_end_with_a_customer_where_a_guardrail_applies():
    prompts = care.test_prompts(60, split="test", seed=2)
    assert len(prompts) == 60
    assert len({p.meta["conversation"] for p in prompts}) == 60
    assert prompts == care.test_prompts(60, split="test", seed=2)
    for prompt in prompts:
        assert prompt.messages[-1].role == "user"
        reply = care.good_reply(prompt, seed=1)
        assert care.assess(prompt, reply).adherence
    assert {len(p) for p in prompts} > {2, 4}  # first turns and later ones


def test_histories_are_clean_or_mixed_as_asked():
    def kept(history):
        verdicts = [
            care.assess(p[:i], p.messages[i].content).adherent
            for p in care.test_prompts(80, history=history)
            for i in range(2, len(p), 2)
        ]
        return sum(verdicts) / len(verdicts)

    assert kept("clean") == 1
    assert 0.3 < kept("mixed") < 0.8
