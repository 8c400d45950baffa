"""Joint feedback: a response and the words about it, both learnt, on one trunk."""

from __future__ import annotations

from typing import Any

import pytest

import halign as hl
from halign.conditioning import joint_feedback
from halign.dialogue import Message
from halign.errors import HalignError
from halign.readers import read, to_row
from halign.trie import tree_batch
from tests.conditioning.spans import all_shown, rendered
from tests.templates import tokenizer

HI = [{"role": "user", "content": "Hello"}]
OPEN = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
ROW = {"id": "c", "prompt": HI, "completion": "Go away.", "feedback": "Be kind."}


def test_response_and_feedback_are_both_learnt() -> None:
    tok = tokenizer("chatml")
    made = joint_feedback(read([ROW]))
    assert all_shown(made, tok) == [
        OPEN + "⟦Go away.<|im_end|>⟧",
        OPEN + "Go away.<|im_end|>\n<|im_start|>user\n⟦Be kind.<|im_end|>⟧",
    ]
    first, second = (i.paths[0] for i in rendered(made, tok))
    assert tree_batch([[first, second]]).distinct_tokens == len(second)  # the trunk is shared whole
    assert all_shown(joint_feedback(read([ROW]), marker="They said: "), tok)[1].endswith(
        "They said: ⟦Be kind.<|im_end|>⟧"
    )


def test_plain_text_gets_a_marker() -> None:
    made = joint_feedback(read([{"prompt": "2+2=", "completion": "5", "feedback": "No."}]))
    assert all_shown(made, tokenizer("chatml"))[1] == "2+2=5\n\nFeedback: ⟦No.<|im_end|>⟧"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*HI, {"role": "assistant", "content": "Go away.", "feedback": "Be kind."}]},
        {"prompt": HI, "completion": [{"role": "assistant", "content": "Go away.", "feedback": "Be kind."}]},
        {"prompt": HI, "completion": "Go away.", "label": False, "feedback": "Be kind."},
        {"prompt": HI, "chosen": "Hi.", "rejected": [{"content": "Go away.", "feedback": "Be kind."}]},
        {
            "prompt": HI,
            "responses": [
                {"content": "Hi.", "rank": 1},
                {"content": "Go away.", "rank": 2, "feedback": "Be kind."},
            ],
        },
        {
            "messages": [
                *HI,
                {
                    "role": "assistant",
                    "content": "Hi.",
                    "alternatives": [{"content": "Go away.", "rank": 2, "feedback": "Be kind."}],
                },
            ]
        },
    ],
)
def test_every_form_carries_feedback_and_writes_it_back(row: dict[str, Any]) -> None:
    data = read([{"id": "c", **row}])
    made = joint_feedback(data)
    (d,) = made.examples
    assert (d.dialogue.messages[1].content, d.dialogue.messages[2]) == (
        "Go away.",
        Message("user", "Be kind."),
    )
    assert d.turns == (1, 2)
    assert read([to_row(data[0])])[0] == data[0]


def test_a_row_without_feedback_is_named() -> None:
    with pytest.raises(
        HalignError, match="no response of conversation 'd' has any: give its replies the key 'feedback'"
    ):
        joint_feedback(read([ROW, {"id": "d", "prompt": HI, "completion": "Hi."}]))


def test_a_run_of_it(policy: Any, tmp_path: Any) -> None:
    run = hl.train(
        policy,
        read([ROW]),
        "joint_feedback",
        output=tmp_path / "r",
        max_steps=2,
        tensorboard=False,
        quiet=True,
    )
    assert run.policy.rendering["response_prefix"] == ""
    assert run.metrics[0]["items"] == 2
