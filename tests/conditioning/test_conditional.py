"""Conditional behaviour cloning: which words stand before which response, what of it is learnt, and that it steers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import halign as hl
from halign.conditioning import conditional
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.models import Policy, load
from halign.readers import read
from halign.render import Renderer
from halign.sampling import TransformersSampler
from tests.conditioning.spans import all_shown, rendered
from tests.conftest import make_llama
from tests.templates import tokenizer

HI = [{"role": "user", "content": "Hello"}]
PAIR = {"id": "c", "prompt": HI, "chosen": "Good day.", "rejected": "Go away."}
OPEN = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_each_response_follows_words_that_are_not_learnt() -> None:
    tok = tokenizer("chatml")
    assert all_shown(conditional(read([PAIR])), tok) == [
        OPEN + "A good answer:\n⟦Good day.<|im_end|>⟧",
        OPEN + "A poor answer:\n⟦Go away.<|im_end|>⟧",
    ]
    own = conditional(read([PAIR]), good="+ ", bad="- ")
    assert [s.removeprefix(OPEN)[:2] for s in all_shown(own, tok)] == ["+ ", "- "]


def test_plain_text_is_conditioned_too() -> None:
    tok = tokenizer("chatml")
    made = conditional(
        read([{"prompt": "2+2=", "chosen": "4", "rejected": "5"}]), good=" right: ", bad=" wrong: "
    )
    assert all_shown(made, tok) == ["2+2= right: ⟦4<|im_end|>⟧", "2+2= wrong: ⟦5<|im_end|>⟧"]
    prompt = Renderer(tok, response_prefix=" right: ").prompt(Dialogue.of("2+2="))
    assert prompt.tolist() == rendered(made, tok)[0].paths[0].prompt.tolist()


@pytest.mark.parametrize("family", ["chatml", "llama3", "gemma", "qwen3", "mistral", "gpt_oss", "bos_chatml"])
@pytest.mark.parametrize("kind", ["gpt2", "metaspace", "legacy"])
def test_the_sampling_prompt_is_the_path_up_to_the_response(family: str, kind: str) -> None:
    """Also where the template opens a body with words of its own (Qwen 3's empty think block, Mistral's space)."""
    tok = tokenizer(family, kind)
    good, bad = rendered(conditional(read([PAIR])), tok)
    asked = Renderer(tok, response_prefix="A good answer:\n").prompt(Dialogue.of(HI))
    assert asked.tolist() == good.paths[0].prompt.tolist()
    assert asked.tolist() != bad.paths[0].prompt.tolist()
    assert good.paths[0].loss_mask is None
    assert good.paths[0].response[-1] in Renderer(tok).stop_ids
    # and a path that the prefixed renderer makes of the bare response is the same path
    bare = Renderer(tok, response_prefix="A good answer:\n").path(
        Dialogue.of(HI), Message("assistant", "Good day.")
    )
    assert bare is not None
    assert bare.prompt.tolist() == asked.tolist()
    assert bare.response.tolist() == good.paths[0].response.tolist()


def test_r1_takes_the_prefix_after_its_generation_prompt() -> None:
    tok = tokenizer("r1")
    prompt = Renderer(tok, response_body=True, response_prefix="Good: ").prompt(Dialogue.of(HI))
    assert tok.decode(prompt).endswith("<|Assistant|><think>\nGood: ")


def test_conversations_rankings_and_ratings_say_what_is_good() -> None:
    turn = {"role": "assistant", "content": "Yes?", "alternatives": [{"content": "What?", "rank": 2}]}
    talk = read([{"id": "c", "messages": [*HI, turn, *HI, {**turn, "content": "Again?"}]}])
    made = conditional(talk, good="+", bad="-").examples
    assert [d.dialogue.messages[-1].content for d in made] == ["+Yes?", "-What?", "+Again?", "-What?"]
    assert made[2].dialogue.messages[1].content == "Yes?"  # an earlier turn keeps to its own words
    rated = read([{"id": "r", "prompt": HI, "completion": "Yes?", "label": False, "score": 7}])
    assert conditional(rated, good="+", bad="-").examples[0].dialogue.messages[-1].content == "-Yes?"
    assert (
        conditional(rated, good="+", bad="-", from_score=6).examples[0].dialogue.messages[-1].content
        == "+Yes?"
    )
    ranked = read(
        [{"prompt": HI, "responses": [{"content": c, "score": s} for c, s in (("a", 1), ("b", 3), ("c", 2))]}]
    )
    contents = [
        d.dialogue.messages[-1].content for d in conditional(ranked, good="+", bad="-", from_score=2).examples
    ]
    assert contents == ["+b", "+c", "-a"]


def test_what_cannot_work_is_said() -> None:
    with pytest.raises(
        HalignError, match="conversation 'd' does not say: give its agent turns 'alternatives'"
    ):
        conditional(read([{"id": "d", "messages": [*HI, {"role": "assistant", "content": "Yes?"}]}]))
    with pytest.raises(HalignError, match="nothing tells them apart"):
        conditional(read([PAIR]), good="x", bad="x")


def rows() -> list[dict[str, Any]]:
    """Good answers say yes, poor ones no, whatever was asked."""
    asked = ["Hello", "My order", "The blue one", "A refund", "Thank you", "Delivery"]
    return [
        {
            "id": f"c{i}",
            "prompt": [{"role": "user", "content": a}],
            "chosen": "yes yes.",
            "rejected": "No no.",
        }
        for i, a in enumerate(asked)
    ]


@pytest.fixture(scope="module")
def run(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    return hl.train(
        policy,
        read(rows()),
        "conditional",
        output=tmp_path_factory.mktemp("runs") / "conditional",
        learning_rate=1e-2,
        batch_items=6,
        epochs=20,
        eval_share=0.2,
        tensorboard=False,
        quiet=True,
    )


def test_the_words_steer_the_trained_model(run: Any) -> None:
    policy = load(run.path)
    assert policy.rendering["response_prefix"] == "A good answer:\n"
    prompt = Dialogue.of([{"role": "user", "content": "My parcel"}])
    answers = [(prompt, "yes yes."), (prompt, "No no.")]
    good, poor = (
        hl.logps(policy, answers, prefix="A good answer:\n"),
        hl.logps(policy, answers, prefix="A poor answer:\n"),
    )
    assert good[0] > poor[0] + 2
    assert poor[1] > good[1] + 2
    assert torch.equal(hl.logps(policy, answers), good)  # the good one is asked for unless told otherwise
    assert (hl.logps(policy, answers, prefix="") - good).abs().min() > 1e-3
    asked = TransformersSampler(policy).sample([prompt], temperature=0, max_new_tokens=12)[0][0]
    assert asked.text == "yes yes."
    other = TransformersSampler(policy, prefix="A poor answer:\n").sample(
        [prompt], temperature=0, max_new_tokens=12
    )
    assert other[0][0].text == "No no."


def test_a_run_on_top_asks_alike(run: Any, tmp_path: Path) -> None:
    on = hl.train(
        load(run.path),
        read(rows()),
        "dpo",
        output=tmp_path / "dpo",
        max_steps=1,
        tensorboard=False,
        quiet=True,
    )
    assert load(on.path).rendering["response_prefix"] == "A good answer:\n"
    assert "A good answer:⏎⟦yes yes.<|im_end|>⟧" in (on.path / "preflight.txt").read_text()
    off = hl.train(
        load(run.path),
        read(rows()),
        "dpo",
        output=tmp_path / "off",
        max_steps=1,
        response_prefix="",
        tensorboard=False,
        quiet=True,
    )
    assert load(off.path).rendering["response_prefix"] == ""
    text = hl.train(
        load(run.path), read(rows()), "hindsight", output=tmp_path / "coh", max_steps=1, quiet=True
    )
    assert load(text.path).rendering["response_prefix"] == "A helpful answer:\n"
    assert "good answer" not in (text.path / "preflight.txt").read_text()
