"""Interactive translation: directions by rule against replies by hand, what the writer is shown, and where a dialogue ends."""

from __future__ import annotations

import random

import pytest

from halign.builders import interactive_translation as it
from halign.builders.interactive_translation import BUILDER
from halign.builders.translation_directions import by_rule
from halign.errors import HalignError
from tests.builders.helpers import Says, Thinks, agent, run, user

SAID = "Though miles apart, we share the same bond. True friends stay near."
KINDS = {"length", "beginning", "word", "one sentence"}


def direction(kind, translation=SAID):
    """The direction of that kind."""
    return by_rule(translation, KINDS - {kind}, random.Random(0))


@pytest.mark.parametrize(
    ("kind", "words", "kept", "broken"),
    [
        ("length", "Shorten it to 8 words or less.", "Far apart, we stay near: true friends.", "a " * 9),
        ("one sentence", "Make it a single sentence.", "Though apart, we are near", "Apart. But near!"),
    ],
)
def test_directions_by_rule(kind, words, kept, broken):
    found = direction(kind)
    assert found.text == words
    assert found.kept(kept)
    assert not found.kept(broken)
    assert not found.kept(SAID)


def test_directions_that_name_a_word():
    found = direction("beginning")
    word = found.text.removeprefix("Start with '").removesuffix("'.")
    assert word in SAID
    assert found.kept(f"«{word.upper()}, we say»")  # the first word, whatever stands before it
    assert not found.kept(f"We {word}")
    assert not found.kept(f"{word}er than that")
    found = direction("word")
    word = found.text.removeprefix("Say it without the word '").removesuffix("'.")
    assert word in SAID
    assert found.kept(SAID.replace(word, "x"))
    assert not found.kept(SAID.replace(word, word.upper()))
    assert found.kept(SAID.replace(word, f"{word}x"))  # another word


def test_where_rules_have_nothing_to_say():
    assert by_rule(SAID, KINDS, random.Random(0)) is None
    assert (
        by_rule("海内存知己，天涯若比邻。", (), random.Random(0)) is None
    )  # no words that white space divides
    assert direction("one sentence", "Just one sentence here") is None  # it is one already
    assert direction("beginning", "Then we go to it") is None  # no other word of four letters


def source(name, text, *more):
    return {"id": name, "messages": [user(text), *more]} if more else {"id": name, "prompt": [user(text)]}


def obeying(prompt, k):
    """A translator that does what it is asked last."""
    *_, last = (m.content for m in prompt.messages)
    if last.startswith("Translate"):
        return SAID
    if last.startswith("Start with"):
        return f"{last.split(chr(39))[1]} is what {SAID}"
    if last.startswith("Shorten"):
        return "Near we are. Near we stay."
    if last.startswith("Say it without"):
        return f"A B. C D {len(prompt)}."
    return f"We are near, and near we stay {len(prompt)}"


def test_a_dialogue_of_three_directions(tmp_path):
    writer = Says(obeying)
    settings = {"language": "English", "turns": 3}
    report, (row,) = run(
        BUILDER, tmp_path, [source("a", "海内存知己，天涯若比邻。")], settings, writer=writer
    )
    first, answer, *later = row["messages"]
    assert first["content"].startswith("Translate the text below into English.")
    assert first["content"].endswith("\n\n海内存知己，天涯若比邻。")
    assert answer == agent(SAID)
    assert [m["role"] for m in later] == ["user", "assistant"] * (len(later) // 2)
    assert row["turns"] == [i for i, m in enumerate(row["messages"]) if m["role"] == "assistant"]
    assert row["language"] == "English"
    assert len(row["directions"]) == len(set(row["directions"])) == len(later) // 2 == 3
    assert report.tallies == {"directions": 3}
    assert len(row["lineage"]["replies"]) == 4  # the translation, and three revisions
    shown = [len(p) for p in writer.asked]
    assert shown == [1, 3, 5, 7]  # the writer reads the whole dialogue


def test_the_first_translation_may_be_the_rows_own(tmp_path):
    answered, asked = [source("a", "Hallo, mein Freund", agent(SAID))], [source("b", "Guten Tag")]

    def replies(rows, first):
        """How many replies went into the dialogue."""
        given = {"language": "English", "turns": 1, "first": first}
        _, built = run(BUILDER, tmp_path, rows, given, f"{first}.jsonl", writer=Says(obeying))
        (tmp_path / f"{first}.jsonl").unlink()
        assert [r["messages"][1]["content"] for r in built] == [SAID]
        return len(built[0]["lineage"]["replies"])

    assert [replies(answered, first) for first in ("auto", "given", "written")] == [1, 1, 2]
    assert [replies(asked, first) for first in ("auto", "written")] == [2, 2]
    with pytest.raises(HalignError, match=f"nothing was built of 1 rows: 1 {it.UNTRANSLATED}"):
        replies(asked, "given")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (None, it.REPEATED),  # the translation before, again
        (f"{SAID} {SAID}. Again.", it.UNKEPT),
        ("cut off ...", it.SILENT),
        ("Guten Tag", it.REPEATED),
    ],
)
def test_a_dialogue_ends_before_a_direction_that_was_not_followed(tmp_path, reply, why):
    """The first revision is right, the second wrong: both turns of the second are left out."""

    def words(prompt, k):
        return (reply or prompt.messages[3].content) if len(prompt) == 5 else obeying(prompt, k)

    settings = {"language": "English", "turns": 3, "seed": 2}
    report, rows = run(BUILDER, tmp_path, [source("a", "Guten Tag")], settings, writer=Says(words))
    assert report.dropped[why] == 1
    assert [len(r["messages"]) for r in rows] == [4]
    assert rows[0]["directions"] == rows[0]["directions"][:1]


def test_too_few_directions(tmp_path):
    def words(prompt, k):
        return None if len(prompt) == 1 and "stumm" in prompt.messages[0].content else obeying(prompt, k)

    settings = {"language": "English", "turns": 1, "skip_failed": True, "least": 1}
    rows = [source("a", "stumm"), source("b", "Guten Tag")]
    report, built = run(BUILDER, tmp_path, rows, settings, writer=Says(words))
    assert [r["conversation"] for r in built] == ["b"]
    assert report.dropped == {it.UNTRANSLATED: 1}


def test_directions_of_the_writer_are_judged(tmp_path):
    """The judge is asked about text, both translations and the direction; what it does not find heeded is left out."""

    def words(prompt, k):
        last = prompt.messages[-1].content
        if last.startswith("You speak as somebody"):
            assert ("You have asked for already" in last) == ("- Make it warmer 1." in last)
            return f"Make it warmer {1 + ('already' in last)}."
        return SAID if last.startswith("Translate") else f"Warm words {len(prompt)}"

    judge = Thinks(lambda question: 0.9 if "Make it warmer 1." in question else 0.2)
    settings = {"language": "English", "turns": 3, "directions": "free"}
    writer = Says(words)
    report, (row,) = run(BUILDER, tmp_path, [source("a", "Guten Tag")], settings, writer=writer, judge=judge)
    assert [m["content"] for m in row["messages"][2:]] == ["Make it warmer 1.", "Warm words 3"]
    assert row["directions"] == ["free"]
    assert report.dropped == {it.UNHEEDED: 1}
    assert set(row["lineage"]["replies"]) == {
        f"key {SAID}", "key Make it warmer 1.", "key Warm words 3", "judge 0.9",
    }  # fmt: skip
    for said in ("Text:\nGuten Tag", f"Translation before:\n{SAID}", "Translation after:\nWarm words 3"):
        assert said in judge.asked[0]


def test_chunks_do_not_matter_to_what_is_drawn(tmp_path):
    rows = [source(f"{i}", f"Guten Tag {i}") for i in range(6)]
    _, one = run(BUILDER, tmp_path, rows, {"language": "English"}, "a.jsonl", writer=Says(obeying))
    _, two = run(
        BUILDER, tmp_path, rows, {"language": "English", "chunk": 2}, "b.jsonl", writer=Says(obeying)
    )
    assert [r["messages"] for r in one] == [r["messages"] for r in two]
    assert len({tuple(r["directions"]) for r in one}) > 1
