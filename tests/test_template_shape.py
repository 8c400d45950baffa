"""Shapes of chat templates against ``apply_chat_template``, and templates that must have none."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence

import pytest

from halign.dialogue import Message
from halign.template import ChatTemplate, TemplateRefused
from tests.templates import CHATML, FAMILIES, tokenizer

CONTENTS = [
    "",
    " ",
    "Hi",
    " Hi\n",
    "</think>",
    "a</think>b",
    "<|im_end|>",
    "\ue0000\ue001",
    "\ue000",
    "user",
    "é{{ x }}",
]
ROLES = ("system", "user", "assistant", "tool")
LOOP = "{% for m in messages %}BODY{% endfor %}"


def template(text: str) -> ChatTemplate:
    """A chat template of ours with this text."""
    tok = copy.copy(tokenizer("chatml", "gpt2"))
    tok.chat_template = text
    return ChatTemplate(tok, {})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_rendering_is_that_of_transformers(family: str) -> None:
    tok, rng = tokenizer(family, "gpt2"), random.Random(0)
    ours = ChatTemplate(tok, {})
    for _ in range(300):
        roles = (
            [rng.choice(ROLES) for _ in range(rng.randint(1, 3))]
            if rng.random() < 0.3
            else ["user", "assistant"] * 2
        )
        messages = [Message(role, rng.choice(CONTENTS)) for role in roles[: rng.randint(1, 4)]]
        generate = rng.random() < 0.5
        try:
            found = ours.render(messages, generate=generate)
        except TemplateRefused:
            continue
        said = [{"role": m.role, "content": m.content} for m in messages]
        assert found == tok.apply_chat_template(said, tokenize=False, add_generation_prompt=generate)


@pytest.mark.parametrize(
    "body",
    [
        "<{{ m.role }}>{{ m.content }}",
        "{{ '<' + m['role'] + '>' + m['content'] | trim + '\n' }}",
        "{% set said = m.content.strip() %}{% if loop.first %}{% set said = bos_token ~ m.role + said %}{% endif %}{{ said }}",
        "{% if m.content is string %}{{ m.content }}{% endif %}",
        "{{ m.content }}{% if m.name is defined %}{{ m.name }}{% endif %}{{ m.content }}{{ messages | length }}",
    ],
)
def test_contents_that_are_only_written_have_a_shape(body: str) -> None:
    found = template(LOOP.replace("BODY", body))._shapes[False, ("user", "assistant")]
    assert found is not None
    assert {number for _, number, _ in found.gaps} == {0, 1}


@pytest.mark.parametrize(
    "body",
    [
        "{% if m.content %}{{ m.content }}{% endif %}",
        "{% if 'x' in m.content %}!{% endif %}{{ m.content }}",
        "{% if m.content in 'abc' %}!{% endif %}{{ m.content }}",
        "{% if m.content in ['abc'] %}!{% endif %}{{ m.content }}",
        "{% if m.content == 'x' %}!{% endif %}{{ m.content }}",
        "{% if 'x' != m.content %}!{% endif %}{{ m.content }}",
        "{% if m.content[0] == 'x' %}!{% endif %}{{ m.content }}",
        "{% if m.content.foo is defined %}!{% endif %}{{ m.content }}",
        "{% if m.content is sequence %}!{% endif %}{{ m.content }}",
        "{% if m.content is iterable %}!{% endif %}{{ m.content }}",
        "{{ m.content.split('x')[0] }}",
        "{{ m.content.strip('x') }}",
        "{{ (m.role + m.content) | trim }}",
        "{{ m.content | trim('x') }}",
        "{{ m.content | length }}",
        "{{ m.content | int }}",
        "{{ m.content | upper }}",
        "{{ m.content | tojson }}",
        "{{ m.content ~ 'x' }}",
        "{{ m.content * 2 }}",
        "{{ '%s' % m.content }}",
        "{{ '{}'.format(m.content) }}",
        "{{ 'x'.join([m.content]) }}",
        "{% set c %}{{ m.content }}{% endset %}{{ c[0] }}",
        "{% macro f(c) %}{{ c }}{% endmacro %}{{ f(m.content) }}",
        "{{ messages | map(attribute='content') | join }}",
        "{{ messages }}",
        "{{ {m.content: 1} }}",
        "{% if loop.changed(m.content) %}!{% endif %}{{ m.content }}",
        "{% for c in m.content %}{{ c }}{% endfor %}",
        "{{ m.content }}{{ strftime_now('%S') }}",
        "{% set f = strftime_now %}{{ m.content }}{{ f('%S') }}",
        "{{ raise_exception('no') }}",
        "\ue000{{ m.content }}",
    ],
)
def test_a_template_that_looks_into_contents_has_none(body: str) -> None:
    assert template(LOOP.replace("BODY", body))._shapes[False, ("user", "assistant")] is None


def test_a_template_runs_once_for_all_dialogues_of_the_same_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = template(CHATML)
    monkeypatch.setattr(ours, "_compared", 8)
    runs: list[bool] = []
    run = ours._run

    def counted(messages: Sequence[Message], generate: bool) -> str:
        runs.append(generate)
        return run(messages, generate)

    monkeypatch.setattr(ours, "_run", counted)
    for i in range(10):
        messages = [Message("user", f"question {i}"), Message("assistant", f"answer {i}")]
        text = ours.render(messages)
        assert (
            text == f"<|im_start|>user\nquestion {i}<|im_end|>\n<|im_start|>assistant\nanswer {i}<|im_end|>\n"
        )
    assert runs == [False]
