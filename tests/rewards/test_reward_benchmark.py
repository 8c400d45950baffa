"""What the benchmark of reward models makes of ratings: attributes to learn, comparisons to be judged by."""

from __future__ import annotations

import math
from typing import Any

import pytest
from benchmarks.reward_data import FIT, across_prompts, odds, with_label_as_attribute
from benchmarks.reward_models import HELD, TRIALS

from halign.config import resolve
from halign.examples import Rating
from halign.models import Policy
from halign.prepare import split_conversations
from halign.readers import read
from halign.rewards.card import report_card
from halign.rewards.data import to_rated
from halign.rewards.facts import Facts
from halign.rewards.starting import from_causal
from tests.conftest import make_llama

ROWS = [
    {
        "id": f"d{n}",
        "kind": kind,
        "prompt": [{"role": "user", "content": "Two tickets"}],
        "response": {"role": "assistant", "content": said},
        "label": label,
    }
    for n, (kind, said, label) in enumerate(
        [
            ("api", "{}", 1),
            ("api", "{tickets}", 0),
            ("text", "For when?", 1),
            ("text", "No.", 0),
            ("lone", "Yes", 1),
        ]
    )
]


def ratings() -> list[Rating]:
    return [e for e in read(ROWS) if isinstance(e, Rating)]


def test_a_label_becomes_an_attribute() -> None:
    made = to_rated([with_label_as_attribute(r) for r in ratings()], (FIT,)).examples
    assert [r.attributes for r in made if isinstance(r, Rating)] == [(1.0,), (0.0,), (1.0,), (0.0,), (1.0,)]
    (pair,) = read([{"prompt": "2+2=", "chosen": "4", "rejected": "5"}])
    assert with_label_as_attribute(pair) is pair


def test_good_responses_meet_bad_ones_of_their_kind(tokenizer: Any) -> None:
    model = from_causal(Policy(make_llama(tokenizer), tokenizer, "memory"), Facts("attributes", (FIT,), 2))
    seen = across_prompts(model, ratings(), [1.0, -2.0, 0.5, 3.0, 9.0])
    assert [c.margin for c in seen] == [3.0, -2.5]  # the lone kind has nothing to meet
    assert [c.conversation for c in seen] == ["d0", "d2"]
    end = 1  # every response ends with the end of its turn
    told = [len(tokenizer(text)["input_ids"]) + end for text in ("{}", "{tickets}", "For when?", "No.")]
    assert [(c.length, c.other_length) for c in seen] == [(told[0], told[1]), (told[2], told[3])]
    assert report_card(seen)["accuracy"]["value"] == 0.5


def test_odds_are_differences_of_log_probabilities(tokenizer: Any) -> None:
    model = from_causal(Policy(make_llama(tokenizer), tokenizer, "memory"), Facts("attributes", (FIT,), 2))
    model.model.score.weight.data.mul_(30)
    asked = [(r.prompt, r.response) for r in ratings()]
    fit = model.score(asked)[:, 0]  # the expectation of 0 and 1
    assert odds(model, ratings()) == pytest.approx([math.log(p / (1 - p)) for p in fit.tolist()], abs=1e-3)


def test_every_trial_is_one_that_training_takes() -> None:
    for trial in TRIALS:
        for rate in trial.rates:
            assert resolve(trial.objective, {"learning_rate": rate, **trial.settings}).reads_values
    kept, held = split_conversations(ratings() * 3, HELD, 0)
    assert not {e.conversation for e in kept} & {e.conversation for e in held}
