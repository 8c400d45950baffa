"""Several objectives over one forward pass: every one sees what it would see alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from halign.binding import Scored
from halign.config import resolve
from halign.models import Policy
from halign.prepare import prepare
from halign.readers import read
from halign.training import Trainer, train
from tests.conftest import conversation_rows, make_llama
from tests.test_every_objective import ranking_rows
from tests.test_training import SETTINGS, assert_same, moved, step_gradients, trainer_for
from tests.test_training_edges import shaken

ALL = {"batch_items": 1000, "max_tokens": 100_000}


def rows() -> list[dict[str, Any]]:
    """Conversations of three agent turns: with two alternatives, with none, with one that is as good."""
    made = conversation_rows(3)
    for row in made:
        first, second, third = (m for m in row["messages"] if m["role"] == "assistant")
        first["alternatives"] = [*first["alternatives"], {"content": "Something else entirely.", "rank": 3}]
        del second["alternatives"]
        third["alternatives"] = [{"content": "Just as good.", "rank": 1}, *third["alternatives"]]
    return made


def gradients(
    objective: str, tokenizer: Any, tmp_path: Path, patch: pytest.MonkeyPatch, **more: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any], Trainer]:
    trainer = shaken(trainer_for(moved(tokenizer), objective, tmp_path, rows(), **(ALL | more)))
    return *step_gradients(trainer, patch), trainer


@pytest.mark.parametrize("first", ["dpo", "ipo", "kto"])
@pytest.mark.parametrize("how", [{}, {"max_tokens": 1}])
def test_sft_on_every_agent_turn_and_a_preference_on_the_branches(
    first: str, how: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradient are the weighted sums of those of two runs, each on its own; nothing is encoded twice."""
    both, row, trainer = gradients(f"{first}+0.3*sft", tokenizer, tmp_path, monkeypatch, **how)
    alone, own_row, own = gradients(first, tokenizer, tmp_path, monkeypatch, **how)
    sft, sft_row, imitated = gradients("sft", tokenizer, tmp_path, monkeypatch, **how)
    assert row["loss_sft"] == pytest.approx(sft_row["loss"], rel=1e-5)
    assert row[f"loss_{first}"] == pytest.approx(own_row["loss"], rel=1e-5)
    assert row["loss"] == pytest.approx(own_row["loss"] + 0.3 * sft_row["loss"], rel=1e-5)
    assert_same(both, {n: alone[n] + 0.3 * sft[n] for n in both})
    assert len(imitated.plan.items) == 9  # 3 conversations of 3 agent turns
    assert len(trainer.plan.items) == len(own.plan.items) + 3  # a turn without alternatives in each
    if not how:
        assert row["tokens"] == len_of_the_union(trainer)


def len_of_the_union(trainer: Trainer) -> int:
    """Distinct prefixes over everything, each conversation apart; whole paths are nobody's context, so they are not read."""
    seen = set()
    for item in trainer.plan.items:
        for path in item.paths:
            ids = path.ids.tolist()
            seen |= {(item.conversation, tuple(ids[: n + 1])) for n in range(len(ids) - 1)}
    return len(seen)


def test_a_response_chosen_several_times_is_imitated_once(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Best against rest makes several pairs of one turn, all pairs also some whose chosen is not the best."""
    ranked = [
        {
            "prompt": [{"role": "user", "content": f"Where is parcel {n}?"}],
            "responses": [{"content": f"In street {n + k}.", "rank": k + 1} for k in range(4)],
        }
        for n in range(3)
    ]
    best = [{"messages": [*r["prompt"], {"role": "assistant", **r["responses"][0]}]} for r in ranked]
    for message in (b["messages"][1] for b in best):
        del message["rank"]
    _, alone = step_gradients(
        shaken(trainer_for(moved(tokenizer), "sft", tmp_path, best, **ALL)), monkeypatch
    )
    for how, pairs in (("best_rest", 9), ("all", 18)):
        trainer = shaken(trainer_for(moved(tokenizer), "dpo+sft", tmp_path, ranked, pairs=how, **ALL))
        _, row = step_gradients(trainer, monkeypatch)
        assert (row["items"], row["loss_sft"]) == (pairs, pytest.approx(alone["loss"], rel=1e-5))


def test_pairs_and_singles_in_one_pass(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, row, _ = gradients("dpo+0.5*kto", tokenizer, tmp_path, monkeypatch)
    dpo, dpo_row, _ = gradients("dpo", tokenizer, tmp_path, monkeypatch)
    kto, kto_row, _ = gradients("kto", tokenizer, tmp_path, monkeypatch)
    assert row["loss"] == pytest.approx(dpo_row["loss"] + 0.5 * kto_row["loss"], rel=1e-5)
    assert_same(both, {n: dpo[n] + 0.5 * kto[n] for n in both})


def test_what_shares_a_trunk_stands_together(tokenizer: Any) -> None:
    """Items of all kinds in the order of conversations and turns, whatever kind they are."""
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    items = prepare(policy, read(rows()), None, resolve("dpo+sft", {})).train
    assert [(i.conversation, i.turn, i.kind) for i in items[:5]] == [
        ("c0", 1, "pairs"),
        ("c0", 1, "pairs"),
        ("c0", 3, "tokens"),
        ("c0", 5, "pairs"),
        ("c0", 5, "pairs"),
    ]
    assert [bool(i.values.get("imitate")) for i in items[:5]] == [True, False, False, True, False]


@pytest.mark.parametrize("first", ["kto", "bco", "aot", "kto_pair", "dpo", "dpo_pro"])
def test_a_step_or_pack_without_what_is_compared(first: str, tokenizer: Any, tmp_path: Path) -> None:
    """Half of the conversations have no alternatives at all; every item is a step, then a pack, of its own."""
    given = rows()
    for row in given[1:]:
        for message in row["messages"]:
            message.pop("alternatives", None)
    given = [*given, {**rows()[2], "id": "c9"}]
    for number, cut in enumerate(({"batch_items": 1}, {"batch_items": 8, "max_tokens": 1})):
        run = train(
            moved(tokenizer),
            read(given),
            f"{first}+0.1*sft",
            output=tmp_path / str(number),
            quiet=True,
            **(SETTINGS | cut),
        )
        assert all(torch.isfinite(torch.tensor(r["loss"])) for r in run.metrics)


@pytest.mark.parametrize("name", ["pro", "sppo_all", "steerlm2"])
def test_lists_that_need_a_value_beside_demonstrations(name: str, tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        moved(tokenizer), f"{name}+sft", tmp_path, ranking_rows(), batch_items=100, max_tokens=1
    )
    demonstration = replace(trainer.plan.items[0], kind="tokens", paths=trainer.plan.items[0].paths[:1])
    trainer.plan.items = [*trainer.plan.items, demonstration]
    pack = trainer.plan.pack([len(trainer.plan.items) - 1])[0]
    scored = Scored(trainer.plan.items, pack, trainer.scorer(trainer.batch(trainer.plan, pack)), None)
    loss, parts = trainer.losses.share(scored, {}, {name: 1.0, "sft": 1.0})
    assert torch.isfinite(loss)
    assert f"loss_{name}" not in parts


def test_of_equal_demonstrations_the_heaviest_is_imitated(tokenizer: Any) -> None:
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    common = {"prompt": "Q", "chosen": "good", "id": "c"}
    light, heavy = (
        {**common, "rejected": "bad", "weight": 0.5},
        {**common, "rejected": "worse", "weight": 5.0},
    )
    for given in ([light, heavy], [heavy, light]):
        items = prepare(policy, read(given), None, resolve("dpo+sft", {})).train
        assert [(i.weight, i.values["imitate"]) for i in items] == [(r["weight"], r is heavy) for r in given]


@pytest.mark.parametrize("objective", ["dpo", "dpo+sft", "hinge"])
def test_soft_preferences_are_made_certain_where_nobody_reads_them(objective: str, tokenizer: Any) -> None:
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    given = [
        {"prompt": "Q", "chosen": "first", "rejected": "second", "preference": p, "id": f"c{p}"}
        for p in (0.9, 0.5, 0.2, 1.0)
    ]
    prepared = prepare(policy, read(given), None, resolve(objective, {}))
    pairs = [i for i in prepared.train if i.kind == "pairs"]
    said = [tokenizer.decode(i.paths[0].response.tolist())[:5] for i in pairs]
    assert (said, [i.values["preference"] for i in pairs]) == (["first", "secon", "first"], [1.0, 1.0, 1.0])
    assert prepared.dropped["soft preferences, taken as certain"] == 2
    assert prepared.dropped["pairs with a preference of one half"] == 1
    kept = prepare(policy, read(given), None, resolve("psi_po", {})).train
    assert [i.values["preference"] for i in kept] == [0.9, 0.5, 0.2, 1.0]


def test_a_running_mean_outlives_a_step_without_its_items(tokenizer: Any, tmp_path: Path) -> None:
    """BCO's baseline is over all steps so far, also where a step of the mixture held demonstrations only."""
    trainer = trainer_for(moved(tokenizer), "bco+sft", tmp_path, rows(), **ALL)
    trainer._step(trainer.plan.step(0))
    before = dict(trainer.losses.memory["bco"])
    assert float(before["good_count"]) > 0
    trainer.losses.statistics([{"bco": []}])
    assert trainer.losses.memory["bco"] == before
