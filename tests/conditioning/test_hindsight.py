"""Chain of hindsight: the order of a chain, its words, and that only responses are learnt, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halign as hl
from halign.conditioning import hindsight
from halign.conditioning.contract import Rewriting
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.readers import read
from halign.render import Renderer
from halign.sampling import TransformersSampler
from tests.conditioning.spans import all_shown, rendered
from tests.templates import tokenizer

HI = [{"role": "user", "content": "Hello"}]
PAIR = {"id": "c", "prompt": HI, "chosen": "Good day.", "rejected": "Go away."}
OPEN = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def ranking(*contents: str, ranks: tuple[int, ...] = ()) -> dict[str, object]:
    ranks = ranks or tuple(range(1, len(contents) + 1))
    return {
        "prompt": HI,
        "responses": [{"content": c, "rank": r} for c, r in zip(contents, ranks, strict=True)],
    }


def test_both_orders_of_a_pair() -> None:
    tok = tokenizer("chatml")
    assert all_shown(hindsight(read([PAIR]), order="worst_first"), tok) == [
        OPEN + "An unhelpful answer:\n⟦Go away.⟧\n\nA helpful answer:\n⟦Good day.<|im_end|>⟧"
    ]
    assert all_shown(hindsight(read([PAIR]), order="best_first"), tok) == [
        OPEN + "A helpful answer:\n⟦Good day.⟧\n\nAn unhelpful answer:\n⟦Go away.<|im_end|>⟧"
    ]


def test_segments_are_encoded_as_they_meet_at_inference() -> None:
    """The first words belong to the prompt, as sampling gives it; every later segment is encoded by itself."""
    tok = tokenizer("chatml", "qwen")
    (item,) = rendered(hindsight(read([PAIR]), order="best_first"), tok)
    path = item.paths[0]
    asked = Renderer(tok, response_prefix="A helpful answer:\n").prompt(Dialogue.of(HI))
    assert path.prompt.tolist() == asked.tolist()

    def plain(text: str) -> list[int]:
        return tok(text, add_special_tokens=False)["input_ids"]

    parts = [plain("Good day."), plain("\n\nAn unhelpful answer:\n"), plain("Go away.<|im_end|>")]
    assert path.response.tolist() == [t for part in parts for t in part]
    assert path.loss_mask is not None
    learnt = zip(parts, (True, False, True), strict=True)
    assert path.loss_mask.tolist() == [kept for part, kept in learnt for _ in part]


def test_longer_chains_go_from_the_worst_to_the_best() -> None:
    tok = tokenizer("chatml")
    made = hindsight(read([ranking("best", "fair", "so so", "worst")]), better="Better: ", separator=" ")
    assert all_shown(made, tok) == [
        OPEN
        + "An unhelpful answer:\n⟦worst⟧ Better: ⟦so so⟧ Better: ⟦fair⟧ A helpful answer:\n⟦best<|im_end|>⟧"
    ]


def test_of_ties_the_first_stays() -> None:
    made = hindsight(
        read([ranking("a", "b", "c", ranks=(1, 1, 3))]), order="worst_first", good="+", bad="-", separator=" "
    )
    assert made.examples[0].dialogue.messages[-1].content == "-c +a"
    assert made.dropped == {"responses that tie with another of their chain": 1}
    tied = hindsight(read([ranking("a", "b", ranks=(1, 1)), ranking("a", "b")]))
    assert (len(tied.examples), tied.dropped) == (1, {"choices that tie in all replies": 1})


def test_the_draw_of_orders_is_even_and_repeats() -> None:
    data = read([{**PAIR, "id": f"c{i}"} for i in range(400)])

    def best_first(seed: int) -> list[bool]:
        made = hindsight(data, order_seed=seed).examples
        return [d.dialogue.messages[-1].content.startswith("A helpful") for d in made]

    assert best_first(0) == best_first(0) != best_first(1)
    assert abs(np.mean(best_first(0)) - 0.5) < 0.1


def test_conversations_make_a_chain_of_every_turn_with_alternatives() -> None:
    turn = {"role": "assistant", "content": "Yes?", "alternatives": [{"content": "What?", "rank": 2}]}
    talk = read([{"id": "c", "messages": [*HI, turn, *HI, {"role": "assistant", "content": "Bye."}]}])
    (made,) = hindsight(talk, order="worst_first", good="+", bad="-", separator=" ").examples
    assert (made.dialogue.messages[-1].content, made.turns, made.conversation) == ("-What? +Yes?", (1,), "c")


def test_the_words_steer_the_trained_model(policy: Any, tmp_path: Path) -> None:
    """Asked with the good words alone, it gives the good answer and ends its turn, which it learnt in second place only."""
    asked = ["Hello", "My order", "The blue one", "A refund", "Thank you", "Delivery"]
    rows = [
        {"id": a, "prompt": [{"role": "user", "content": a}], "chosen": "yes yes.", "rejected": "No no."}
        for a in asked
    ]
    options: dict[str, Any] = {
        "learning_rate": 1e-2,
        "batch_items": 6,
        "past_masking": [0, 0.05],
        "tensorboard": False,
    }
    run = hl.train(policy, read(rows), "hindsight", output=tmp_path / "run", epochs=40, quiet=True, **options)
    prompt = Dialogue.of([{"role": "user", "content": "My parcel"}])
    answers = [(prompt, "yes yes."), (prompt, "No no.")]
    helpful, unhelpful = (
        hl.logps(run.policy, answers),
        hl.logps(run.policy, answers, prefix="An unhelpful answer:\n"),
    )
    assert helpful[0] > unhelpful[0] + 1
    assert unhelpful[1] > helpful[1] + 1
    (reply,) = TransformersSampler(run.policy).sample([prompt], temperature=0, max_new_tokens=20)[0]
    assert (reply.text, reply.finished) == ("yes yes.", True)


def test_what_it_asks_for_and_what_it_cannot_do() -> None:
    assert Rewriting(hindsight, {"good": "Fine: "}, read([PAIR])).asked == "Fine: "
    with pytest.raises(HalignError, match="at least two ranked responses, and conversation 'd' has one"):
        hindsight(read([{"id": "d", "messages": [*HI, {"role": "assistant", "content": "Yes?"}]}]))
    alone = read([{"prompt": HI, "completion": "Yes?", "label": True}])
    settings = {"good": "+"}
    with pytest.raises(
        HalignError, match=r"hindsight: none of the 1 examples gives a text: .*nothing to compare"
    ):
        Rewriting(hindsight, settings, alone)(alone)
    call = {"content": "", "tool_calls": [{"function": {"name": "find", "arguments": {}}}]}
    with pytest.raises(HalignError, match=r"cannot hold several responses that call tools .find."):
        hindsight(read([{"prompt": HI, "chosen": [call], "rejected": "No."}]))
