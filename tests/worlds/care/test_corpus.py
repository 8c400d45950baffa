"""What the base model reads."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from halign.examples import Conversation, Demonstration
from halign.worlds import care
from halign.worlds.care.corpus import DICTATIONS_EACH, corpus, other_replies, spoken
from halign.worlds.care.generator import KEEP


def test_order_and_counts():
    read = list(corpus(4, replies=3, dictations_=2 * DICTATIONS_EACH + 1))
    turns = [len(c.dialogue.messages) // 2 for c in spoken(4)]
    kinds = [
        (kind, len(list(group)))
        for kind, group in groupby("spoken" if "mixed" in e.conversation else "list" for e in read)
    ]
    each = DICTATIONS_EACH
    assert kinds[:4] == [
        ("spoken", 1 + 2 * turns[0]),
        ("list", each),
        ("spoken", 1 + 2 * turns[1]),
        ("list", each),
    ]
    assert Counter(k for k, n in kinds for _ in range(n)) == {
        "spoken": sum(1 + 2 * t for t in turns),
        "list": 2 * each + 1,
    }


def test_other_replies_answer_the_same_turns_in_other_words():
    (conversation,) = spoken(1, seed=3)
    assert isinstance(conversation, Conversation)
    others = list(other_replies(conversation, 5))
    messages = conversation.dialogue.messages
    assert Counter(d.turns for d in others) == {
        (i,): 5 for i, m in enumerate(messages) if m.role == "assistant"
    }
    for demonstration in others:
        assert isinstance(demonstration, Demonstration)
        (at,) = demonstration.turns
        assert demonstration.dialogue.messages[:at] == messages[:at]
        assert demonstration.dialogue.guardrails == conversation.dialogue.guardrails
        assert demonstration.conversation == conversation.conversation
    assert len({d.dialogue.messages[-1].content for d in others}) > len(others) / 2


def test_other_replies_are_true_and_keep_rules_as_often_as_mixed_agents_do():
    kept = []
    for conversation in spoken(150, seed=5):
        for demonstration in other_replies(conversation, 2):
            at = demonstration.turns[0]
            said = care.assess(demonstration.dialogue[:at], demonstration.dialogue.messages[at].content)
            assert said.natural
            assert not said.hallucination
            kept += said.adherence.values()
    assert abs(sum(kept) / len(kept) - KEEP) < 0.04


def test_more_guardrails_are_in_force_than_elsewhere():
    counts = Counter(len(c.dialogue.guardrails) for c in spoken(200))
    assert set(counts) == {2, 3, 4, 5, 6}
