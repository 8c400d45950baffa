"""Which characters are learnt, down to token ids and to the loss."""

from __future__ import annotations

from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
import torch

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Demonstration
from halign.items import Path
from halign.likelihood import path_logps
from halign.preflight import check_items
from halign.readers import read, to_row
from halign.render import Renderer
from halign.spans import prefixed
from tests.conditioning.spans import shown
from tests.conftest import TEXTS, make_llama
from tests.templates import tokenizer as tokenizer_of
from tests.test_training import assert_same, moved, step_gradients, trainer_for

HI = {"role": "user", "content": "Hello"}
OPEN = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("learn", "expected"),
    [
        (None, "⟦one two three<|im_end|>⟧"),
        (((0, 13),), "⟦one two three<|im_end|>⟧"),
        (((4, 13),), "one ⟦two three<|im_end|>⟧"),
        (((0, 3),), "⟦one⟧ two three<|im_end|>"),
        (((0, 3), (8, 13)), "⟦one⟧ two ⟦three<|im_end|>⟧"),
        (((13, 13),), "one two three⟦<|im_end|>⟧"),
        (((4, 7),), "one ⟦two⟧ three<|im_end|>"),
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_ranges_of_characters_are_learnt(learn: Any, expected: str, raw: bool) -> None:
    """The end of the turn is learnt with the end of the content."""
    tok = tokenizer_of("chatml")
    role, prompt = ("raw", Dialogue.of("Count:")) if raw else ("assistant", Dialogue.of([HI]))
    path = Renderer(tok).path(prompt, Message(role, "one two three", learn=learn))
    assert path is not None
    assert shown(path, tok) == ("Count:" if raw else OPEN) + expected
    assert not (path.loss_mask is not None and path.loss_mask.all())


def test_nothing_to_learn_is_found_by_the_preflight() -> None:
    tok = tokenizer_of("chatml")
    renderer = Renderer(tok)
    said = Dialogue.of([HI]) + Message("assistant", "one", learn=())
    items = renderer.render([Demonstration(said, "c")], "tokens")
    assert items[0].paths[0].loss_mask is not None
    assert not items[0].paths[0].loss_mask.any()
    assert "no_supervised_token" in {f.name for f in check_items(items, tok, renderer) if f.level == "error"}


def test_trimmed_content_keeps_its_places_and_rewritten_content_is_an_error() -> None:
    llama = tokenizer_of("llama3")
    path = Renderer(llama).path(Dialogue.of([HI]), Message("assistant", "  one two \n", learn=((6, 11),)))
    assert path is not None
    assert shown(path, llama).endswith("one ⟦two<|eot_id|>⟧")
    qwen = tokenizer_of("qwen3", "qwen")
    thought = Message("assistant", "<think>\nhm\n</think>\n\nYes.", learn=((21, 25),))
    with pytest.raises(HalignError, match=r"rewrites its content|cannot find the body"):
        Renderer(qwen).path(Dialogue.of([HI]), thought)


@pytest.mark.parametrize("family", ["qwen3", "mistral", "gpt_oss", "llama3"])
def test_all_of_the_content_is_all_of_the_response(family: str) -> None:
    """What the template opens the body with is learnt with it, as without ranges."""
    renderer = Renderer(tokenizer_of(family))
    bare, whole = (
        renderer.path(Dialogue.of([HI]), Message("assistant", "Yes.", learn=n)) for n in (None, ((0, 4),))
    )
    assert bare is not None
    assert whole is not None
    assert (bare.prompt.tolist(), bare.response.tolist()) == (whole.prompt.tolist(), whole.response.tolist())
    assert whole.loss_mask is None


def test_notes_do_not_slow_rendering_down(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(tokenizer_of("chatml"))
    for _ in range(10):  # the first renderings are compared with the slow way
        renderer.prompt(Dialogue.of([HI]))
    monkeypatch.setattr(renderer.template, "_slow", None)
    renderer.prompt(Dialogue.of([{**HI, "attributes": {"wit": 1}, "feedback": "So what?", "score": 1.0}]))


def test_a_first_turn_that_nothing_precedes_keeps_its_mask_in_step() -> None:
    tok = tokenizer_of("chatml")
    path = Renderer(tok).path(Dialogue.of(""), Message("raw", "one two", learn=((0, 3),)))
    assert path is not None
    assert path.loss_mask is not None
    assert len(path.loss_mask) == len(path.response)
    (item,) = Renderer(tok).render(read([{"id": "t", "text": "one two"}]), "tokens")
    assert item.paths[0].loss_mask is None


def test_prefixes_shift_what_is_learnt() -> None:
    twice = prefixed(prefixed(Message("assistant", "Sure."), "b"), "aa")
    assert (twice.content, twice.learn) == ("aabSure.", ((3, 8),))


def test_jsonl_takes_and_gives_ranges() -> None:
    row = {
        "id": "c",
        "messages": [HI, {"role": "assistant", "content": "one two", "learn": [[0, 3], [4, 7]]}],
    }
    (e,) = read([row])
    assert isinstance(e, Demonstration)
    assert e.dialogue.messages[1] == Message("assistant", "one two", learn=((0, 3), (4, 7)))
    assert read([to_row(e)])[0] == e
    for bad in ([[3, 1]], [[0, 8]], [[0, 4], [3, 5]], [0, 3], "all", [[0.0, 3]]):
        with pytest.raises(HalignError, match=r"learn.*ranges \[start, end\]"):
            read([{"messages": [HI, {"role": "assistant", "content": "one two", "learn": bad}]}])


def masked_paths() -> list[Path]:
    """Three paths on one trunk, with masks that begin, end and leave gaps anywhere."""
    rng = np.random.default_rng(0)
    trunk = rng.integers(5, 250, 12).astype(np.int32)
    made = []
    for n in (9, 5, 7):
        mask = rng.random(n) < 0.5
        mask[2] = True
        made.append(Path(trunk, rng.integers(5, 250, n).astype(np.int32), mask))
    return made


@pytest.mark.parametrize("separate", [False, True])
def test_scores_of_a_masked_path_are_a_plain_pass_restricted_to_its_tokens(
    policy: Any, separate: bool
) -> None:
    paths = masked_paths()
    for path, found in zip(paths, path_logps(policy, paths, separate=separate), strict=True):
        ids = torch.from_numpy(path.ids).long()
        with torch.no_grad():
            logps = policy.model(input_ids=ids[None]).logits[0].log_softmax(-1)
        at = len(path.prompt) + np.flatnonzero(path.loss_mask)
        assert torch.allclose(found, logps[at - 1, ids[at]], atol=1e-4)


def test_the_loss_is_the_mean_over_what_is_learnt(
    tokenizer: Any, tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and gradient of a step of hindsight against plain passes with ignored labels."""
    rows = [
        {
            "id": f"c{i}",
            "prompt": [{"role": "user", "content": t}],
            "chosen": "yes refund",
            "rejected": f"No {i}",
        }
        for i, t in enumerate(TEXTS[:4])
    ]
    trainer = trainer_for(moved(tokenizer), "hindsight", tmp_path, rows, max_tokens=150)
    twin = make_llama(tokenizer)
    total, count = torch.tensor(0.0), 0
    for i in trainer.plan.step(0).items:
        path = trainer.plan.items[i].paths[0]
        assert path.loss_mask is not None
        labels = torch.from_numpy(path.ids).long()
        learnt = np.concatenate([np.zeros(len(path.prompt), dtype=bool), path.loss_mask])
        ignored = labels.masked_fill(torch.from_numpy(~learnt), -100)
        logits = twin(input_ids=labels[None]).logits[0]
        total = total + torch.nn.functional.cross_entropy(logits[:-1].float(), ignored[1:], reduction="sum")
        count += int(learnt.sum())
    (total / count).backward()
    gradients, row = step_gradients(trainer, monkeypatch)
    assert row["loss"] == pytest.approx(total.item() / count, rel=1e-5)
    assert_same(gradients, {n: p.grad for n, p in twin.named_parameters()})
