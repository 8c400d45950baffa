"""Training on users' turns (Parrot-Ask): what is learnt, and what such a model is asked with."""

from __future__ import annotations

from typing import Any

import pytest

import halign as hl
from halign.readers import read
from halign.render import Renderer
from tests.conditioning.spans import shown
from tests.templates import tokenizer

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "My order"},
    {"role": "assistant", "content": "Number?"},
]


def test_the_users_words_are_learnt_and_nobody_elses() -> None:
    tok = tokenizer("chatml")
    items = Renderer(tok, roles=("user",)).render(read([{"id": "c", "messages": TALK}]), "tokens")
    start = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    assert [shown(i.paths[0], tok) for i in items] == [
        f"{start}⟦Hello<|im_end|>⟧",
        f"{start}Hello<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\n⟦My order<|im_end|>⟧",
    ]
    assert [i.turn for i in items] == [1, 3]


@pytest.mark.parametrize("family", ["chatml", "llama3", "gemma", "qwen3", "mistral", "gpt_oss"])
def test_a_user_model_is_asked_with_the_path_up_to_the_turn(family: str) -> None:
    tok = tokenizer(family)
    renderer = Renderer(tok, roles=("user",), response_prefix="A good answer: ")
    (data,) = read([{"id": "c", "messages": TALK[1:]}])
    items = renderer.render([data], "tokens")
    prompt = renderer.prompt(data.dialogue[:2], role="user")
    assert prompt.tolist() == items[1].paths[0].prompt.tolist()  # the prefix is the assistant's alone


def test_both_roles_share_one_trunk() -> None:
    tok = tokenizer("chatml")
    items = Renderer(tok, roles=("user", "assistant")).render(read([{"id": "c", "messages": TALK}]), "tokens")
    longest = items[-1].paths[0].ids
    assert len(items) == 4
    assert all(i.paths[0].ids.tolist() == longest[: len(i.paths[0])].tolist() for i in items)


def test_a_run_on_users(policy: Any, tmp_path: Any) -> None:
    data = read([{"id": f"c{i}", "messages": TALK} for i in range(3)])
    run = hl.train(
        policy, data, "sft", output=tmp_path / "r", roles="user", max_steps=2, tensorboard=False, quiet=True
    )
    assert run.metrics[0]["items"] == 6
    assert "⏎<|im_start|>user⏎⟦My order<|im_end|>⟧" in (run.path / "preflight.txt").read_text()
    assert run.policy.rendering["roles"] == ["user"]
