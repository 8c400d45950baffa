"""What self-instruct keeps and leaves out, one case a rule."""

from __future__ import annotations

import pytest

from halign.builders import instructions as rules
from halign.builders.instructions import Instance


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Name three rivers", rules.SHORT),
        ("Name three rivers please", ""),
        (" ".join(["word"] * 150), ""),
        (" ".join(["word"] * 151), rules.LONG),
        ("Describe what the Picture shows", rules.FORBIDDEN_WORD),
        ("Describe what the mapping shows", ""),  # "map" only as a word of its own
        ("Please go to the nearest shop", rules.FORBIDDEN_WORD),
        ("Write a program that sorts numbers", rules.PROGRAM),
        ("Explain how to write a program that sorts", ""),
        ("(Name three rivers of Europe)", rules.PUNCTUATION),
        ("Écrivez une histoire courte ici", rules.NOT_ASCII),
    ],
)
def test_instructions(text, why):
    assert rules.unfit(text) == why


def test_lists_are_taken_apart():
    text = "Name 3. 5 times a river\n10 . write to Mr. Smith\n11.  \n12. Add 2.5 and 3."
    # a number within a line begins nothing; names keep their capitals
    assert rules.instructions_in(text) == ["Name 3. 5 times a river", "Write to Mr. Smith", "Add 2.5 and 3."]
    assert rules.instructions_in("9. One here\n10. Two here") == ["One here", "Two here"]
    assert rules.instructions_in("9. One here\n10. Two he", finished=False) == ["One here"]
    assert rules.instructions_in("   ") == []


def test_what_a_chat_model_says_around_its_list_is_no_task():
    text = "Sure! Here are eight more tasks:\n\n9. Name three rivers.\n\n10. Sort them by\nlength.\n\nShall I go on?"
    tasks = ["Name three rivers.", "Sort them by length."]
    assert rules.instructions_in(text, first=9) == tasks
    assert (
        rules.instructions_in(text.replace("9.", "1.").replace("10.", "2."), first=9) == tasks
    )  # counted anew
    assert (
        rules.instructions_in("Name three rivers.\n10. Sort them by length.", first=9) == tasks
    )  # its 9 was given


def test_output_first():
    text = "Class label: Positive\nI love\nit.\nClass label: Negative\nAwful.\nClass label: Neu"
    whole = [Instance("I love\nit.", "Positive"), Instance("Awful.", "Negative")]
    assert rules.instances_of_classes(text) == [*whole, Instance("", "Neu")]
    assert rules.instances_of_classes(text, finished=False) == whole
    assert rules.instances_of_classes("Positive: I love it.") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Input: a\nOutput: b", [("a", "b")]),
        ("Output: b", [("", "b")]),
        ("Example 1\nInput 1: a\nOutput 1: b\nInput 2: c\nOutput 2: d", [("a", "b")]),
        ("Example 1.\nInput: a\nOutput: b\n\nExample 2.\nc", [("a", "b"), ("", "c")]),
        ("Input: give an Example of a bird\nOutput: Owl", [("give an Example of a bird", "Owl")]),
        ("Just words", []),
    ],
)
def test_input_first(text, found):
    assert rules.instances_of_inputs(text) == [Instance(*f) for f in found]


def test_the_last_of_a_reply_that_was_cut():
    text = "Example 1\nInput: a\nOutput: b\nExample 2\nInput: c\nOutput: d and"
    assert rules.instances_of_inputs(text, finished=False) == [Instance("a", "b")]


def test_fit_instances():
    given = [
        ("a", "b"),
        ("c", ""),
        ("d", "d"),
        ("a", "b"),
        ("e:", "f"),
        ("g", "as follows:"),
        ("", "x"),
        ("", "y"),
    ]
    kept, whys = rules.fit_instances([Instance(*g) for g in given])
    assert kept == [("a", "b"), ("", "x"), ("", "y")]  # an empty input may have several outputs
    assert whys == [rules.NO_OUTPUT, rules.ECHO, rules.REPEATED, rules.COLON, rules.COLON]


def test_one_input_with_two_outputs_leaves_nothing():
    kept, whys = rules.fit_instances([Instance("a", "b"), Instance("a", "c"), Instance("d", "e")])
    assert kept == []
    assert whys == [rules.CONFLICT] * 3
