"""What ranks tell each other, with threads for ranks: shares, one who does it for all, and a failure that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import DistributedType

from halign.errors import HalignError
from halign.processes import Processes, check_whole


class Ranks:
    """``ranks`` threads whose ``gathered`` waits for all of them, as a process group's does."""

    def __init__(self, ranks: int) -> None:
        self.ranks, self.barrier = ranks, threading.Barrier(ranks, timeout=20)
        self.parts: list[list[Any]] = [[] for _ in range(ranks)]

    def rank(self, number: int) -> Processes:
        processes = Processes()
        processes.rank, processes.ranks, processes.main = number, self.ranks, number == 0

        def gathered(parts: list[Any]) -> list[Any]:
            self.parts[number] = parts
            self.barrier.wait()
            found = [one for part in self.parts for one in part]
            self.barrier.wait()
            return found

        processes.gathered = gathered  # type: ignore[method-assign]
        return processes

    def run(self, work: Callable[[Processes], Any]) -> list[Any]:
        """What ``work`` gives on each rank; an exception where it raised one."""
        found: list[Any] = [None] * self.ranks

        def go(number: int) -> None:
            try:
                found[number] = work(self.rank(number))
            except Exception as error:
                found[number] = error

        threads = [threading.Thread(target=go, args=(n,)) for n in range(self.ranks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return found


@pytest.mark.parametrize(("ranks", "count"), [(1, 5), (2, 5), (3, 2), (4, 0), (4, 8), (3, 7)])
def test_shares_are_everything_once_in_order_and_nearly_equal(ranks: int, count: int) -> None:
    shares = [Ranks(ranks).rank(n).share(count) for n in range(ranks)]
    assert [place for share in shares for place in share] == list(range(count))
    sizes = [len(share) for share in shares]
    assert sizes == sorted(sizes, reverse=True)  # who has more is first, so the main process has something
    assert sizes[0] - sizes[-1] <= 1


def test_every_rank_knows_what_all_did() -> None:
    asked: list[range] = []

    def work(processes: Processes) -> list[int]:
        def squares(places: range) -> list[int]:
            asked.append(places)
            return [place**2 for place in places]

        return processes.shared(2, squares)

    assert Ranks(3).run(work) == [[0, 1]] * 3
    assert sorted(asked, key=lambda r: r.start) == [range(1), range(1, 2)]  # nothing is done for no share
    assert Processes().shared(3, lambda places: [p + 1 for p in places]) == [1, 2, 3]


def test_one_does_it_for_all() -> None:
    done: list[int] = []

    def work(processes: Processes) -> str:
        return processes.by_main(lambda: done.append(processes.rank) or "begun")

    assert Ranks(3).run(work) == ["begun"] * 3
    assert done == [0]


@pytest.mark.parametrize("who", [0, 2])
def test_where_one_rank_fails_all_do(who: int) -> None:
    """The one that failed says what it was; the others name it. Nobody is left waiting."""

    def work(processes: Processes) -> Any:
        def fragile(places: range) -> list[int]:
            if processes.rank == who:
                raise KeyError("reward")
            return list(places)

        return processes.shared(6, fragile)

    found = Ranks(3).run(work)
    assert isinstance(found[who], KeyError)
    for rank in {0, 1, 2} - {who}:
        assert isinstance(found[rank], HalignError)
        assert str(found[rank]) == f"rank {who} failed: KeyError: 'reward'"


def test_a_process_alone_fails_as_it_does() -> None:
    with pytest.raises(ZeroDivisionError):
        Processes().by_main(lambda: 1 // 0)


def test_a_model_in_parts_is_refused() -> None:
    for kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        with pytest.raises(HalignError, match=rf"ppo samples, and with {kind.value} .* launch it without"):
            check_whole(SimpleNamespace(distributed_type=kind), "ppo")  # type: ignore[arg-type]
    for kind in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        check_whole(SimpleNamespace(distributed_type=kind), "ppo")  # type: ignore[arg-type]
