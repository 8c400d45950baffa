"""The plan: every item once an epoch, in packs that fit, the same again whenever asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halign.errors import HalignError
from halign.items import Item, Kind, Path
from halign.plan import MISMATCH, OVERSIZE, Pack, Plan, Slot
from halign.prefixes import count_distinct


def items(
    sizes: list[int], paths: int = 2, length: int = 6, seed: int = 0, kind: Kind = "pairs"
) -> list[Item]:
    """Conversations with so many items each; prompts grow turn by turn, responses differ."""
    rng = np.random.default_rng(seed)
    made = []
    for c, size in enumerate(sizes):
        trunk = rng.integers(0, 50, 4 + 5 * size).astype(np.int32)
        for turn in range(size):
            prompt = trunk[: 4 + 5 * turn]
            own = tuple(
                Path(prompt, rng.integers(50, 99, rng.integers(1, length)).astype(np.int32))
                for _ in range(paths)
            )
            made.append(Item(kind, own, f"c{c}", turn=turn))
    return made


def packs_of(plan: Plan, index: int) -> list[Pack]:
    return [pack for share in plan.step(index).packs for pack in share]


def width(plan: Plan, row: tuple[Slot, ...]) -> int:
    return count_distinct([plan.path(slot).ids for slot in row])


plans = st.fixed_dictionaries(
    {
        "batch_items": st.integers(1, 9),
        "max_tokens": st.integers(1, 120),
        "seed": st.integers(0, 3),
        "shuffle": st.sampled_from(["conversations", "items", "none"]),
        "separate": st.booleans(),
        "flat": st.booleans(),
        "ranks": st.integers(1, 3),
        "mismatch": st.booleans(),
    }
)
conversations = st.lists(st.integers(1, 5), min_size=2, max_size=6)


@settings(max_examples=80, deadline=None)
@given(conversations, plans)
def test_every_slot_of_every_item_stands_once_in_each_epoch(sizes: list[int], how: dict[str, Any]) -> None:
    given = items(sizes, kind="singles" if how["mismatch"] else "pairs")
    plan = Plan(given, epochs=2, **how)
    per_epoch = -(-len(given) // min(how["batch_items"], len(given)))
    assert plan.steps == 2 * per_epoch
    for epoch in range(2):
        steps = [plan.step(epoch * per_epoch + s) for s in range(per_epoch)]
        assert Counter(i for s in steps for i in s.items) == Counter(range(len(given)))
        for step in steps:
            slots = [slot for share in step.packs for pack in share for slot in pack.slots]
            assert Counter(slots) == Counter(Slot(i, k) for i in step.items for k in (0, 1))
            extra = [slot for share in step.extra for pack in share for slot in pack.slots]
            assert Counter(extra) == Counter(Slot(i, MISMATCH) for i in step.items if how["mismatch"])
            assert len(step.packs) == len(step.extra) == how["ranks"]
            for pack in (
                p for share in step.packs for p in share
            ):  # an item's paths stand side by side, in order
                for item in pack.items:
                    at = pack.slots.index(Slot(item, 0))
                    assert pack.slots[at + 1] == Slot(item, 1)


@settings(max_examples=80, deadline=None)
@given(conversations, plans)
def test_packs_keep_to_the_budget_unless_one_item_alone_exceeds_it(
    sizes: list[int], how: dict[str, Any]
) -> None:
    plan = Plan(items(sizes), **how)
    for pack in packs_of(plan, 0):
        widths = [width(plan, row) for row in pack.rows]
        used = sum(widths) if how["flat"] and not how["separate"] else len(widths) * max(widths)
        whole = (
            len(pack.rows) == 1 and used <= OVERSIZE * how["max_tokens"]
        )  # its parts would repeat a long trunk
        assert used <= how["max_tokens"] or len(pack.items) == 1 or whole
        if how["separate"]:
            assert all(len(row) == 1 for row in pack.rows)
        else:  # one trie a row, and a trie holds one conversation
            assert all(len({plan.items[s.item].conversation for s in row}) == 1 for row in pack.rows)


@settings(max_examples=40, deadline=None)
@given(conversations, plans)
def test_a_plan_is_a_function_of_its_seed(sizes: list[int], how: dict[str, Any]) -> None:
    given = items(sizes)
    one, two = Plan(given, epochs=3, **how), Plan(given, epochs=3, **how)
    forwards = [one.step(i) for i in range(one.steps)]
    backwards = [two.step(i) for i in reversed(range(two.steps))][::-1]
    assert forwards == backwards  # a resumed run may ask for any step first


def test_seeds_and_epochs_shuffle_differently_and_none_not_at_all() -> None:
    given = items([1] * 30)

    def order(**how: Any) -> list[int]:
        plan = Plan(given, batch_items=30, max_tokens=999, epochs=2, **how)
        return [list(plan.step(e).items) for e in (0, 1)]

    first, second = order(seed=0)
    assert first != second
    assert order(seed=1)[0] != first
    assert order(shuffle="none") == [list(range(30))] * 2
    assert order(shuffle="items")[0] != list(range(30))


def test_conversations_stay_together_where_they_are_shuffled() -> None:
    given = items([4, 4, 4, 4])
    plan = Plan(given, batch_items=4, max_tokens=10_000, seed=3)
    for index in range(4):
        step = plan.step(index)
        assert len({given[i].conversation for i in step.items}) == 1
        (pack,) = packs_of(plan, index)
        assert len(pack.rows) == 1
        flat = sum(len(plan.path(s)) for s in pack.slots)
        assert width(plan, pack.rows[0]) < flat / 2  # the trunk is shared
    apart = Plan(given, batch_items=4, max_tokens=10_000, seed=3, shuffle="items")
    assert any(len({given[i].conversation for i in apart.step(s).items}) > 1 for s in range(4))


def test_flat_padded_and_separate_count_tokens_each_in_their_way() -> None:
    """Two conversations of one item: a prompt of 4 and responses of 2 and 3 make tries of 9 tokens, paths of 6 and 7."""
    given = [
        Item("pairs", tuple(Path(np.arange(4) + 10 * c, np.arange(n) + 100 * n) for n in (2, 3)), f"c{c}")
        for c in (0, 1)
    ]
    for how, fits, too_small in (
        ({"flat": True}, 18, 17),
        ({}, 18, 17),
        ({"separate": True}, 28, 27),
    ):
        assert len(packs_of(Plan(given, batch_items=2, max_tokens=fits, **how), 0)) == 1, how
        assert len(packs_of(Plan(given, batch_items=2, max_tokens=too_small, **how), 0)) == 2, how
    wide = [
        *given,
        Item("pairs", (Path(np.arange(30), np.arange(3)), Path(np.arange(30), np.arange(2) + 9)), "c2"),
    ]
    assert [len(p.rows) for p in packs_of(Plan(wide, batch_items=3, max_tokens=60), 0)] == [
        2,
        1,
    ]  # 35 beside 9s would pad
    assert len(packs_of(Plan(wide, batch_items=3, max_tokens=60, flat=True), 0)) == 1


def test_a_trie_that_does_not_fit_is_halved() -> None:
    given = items([8], paths=1)
    plan = Plan(given, batch_items=8, max_tokens=40)
    packs = packs_of(plan, 0)
    assert len(packs) > 1
    assert sorted(i for p in packs for i in p.items) == list(range(8))


def test_ranks_share_the_work_evenly() -> None:
    given = items([1] * 40)
    plan = Plan(given, batch_items=40, max_tokens=30, ranks=4)
    load = [sum(len(plan.path(s)) for p in share for s in p.slots) for share in plan.step(0).packs]
    assert max(load) < 1.2 * min(load)
    few = Plan(given[:2], batch_items=2, max_tokens=1, ranks=4).step(0)
    assert [len(share) for share in few.packs] == [1, 1, 0, 0]


def test_flat_packs_come_in_a_multiple_of_the_ranks_and_of_nearly_equal_size() -> None:
    given = items([1] * 60, length=24)
    sizes = {}
    for ranks in (1, 2, 3):
        plan = Plan(given, batch_items=60, max_tokens=1100, flat=True, ranks=ranks)
        sizes[ranks] = [sum(width(plan, row) for row in pack.rows) for pack in packs_of(plan, 0)]
    total = sum(sizes[1])
    assert [len(s) for s in sizes.values()] == [2, 2, 3], sizes
    assert all(sum(s) == total and max(s) - min(s) < 30 for s in sizes.values())
    assert all(s == sorted(s, reverse=True) for s in sizes.values())
    small = Plan(given, batch_items=60, max_tokens=2000, flat=True, ranks=16)
    assert len(packs_of(small, 0)) == total // 256  # not sixteen packs of next to nothing


def test_mismatched_completions_are_of_other_conversations() -> None:
    given = items(kind="singles", sizes=[9, 1, 1])
    seen: set[str] = set()
    for seed in range(20):
        plan = Plan(given, batch_items=4, max_tokens=999, mismatch=True, seed=seed)
        for i, item in enumerate(given):
            path = plan.path(Slot(i, MISMATCH))
            assert path.prompt is item.paths[0].prompt
            (source,) = (o for o in given if any(p.response is path.response for p in o.paths))
            assert source.conversation != item.conversation
            if item.conversation != "c0":
                seen.add(source.conversation)
    assert seen == {"c0", "c1", "c2"}


def test_mismatched_completions_need_another_conversation_however_rare() -> None:
    """One item in two thousand is of another conversation: everybody's completion comes from it."""
    given = items(kind="singles", sizes=[2000, 1], paths=1, length=2)
    plan = Plan(given, batch_items=4, max_tokens=999, mismatch=True)
    other = given[-1].paths[0].response
    assert all(plan.path(Slot(i, MISMATCH)).response is other for i in range(2000))


def test_a_single_conversation_gives_a_clear_error_or_draws_on_spare_items() -> None:
    given = items(kind="singles", sizes=[5])
    with pytest.raises(HalignError, match=r"of one conversation \(c0\).*at least two"):
        Plan(given, batch_items=4, max_tokens=999, mismatch=True)
    with pytest.raises(HalignError, match="at least two"):
        Plan(given, batch_items=4, max_tokens=999, mismatch=True, spare=given)
    spare = items(kind="singles", sizes=[1, 2], seed=9)[1:]  # of a conversation called c1
    plan = Plan(given, batch_items=4, max_tokens=999, mismatch=True, spare=spare)
    responses = [id(p.response) for i in spare for p in i.paths]
    assert all(id(plan.path(Slot(i, MISMATCH)).response) in responses for i in range(5))


@pytest.mark.parametrize(
    ("epochs", "max_steps", "steps"),
    [(1, None, 4), (0.5, None, 2), (0.01, None, 1), (2.25, None, 9), (3, 5, 5), (1, 9, 4)],
)
def test_steps(epochs: float, max_steps: int | None, steps: int) -> None:
    plan = Plan(
        items([1] * 10),
        batch_items=3,
        max_tokens=99,
        epochs=epochs,
        max_steps=max_steps,
    )
    assert (plan.steps, plan.steps_per_epoch) == (steps, 4)
    assert [len(plan.step(i).items) for i in range(4)] == [3, 3, 3, 1]
    assert plan.steps_per_epoch == 4


def test_used_items_are_those_of_the_steps_that_are_taken() -> None:
    given = items(kind="singles", sizes=[2] * 6)
    assert Plan(given, batch_items=4, max_tokens=99).used_items() == list(range(12))
    short = Plan(given, batch_items=4, max_tokens=99, max_steps=2)
    assert short.used_items() == sorted([*short.step(0).items, *short.step(1).items])
    assert len(short.used_items()) == 8
    assert Plan(given, batch_items=4, max_tokens=99, epochs=2, max_steps=4).used_items() == list(range(12))


def test_little_or_nothing() -> None:
    one = Plan(items(kind="singles", sizes=[1]), batch_items=100, max_tokens=5)
    assert (one.steps, one.step(0).items) == (1, (0,))
    none = Plan([], batch_items=4, max_tokens=5)
    assert (none.steps, none.pack([]), none.used_items()) == (0, [], [])


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=8))
def test_count_distinct_counts_prefixes(paths: list[list[int]]) -> None:
    prefixes = {tuple(p[:i]) for p in paths for i in range(1, len(p) + 1)}
    assert count_distinct([np.array(p, dtype=np.int32) for p in paths]) == len(prefixes)


def test_a_long_trunk_is_not_encoded_again_and_again_to_keep_to_the_budget() -> None:
    """Sixteen pairs behind a trunk of 900 tokens, with a budget of 1,000: split, every pair would repeat the trunk."""
    trunk = np.arange(900, dtype=np.int32)
    made = [
        Item(
            "pairs",
            tuple(Path(trunk, np.array([1000 + 20 * i + 10 * k + j for j in range(10)])) for k in (0, 1)),
            "c",
        )
        for i in range(16)
    ]
    plan = Plan(made, batch_items=16, max_tokens=1000, flat=True)
    assert [width(plan, row) for pack in packs_of(plan, 0) for row in pack.rows] == [900 + 16 * 20]
    far_over = Plan(made, batch_items=16, max_tokens=200, flat=True)
    assert all(len(pack.items) == 1 for pack in packs_of(far_over, 0))
    short = [Item("pairs", tuple(Path(p.prompt[:20], p.response) for p in item.paths), "c") for item in made]
    plan = Plan(short, batch_items=16, max_tokens=300, flat=True)
    assert sorted(width(plan, row) for pack in packs_of(plan, 0) for row in pack.rows) == [180, 180]
