"""The engine: nothing twice, nothing half, independent stages side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from halign.cores import cores
from halign.errors import HalignError
from halign.recipes import engine
from halign.recipes.display import RichBoard
from halign.recipes.engine import run, work_ahead
from halign.recipes.stages import RECORD, Stage, Store, in_order
from tests.recipes import toy_stages

HERE = toy_stages.__name__


def graph(a=1, b=2, version="1"):
    one = Stage("one", f"{HERE}:number", settings={"value": a})
    two = Stage("two", f"{HERE}:number", settings={"value": b})
    return one, two, Stage("sum", f"{HERE}:total", version, inputs={"a": one, "b": two})


def value(store, stage):
    return json.loads((store.folder(stage) / "value.json").read_text())


def test_keys_follow_settings_inputs_and_version():
    one, two, both = graph()
    assert graph()[2].key == both.key
    assert graph(a=5)[2].key != both.key
    assert graph(version="2")[2].key != both.key
    assert replace(both, title="other words", cost=9.0).key == both.key
    assert [s.name for s in in_order([both])] == ["one", "two", "sum"]
    with pytest.raises(HalignError, match="two different stages"):
        in_order([one, replace(two, name="one")])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_run_does_nothing_and_a_change_redoes_what_depends_on_it(tmp_path, workers):
    store = Store(tmp_path)
    both = graph()[2]
    first = run([both], store, workers=workers)
    assert first.made == ["one", "two", "sum"]
    assert value(store, both) == 3
    assert run([both], store, workers=workers).made == []
    changed = graph(b=10)[2]
    assert run([changed], store, workers=workers).made == ["two", "sum"]
    assert (value(store, both), value(store, changed)) == (3, 11)


def test_what_is_only_an_input_of_finished_work_is_not_made_again(tmp_path):
    store = Store(tmp_path)
    one, _, both = graph()
    run([both], store, workers=0)
    (store.folder(one) / "stage.json").unlink()
    assert run([both], store, workers=0).made == []


def test_a_failed_stage_leaves_nothing_and_names_itself(tmp_path):
    store = Store(tmp_path / "store")
    good = Stage("good", f"{HERE}:number", settings={"value": 1})
    bad = Stage("bad", f"{HERE}:fails", settings={"once": str(tmp_path / "once")}, title="Doing it")
    with pytest.raises(HalignError, match="Doing it: no such thing"):
        run([bad, good], store, workers=2)
    assert not store.done(bad)
    assert not any(p.name.startswith("bad") for p in store.root.iterdir())
    after = run([bad, good], store, workers=2)
    assert "bad" in after.made
    assert store.done(good)


def test_a_bug_keeps_its_own_exception_and_a_dead_process_is_told(tmp_path):
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run([Stage("bug", f"{HERE}:breaks")], Store(tmp_path), workers=1)
    with pytest.raises(HalignError, match="process died"):
        run([Stage("dead", f"{HERE}:dies")], Store(tmp_path), workers=1)


def test_a_resumable_stage_goes_on_with_what_it_left(tmp_path):
    store = Store(tmp_path)
    stage = Stage("long", f"{HERE}:resumes", resumable=True)
    with pytest.raises(HalignError, match="interrupted"):
        run([stage], store, workers=0)
    run([stage], store, workers=0)
    assert (store.folder(stage) / "step").read_text() == "2"


def test_a_resumable_stage_begins_anew_where_an_input_was_made_again(tmp_path):
    store = Store(tmp_path)
    first = Stage("first", f"{HERE}:number", settings={"value": 1})
    stage = Stage("long", f"{HERE}:resumes", inputs={"first": first}, resumable=True)
    with pytest.raises(HalignError, match="interrupted"):
        run([stage], store, workers=0)
    record = store.folder(first) / RECORD
    record.write_text(json.dumps({**json.loads(record.read_text()), "finished": "2026-01-01T00:00:00"}))
    with pytest.raises(HalignError, match="interrupted"):  # what was there counts for nothing
        run([stage], store, workers=0)
    run([stage], store, workers=0)
    assert sorted(p.name for p in store.folder(stage).iterdir()) == [RECORD, "step"]


def test_independent_stages_run_side_by_side(tmp_path):
    stages = [Stage(f"s{i}", f"{HERE}:number", settings={"value": i, "seconds": 1.5}) for i in range(2)]
    store = Store(tmp_path)
    run(stages, store, workers=2)
    assert len({(store.folder(s) / "process").read_text() for s in stages}) == 2


def test_a_killed_run_leaves_no_workers_and_no_half_results(tmp_path):
    """SIGTERM ends the run at once, its workers with it; afterwards the same stage can be run."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from halign.recipes.engine import run\nfrom halign.recipes.stages import Stage, Store\n"
        f"s = Stage('s', '{HERE}:number', settings={{'value': 1, 'seconds': 60}})\n"
        f"run([s], Store({str(tmp_path)!r}), workers=1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    lock = next(iter(_wait_for(lambda: list(tmp_path.glob("*.lock")))))
    worker = int(_wait_for(lock.read_text))
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) != 0
    _wait_for(lambda: not os.path.exists(f"/proc/{worker}"))
    stage = Stage("s", f"{HERE}:number", settings={"value": 1, "seconds": 0})
    assert run([stage], Store(tmp_path), workers=0).made == ["s"]


def _wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def test_two_runs_do_not_work_on_one_stage(tmp_path):
    store = Store(tmp_path)
    stage = Stage("s", f"{HERE}:number", settings={"value": 1})
    lock = store.folder(stage).with_name(store.folder(stage).name + ".lock")
    lock.write_text(str(os.getpid()))
    with pytest.raises(HalignError, match="another process"):
        run([stage], store, workers=0)
    lock.write_text("999999999")  # a process that is gone
    assert run([stage], store, workers=0).made == ["s"]


def test_a_long_stage_gets_all_idle_cores_unless_much_can_run_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_idle_cores", lambda cores: cores - 0.2)
    store = Store(tmp_path)
    base = Stage("base", f"{HERE}:number", settings={"value": 1}, cost=100.0)
    small = Stage("small", f"{HERE}:number", settings={"value": 2}, cost=5.0)
    arms = [
        Stage(n, f"{HERE}:total", settings={}, version=n, inputs={"base": base}, cost=40.0)
        for n in ("a", "b")
    ]
    run([small, *arms], store, workers=2)
    threads = {n: (store.folder(s) / "threads").read_text() for n, s in (("base", base), ("a", arms[0]))}
    cores = len(os.sched_getaffinity(0))
    assert threads == {"base": str(cores), "a": str(max(1, cores // 2))}


def test_longest_chain_first():
    one, two, both = graph()
    ahead = work_ahead([replace(one, cost=5.0), two, replace(both, cost=2.0)])
    assert ahead == {"one": 7.0, "two": 3.0, "sum": 2.0}


def test_a_stage_that_is_the_first_to_import_torch_gets_its_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_idle_cores", lambda cores: cores)
    store = Store(tmp_path)
    stages = [
        Stage("long", f"{HERE}:torch_threads", cost=100),
        Stage("short", f"{HERE}:number", settings={"value": 1}),
    ]
    run(stages, store, workers=2)
    assert (store.folder(stages[0]) / "threads").read_text() == str(cores())


def test_a_job_that_just_ends_takes_no_core(monkeypatch):
    looks = iter([60.0, 55.0, 5.0])
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: next(looks))
    assert engine._idle_cores(2) == pytest.approx(1.9)


def test_board_says_what_why_and_how_long(tmp_path):
    console = Console(record=True, width=100, force_terminal=False)
    one, two, both = graph()
    both = replace(both, title="Adding up", why="so that we know")
    run([both], Store(tmp_path), workers=0, board=RichBoard(console))
    text = console.export_text()
    assert "[3/3] Adding up (so that we know)" in text
    assert "left" in text
    board = RichBoard(Console(record=True, width=100, force_terminal=True))
    board.start([one, two, both], set(), [one, two, both], 2)
    board.begin("one")
    board.progress("one", 1, 2, "half way")
    board.lines["one"].since = time.monotonic() - 10
    assert 9 < board.remaining() < 13  # 10 s left of stage one; the sum waits for it
    board.stop()
    assert "half way" in board.console.export_text()


def test_more_stages_than_a_terminal_is_high_are_counted():
    many = [Stage(f"s{i}", "tests.recipes.toy_stages:write", title=f"Stage {i}") for i in range(40)]
    console = Console(record=True, width=100, force_terminal=True)
    board = RichBoard(console)
    for first in (0, 1):  # a recipe's second round counts from one again
        board.start(many, {"s1"}, many[2:], 2)
        board.begin("s5")
        board.begin("s6")
        board.finish("s6")
        assert board.number == 2, first
        console.print(board._view())
        board.stop()
    text = console.export_text()
    assert "37 waiting, 1 cached, 1 running, 1 done" in text
    assert "Stage 5" in text
    assert "Stage 7" not in text
