"""SteerLM: attributes as words, in a fixed order; scores as qualities; what is asked for."""

from __future__ import annotations

from typing import Any

import pytest

import halign as hl
from halign.conditioning import steerlm
from halign.conditioning.contract import Rewriting
from halign.convert import to_rankings
from halign.errors import HalignError
from halign.readers import read, to_row
from tests.conditioning.spans import all_shown
from tests.templates import tokenizer

HI = [{"role": "user", "content": "Hello"}]
OPEN = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
DEFAULTS: dict[str, Any] = {"attributes": None, "ask": None, "scores": None, "template": "[{attributes}]\n"}


def said(content: str, **attributes: float) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "attributes": attributes}


def row(name: str, content: str, **attributes: float) -> dict[str, Any]:
    return {"id": name, "prompt": HI, "completion": [said(content, **attributes)]}


def ranked(*scores: float) -> list[dict[str, Any]]:
    return [{"id": "r", "prompt": HI, "responses": [{"content": f"r{s:g}", "score": s} for s in scores]}]


def lasts(made: Any) -> list[str]:
    return [d.dialogue.messages[-1].content for d in made.examples]


def test_attributes_stand_before_the_response_in_a_fixed_order() -> None:
    tok = tokenizer("chatml")
    data = read([row("a", "Hi.", wit=1, verbosity=2, helpfulness=4), row("b", "No.", helpfulness=0)])
    assert all_shown(steerlm(data), tok) == [
        OPEN + "[helpfulness:4,verbosity:2,wit:1]\n⟦Hi.<|im_end|>⟧",
        OPEN + "[helpfulness:0]\n⟦No.<|im_end|>⟧",
    ]
    chosen = steerlm(data, attributes=["wit", "helpfulness"], template="{attributes}> ")
    assert lasts(chosen) == ["wit:1,helpfulness:4> Hi.", "helpfulness:0> No."]


def test_templates_never_see_the_attributes() -> None:
    """Neither as a variable, nor as a reason to render the slow way."""
    tok = tokenizer("chatml")
    message = read([row("a", "Hi.", helpfulness=4)])[0].dialogue.messages[-1]
    assert message.extra == {"attributes": {"helpfulness": 4}}
    assert message.spoken == {}
    assert all_shown(steerlm(read([row("a", "Hi.", helpfulness=4)])), tok)[0].count("attributes") == 0


def test_the_best_values_are_asked_for_unless_others_are() -> None:
    data = read([row("a", "Hi.", helpfulness=3, verbosity=2), row("b", "No.", helpfulness=1, verbosity=4)])
    assert Rewriting(steerlm, DEFAULTS, data).asked == "[helpfulness:3,verbosity:4]\n"
    terse = Rewriting(steerlm, {**DEFAULTS, "ask": {"verbosity": 0.0}}, data)
    assert terse.asked == "[helpfulness:3,verbosity:0]\n"
    assert lasts(terse(data)) == ["[helpfulness:3,verbosity:2]\nHi.", "[helpfulness:1,verbosity:4]\nNo."]
    with pytest.raises(
        HalignError, match="ask names 'wit', which no response has; the data has helpfulness, verbosity"
    ):
        Rewriting(steerlm, {**DEFAULTS, "ask": {"wit": 1.0}}, data)


def test_scores_become_qualities_by_the_training_datas_range() -> None:
    train, held_out = read(ranked(9, 8, 5, 1)), read(ranked(20, 3, -4))
    made = Rewriting(steerlm, DEFAULTS, train)
    assert made.asked == "[quality:4]\n"
    assert made.settings["scores"] == [1.0, 9.0]
    assert lasts(made(train)) == ["[quality:4]\nr9", "[quality:4]\nr8", "[quality:2]\nr5", "[quality:0]\nr1"]
    assert lasts(made(held_out)) == ["[quality:4]\nr20", "[quality:1]\nr3", "[quality:0]\nr-4"]
    assert lasts(steerlm(read(ranked(9, 5)), scores=[0.0, 10.0])) == ["[quality:4]\nr9", "[quality:2]\nr5"]


def test_columns_of_a_row_serve_if_they_are_named() -> None:
    """HelpSteer2's own form."""
    data = read([{"prompt": HI, "response": "Hi.", "helpfulness": 4, "verbosity": 1}])
    assert lasts(steerlm(data, attributes=["helpfulness", "verbosity"])) == [
        "[helpfulness:4,verbosity:1]\nHi."
    ]
    with pytest.raises(HalignError, match="name columns of the rows"):
        steerlm(data)


@pytest.mark.parametrize(
    "form",
    [
        {"messages": [*HI, said("Hi.", wit=3)]},
        {"prompt": HI, "completion": [said("Hi.", wit=3)]},
        {"prompt": HI, "completion": "Hi.", "attributes": {"wit": 3}},
        {"prompt": HI, "completion": "Hi.", "label": True, "attributes": {"wit": 3}},
        {"prompt": HI, "chosen": [said("Hi.", wit=3)], "rejected": "No."},
        {
            "prompt": HI,
            "responses": [
                {"content": "Hi.", "rank": 1, "attributes": {"wit": 3}},
                {"content": "No.", "rank": 2},
            ],
        },
        {"messages": [*HI, {**said("Hi.", wit=3), "alternatives": [{"content": "No.", "rank": 2}]}]},
    ],
)
def test_every_form_carries_attributes_and_writes_them_back(form: dict[str, Any]) -> None:
    data = read([{"id": "c", **form}])
    assert lasts(steerlm(data)) == ["[wit:3]\nHi."]
    assert read([to_row(data[0])])[0] == data[0]
    if "alternatives" in str(form):
        assert to_rankings(data).examples[0].responses[0].extra["attributes"] == {"wit": 3}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [{"id": "d", "messages": [*HI, {"role": "assistant", "content": "Hi."}]}],
            r"no response .* has any .*'d'",
        ),
        (
            [row("a", "Hi.", wit=1), {"id": "e", "prompt": HI, "completion": "Hi."}],
            r"none of its responses .*'e'",
        ),
        (ranked(2, 2), "every response has the score 2"),
    ],
)
def test_what_is_lacking_is_said(rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(HalignError, match=says):
        steerlm(read(rows))
    with pytest.raises(HalignError, match="scores would have no effect"):
        steerlm(read([row("a", "Hi.", wit=1)]), scores=[0.0, 1.0])


def test_bad_attributes_are_found_by_the_reader() -> None:
    with pytest.raises(HalignError, match=r"attributes\.wit.*expected a finite number"):
        read([{"prompt": HI, "completion": "Hi.", "attributes": {"wit": "much"}}])
    with pytest.raises(HalignError, match="expected an object of numbers, found a list"):
        read([{"prompt": HI, "completion": "Hi.", "attributes": [3]}])
    nulls = read([{"prompt": HI, "completion": "Hi.", "attributes": {"wit": 3, "depth": None}}])
    assert lasts(steerlm(nulls)) == ["[wit:3]\nHi."]


def test_a_run_of_it(policy: Any, tmp_path: Any) -> None:
    data = read([row(f"c{i}", "Hi." if i % 2 else "No.", helpfulness=i % 2) for i in range(8)])
    run = hl.train(
        policy,
        data,
        "steerlm",
        output=tmp_path / "r",
        max_steps=2,
        eval_share=0.25,
        tensorboard=False,
        quiet=True,
    )
    assert run.policy.rendering["response_prefix"] == "[helpfulness:1]\n"
    assert "[helpfulness:0]⏎⟦No.<|im_end|>⟧" in (run.path / "preflight.txt").read_text()
