"""Packs side by side: the same bits as one after the other, whoever is first."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from halign import processor
from halign.errors import HalignError
from halign.lanes import GradientSum, Lanes, lanes_for
from halign.models import Policy, load
from halign.plan import Plan
from halign.readers import read
from halign.training import Interrupted, Trainer, train
from tests.conftest import conversation_rows, make_llama, power_cut
from tests.test_every_objective import rows_for
from tests.test_training import SETTINGS, moved, step_gradients, trainer_for
from tests.test_training_edges import shaken


def test_results_come_in_order_whoever_is_first() -> None:
    done: list[int] = []

    def slow_at_first(n: int) -> int:
        time.sleep(0.05 * (n == 0))
        done.append(n)
        return n * n

    assert list(Lanes(2).map(slow_at_first, range(5))) == [0, 1, 4, 9, 16]
    assert done[0] != 0


def test_one_lane_is_the_thread_that_asks() -> None:
    assert (
        list(Lanes(1).map(lambda _: threading.current_thread(), range(2))) == [threading.current_thread()] * 2
    )


def test_a_lane_has_its_share_of_the_threads_and_the_mode_of_who_asks() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        lanes = Lanes(2)
        with torch.no_grad():
            found = list(lanes.map(lambda _: (torch.get_num_threads(), torch.is_grad_enabled()), range(6)))
        assert found == [(2, False)] * 6
        assert list(lanes.map(lambda _: torch.is_grad_enabled(), range(2))) == [True, True]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_numbers_too_small_are_zero_in_lanes_too() -> None:
    processor.prepare()
    tiny = list(Lanes(2).map(lambda _: (torch.tensor(1e-30) * torch.tensor(1e-12)).item(), range(4)))
    assert tiny == [0.0] * 4


def test_a_failure_is_told_and_the_rest_is_left_undone() -> None:
    done: list[int] = []

    def fail(n: int) -> None:
        if n == 1:
            raise ValueError("pack 1")
        time.sleep(0.02)
        done.append(n)

    with pytest.raises(ValueError, match="pack 1"):
        list(Lanes(2).map(fail, range(50)))
    assert len(done) < 40


def test_weights_converted_by_one_lane_serve_all_and_are_gone_afterwards() -> None:
    layer = nn.Linear(4, 4, bias=False)
    x = torch.ones(1, 4)

    def used(_: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x).detach()

    before = list(Lanes(2).map(used, range(4)))
    with torch.no_grad():
        layer.weight.zero_()
    assert all(bool((b != 0).any()) for b in before)
    assert all(bool((a == 0).all()) for a in Lanes(2).map(used, range(4)))


def test_gradients_add_up_in_the_order_of_the_packs() -> None:
    """Float sums depend on their order: 1e8 + 1 - 1e8 is 0 or 1."""
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        parameter, unused = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        total = GradientSum([parameter, unused])
        parts = [torch.tensor([1e8]), torch.tensor([1.0]), torch.tensor([-1e8])]
        for number in order:
            total.add(number, [parts[number].clone(), None])
        assert parameter.grad is not None
        assert parameter.grad.item() == 0.0  # 1e8 + 1 is 1e8 in float32
        assert unused.grad is None


CASES: list[tuple[str, dict[str, Any]]] = [
    ("dpo", {}),
    ("dpo", {"dtype": "bf16"}),
    ("dpo", {"reference": "frozen"}),
    ("ipo", {"lora_rank": 2, "dtype": "bf16"}),
    ("dpo", {"gradient_checkpointing": True}),
    ("dpo", {"gradient_checkpointing": True, "dtype": "bf16"}),
    ("dpo", {"separate": True}),
    ("kto", {}),
    ("reward", {}),
    ("sppo", {}),
]


@pytest.mark.parametrize(("objective", "more"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_lanes_give_the_bits_of_one_pack_after_the_other(
    objective: str, more: dict[str, Any], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for lanes in (3, 1):
        cut = {"max_tokens": 150, "batch_items": 100, "lanes": 3, **more}
        trainer = shaken(trainer_for(moved(tokenizer), objective, tmp_path, rows_for(objective), **cut))
        assert trainer.stepper.lanes.count == 3
        assert len(trainer.plan.step(0).packs[0]) > 2
        trainer.stepper.lanes = Lanes(lanes)
        gradients, row = step_gradients(trainer, monkeypatch)
        del row["tokens_per_s"]
        found.append((gradients, row))
    (side_by_side, row), (in_turn, same) = found
    assert row == same
    assert side_by_side.keys() == in_turn.keys()
    assert all(torch.equal(side_by_side[k], in_turn[k]) for k in in_turn)
    assert any(bool(g.abs().max() > 0) for g in in_turn.values())


def test_a_run_in_lanes_is_cut_short_and_goes_on_to_the_same_bits(tokenizer: Any, tmp_path: Path) -> None:
    settings = SETTINGS | {"epochs": 2, "max_tokens": 150, "lanes": 2, "eval_share": 0.25, "save_every": 1}
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    examples = read(conversation_rows(6))
    train(load(start), examples, "dpo", output=tmp_path / "whole", quiet=True, **settings)
    with power_cut(2):
        train(load(start), examples, "dpo", output=tmp_path / "cut", quiet=True, **settings)
    train(load(start), examples, "dpo", output=tmp_path / "cut", quiet=True, **settings)
    a, b = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_failure_in_a_lane_ends_the_run(tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A loss that is no number is found after all lanes are through, and named as ever."""
    from halign.stepping import Diverged

    trainer = trainer_for(moved(tokenizer), "dpo", tmp_path, rows_for("dpo"), max_tokens=150, lanes=2)
    with torch.no_grad():
        next(trainer.policy.model.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="step 1"):
        trainer._step(trainer.plan.step(0))


def test_who_works_side_by_side(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    small = make_llama(tokenizer)
    assert lanes_for(small) == 4
    monkeypatch.setattr("halign.lanes.MODEL_BYTES", 2.5 * 4 * sum(p.numel() for p in small.parameters()))
    assert lanes_for(small) == 2
    monkeypatch.setattr("halign.lanes.MODEL_BYTES", 1)
    assert lanes_for(small) == 1
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    stretched = make_llama(
        tokenizer, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    )
    assert lanes_for(stretched) == 1
    assert lanes_for(nn.Linear(2, 2, device="meta")) == 1


@pytest.mark.parametrize(
    ("objective", "more"),
    [
        ("sft", {"dropout": True}),
        ("dpo", {"lora_rank": 2, "lora_dropout": 0.1}),
        ("slic", {"regulariser": "kl", "kl_weight": 0.5}),
    ],
    ids=["dropout", "lora_dropout", "distributions"],
)
def test_what_is_drawn_in_turn_is_computed_in_turn(
    objective: str, more: dict[str, Any], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halign.lanes.lanes_for", lambda model: 4)
    trainer = trainer_for(moved(tokenizer), objective, tmp_path, rows_for(objective), **more)
    assert trainer.stepper.lanes.count == 1
    with pytest.raises(HalignError, match="lanes would have no effect: with"):
        trainer_for(moved(tokenizer), objective, tmp_path, rows_for(objective), lanes=2, **more)


def test_packs_come_in_a_multiple_of_the_lanes(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(moved(tokenizer), "dpo", tmp_path, conversation_rows(12), batch_items=100)
    items = trainer.plan.items
    for lanes in (1, 2, 3):
        plan = Plan(items, batch_items=100, max_tokens=2000, flat=True, lanes=lanes)
        packs = plan.step(0).packs[0]
        assert len(packs) % lanes == 0
        assert sorted(i for p in packs for i in p.items) == list(range(len(items)))


def test_interrupting_is_heard(tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    original = Trainer._look_after

    def stop(self: Trainer, done: int, row: Any, board: Any, asked: Any) -> None:
        original(self, done, row, board, lambda: True)

    monkeypatch.setattr(Trainer, "_look_after", stop)
    with pytest.raises(Interrupted):
        train(
            moved(tokenizer),
            read(conversation_rows(4)),
            "dpo",
            output=tmp_path / "run",
            quiet=True,
            **SETTINGS | {"lanes": 2, "max_tokens": 150, "epochs": 3},
        )
