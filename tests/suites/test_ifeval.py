"""IFEval: the set's own facts, and instructions whose answer is known by hand. Needs the extra ``eval``."""

from __future__ import annotations

import pytest

from halign.errors import HalignError
from halign.suites import Bench, Files, find, resolve
from halign.suites.contract import Answered, Question, one_turn
from halign.suites.totals import totals
from tests.suites.test_programs import needs_data, questions


def library():
    import nltk

    pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness: pip install 'halign[eval]'")
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        pytest.skip("needs nltk's punkt_tab: python -m nltk.downloader punkt_tab")


@needs_data
def test_ifeval_has_541_prompts_with_834_instructions():
    found = questions("ifeval")
    assert (len(found), sum(len(q.meta["instructions"]) for q in found)) == (541, 834)


@needs_data
def test_every_instruction_is_checked_and_an_empty_reply_follows_none():
    library()
    suite = find("ifeval")
    settings = resolve([suite], {})["ifeval"]
    answered = [Answered(q, (("",),)) for q in questions("ifeval")]
    records = suite.score(answered, settings, Bench("m", Files("ifeval", suite.files)))
    found = totals(records)
    assert {name: (i.n, i.value) for name, i in found.items()} == {
        "by prompt, strict": (541, 0.0),
        "by prompt, loose": (541, 0.0),
        "by instruction, strict": (834, 0.0),
        "by instruction, loose": (834, 0.0),
    }


def question(*instructions):
    return Question(
        "q",
        one_turn("Write."),
        meta={
            "key": 1,
            "instructions": [name for name, _ in instructions],
            "arguments": [arguments for _, arguments in instructions],
        },
    )


COMMA = ("punctuation:no_comma", {})
WORDS = ("length_constraints:number_words", {"relation": "at least", "num_words": 3})
END = ("startend:end_checker", {"end_phrase": "The end."})


@pytest.mark.parametrize(
    ("reply", "strict", "loose"),
    [
        ("one two three The end.", [1, 1, 1], [1, 1, 1]),
        ("one, two three The end.", [0, 1, 1], [0, 1, 1]),
        ("one two\nThe end.\nBye!", [1, 1, 0], [1, 1, 1]),  # loose: without the last line
        ("Well, here:\none two three The end.", [0, 1, 1], [1, 1, 1]),  # without the first
        ("one", [1, 0, 0], [1, 0, 0]),
    ],
)
def test_strict_and_loose_accuracies_by_hand(reply, strict, loose):
    library()
    suite = find("ifeval")
    records = suite.score(
        [Answered(question(COMMA, WORDS, END), ((reply,),))],
        resolve([suite], {})["ifeval"],
        Bench("m", Files("ifeval", suite.files)),
    )
    for way, kept in (("strict", strict), ("loose", loose)):
        assert [r.value for r in records if r.dimension == f"by instruction, {way}"] == kept
        assert [r.value for r in records if r.dimension == f"by prompt, {way}"] == [float(all(kept))]
    assert [r.guardrail for r in records if r.dimension == "by instruction, strict"] == [
        "punctuation:no_comma",
        "length_constraints:number_words",
        "startend:end_checker",
    ]


def test_without_the_library_the_way_out_is_said(monkeypatch):
    import sys

    import nltk

    from halign.suites.ifeval import checks

    monkeypatch.setattr(nltk.data, "find", lambda name: name)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks.ifeval", None)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(HalignError, match=r"pip install 'halign\[eval\]'"):
        checks()
