"""Duplicates, overlap, odd rows and token counts, on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from halign import checks
from halign.convert import to_pairs
from halign.curation.minhash import jaccard, shingles
from halign.dialogue import Dialogue, Message
from halign.examples import Conversation, Demonstration, Preference, Ranking, Rating
from halign.items import Item, Path
from halign.readers import read

LONG = (
    "my parcel with the blue mug has not come yet although the shop said that it would be here on monday"
    " and now it is thursday evening so please tell me where it is and when it will come"
)


def demo(text, reply="I will look into it for you.", name=None):
    return Demonstration(
        Dialogue.of([{"role": "user", "content": text}]) + Message("assistant", reply), name or text[:9]
    )


def test_duplicates_by_words_not_by_name():
    a, b = demo(LONG, name="a"), demo(LONG, name="b")
    found = checks.duplicates([a, demo("Hello"), b, b])
    assert (found.exact, found.near, found.pairs) == (2, 0, ((2, 0), (3, 0)))


def test_another_verdict_or_reply_is_no_duplicate():
    d, g, b = (
        Dialogue.of([{"role": "user", "content": "Hi"}]),
        Message("assistant", "g"),
        Message("assistant", "b"),
    )
    some = [
        Rating(d, g, True, "c"),
        Rating(d, g, False, "c"),
        Preference(d, g, b, "c"),
        Preference(d, b, g, "c"),
        Ranking(d, (g, b), (1, 2), "c"),
        Ranking(d, (g, b), (1, 1), "c"),
    ]
    assert checks.duplicates(some).exact == 0


def test_near_duplicates_are_of_other_conversations():
    changed = LONG.replace("Thursday", "Friday").replace("blue", "red")
    assert 0.8 <= jaccard(shingles(LONG), shingles(changed)) < 1
    assert checks.duplicates([demo(LONG, name="a"), demo(changed, name="b")]).near == 1
    assert checks.duplicates([demo(LONG, name="a"), demo(changed, name="a")]).near == 0
    other = " ".join(reversed(LONG.split()))
    assert checks.duplicates([demo(LONG, name="a"), demo(other, name="b")]).near == 0


def test_overlap_of_splits():
    train = [demo(LONG, name="1"), demo("Hello there", name="2"), demo("Where is my order?", name="3")]
    test = [
        demo("Good evening to all of you", name="1"),  # the same name, another conversation
        demo("Hello there!", "What is it?", name="2"),  # the same conversation, another reply
        demo(LONG.upper(), name="4"),  # the same words
        demo(LONG.replace("blue", "red"), name="5"),  # nearly
    ]
    found = checks.split_overlap(train, test)
    assert found.conversations == ("2",)
    assert (found.exact, found.near) == (1, 1)
    assert found.pairs == ((2, 0), (3, 0))
    assert checks.split_overlap(train, []) == checks.Overlap((), 0, 0, ())


def test_remarks():
    user, bot = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    said = checks.remarks(
        read([{"id": "a", "prompt": [user, bot], "completion": bot, "label": True, "policy": ["x"]}])
    )
    assert said == [
        "1 of 1 examples: the prompt ends with the assistant, which then speaks twice",
        "every label is true: there is nothing to tell apart",
        "columns kept in meta, which no training uses: policy",
        "if 'policy' holds the rules in force, read it with guardrails=policy",
    ]
    tied = [{"content": "a", "rank": 1}, {"content": "a", "rank": 1}]
    said = checks.remarks(
        read([{"prompt": [user, {"role": "system", "content": "s"}, user], "responses": tied}])
    )
    assert sorted(s.split(": ")[1][:12] for s in said) == ["a system mes", "all replies ", "two replies "]
    assert "no turn has alternatives" in checks.remarks([Conversation(Dialogue.of([user, bot]), "c")])[0]
    swapped = read([{"prompt": [user], "chosen": bot, "rejected": "No", "preference": 0.3}])
    assert "below one half" in checks.remarks(swapped)[0]


def ids(*values):
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    ("paths", "nodes"),
    [
        ([], 0),
        ([[1, 2]], 2),
        ([[1, 2], [1, 2]], 2),
        ([[1, 2, 3], [1, 2], [1, 2, 4]], 4),
        ([[2, 1], [1, 2], [70000, 1], [2, 5]], 7),
    ],
)
def test_distinct_tokens_are_the_nodes_of_the_trie(paths, nodes):
    assert checks.distinct_tokens([ids(*p) for p in paths]) == nodes
    assert nodes == len({tuple(p[: i + 1]) for p in paths for i in range(len(p))})


def test_token_report_shares_within_conversations_only():
    pairs = {
        "a": Item("pairs", (Path(ids(1, 2, 3), ids(4, 9)), Path(ids(1, 2, 3), ids(5, 9))), "a"),
        "b": Item("pairs", (Path(ids(1, 2, 3), ids(4, 9)), Path(ids(1, 2, 3), ids(4, 8))), "b"),
    }
    u, g, b = Dialogue.of("x"), Message("raw", "g"), Message("raw", "b")
    data = to_pairs([Preference(u, g, b, "a"), Preference(u, g, b, "b")]).examples
    report = checks.token_report(data, lambda e: [pairs[e.conversation]])
    assert (report.items, report.flat, report.distinct) == (2, 20, 7 + 6)
    assert (report.prompts, report.responses) == ([3] * 4, [2] * 4)
    assert report.sharing == pytest.approx(20 / 13)
