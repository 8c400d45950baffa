"""The frontier: the whole of it at toy size, and its numbers from the raw replies by another way."""

from __future__ import annotations

import json

import numpy as np
import pytest

from halign.errors import HalignError
from halign.recipes.frontier import Job
from halign.recipes.frontier_methods import Method, spending
from halign.recipes.frontier_results import Asked, accuracy, best_of, ideal, of_ideal, point
from halign.recipes.run import execute, plan, resolve
from halign.recipes.stages import Store
from halign.recipes.steps import read_rows

METHODS = {"rloo": [0.1], "raft": [2], "dpo": [0.3, 0.1], "kto": [0.1]}


def shorter(prompts, replies):
    """A reward of one's own."""
    return [-len(reply) / 100 for reply in replies]


def settings(**overrides):
    """The smallest frontier: a policy gradient, a loop of rounds, pairs and singles."""
    found = resolve("frontier", "tiny", overrides)
    found["methods"] = {n: {**found["methods"][n], "values": v} for n, v in METHODS.items()}
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The whole frontier, once, in this process."""
    folder = tmp_path_factory.mktemp("frontier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALIGN_CACHE", str(folder / "cache"))
        done = execute("frontier", settings(), folder / "out", workers=0)
        job = Job(settings(), Store(folder / "cache" / "stages"))
        list(job.rounds())
        yield folder, done, job


@pytest.fixture(scope="module")
def found(made):
    return json.loads((made[0] / "out" / "frontier.json").read_text())


def test_from_nothing_to_numbers(made, found):
    folder, done, _ = made
    assert set(found["methods"]) == set(METHODS)
    assert [p["beta"] for p in found["methods"]["dpo"]["points"]] == METHODS["dpo"]
    assert [p["rounds"] for p in found["methods"]["raft"]["points"]] == METHODS["raft"]
    assert set(found["temperature"]) == {"start", *METHODS}
    assert [r["temperature"] for r in found["temperature"]["dpo"]] == [0.0, 1.0]
    assert [r["n"] for r in found["best_of_n"]] == [1, 2, 4]
    assert [p["updates"] for p in found["learned"]["points"]] == [1, 2]
    assert {r["beta"] for r in found["ideal"]} <= {1.0, 0.3, 0.1}
    for name in ("frontier", "gain", "temperature", "overoptimisation"):
        assert (folder / "out" / f"{name}.svg").exists()
        assert (folder / "out" / f"{name}.png").exists()
    assert (folder / "out" / "settings.yaml").exists()
    assert done.report.read_text().count("<svg") == 4


def test_every_method_spends_the_same(found):
    for name, method in found["methods"].items():
        for p in method["points"]:
            assert p["spent"]["updates"] == 2, name
            assert p["spent"]["replies"] <= 36
            if name in (
                "rloo",
                "raft",
            ):  # they count what they drew; offline, replies that were cut off are left out
                assert p["spent"]["replies"] == 36


def test_a_point_is_what_its_replies_say(made, found):
    """Means by hand from the rows; KL by scoring every path apart, on replies whose words give back their tokens."""
    from halign.likelihood import logps
    from halign.models import load
    from halign.readers import read_prompts
    from halign.recipes.steps import model_folder
    from halign.worlds import care

    _, _, job = made
    stage = job.measured["test"][("dpo", 0.1, 0), "mixed"]
    rows = read_rows(job.store.folder(stage) / "replies.jsonl")
    pool = read_rows(job.store.folder(job.measured["pool"]["mixed"]) / "replies.jsonl")
    prompts = read_prompts(job.store.folder(job.stages.data) / "prompts-test-mixed.jsonl")
    shown = found["methods"]["dpo"]["points"][1]
    assert len(rows) == 3 * 2
    assert len(pool) == 3 * 8
    assert shown["reward"]["value"] == pytest.approx(np.mean([r["reward"] for r in rows]))
    assert shown["kl"]["value"] == pytest.approx(np.mean([r["kl"] for r in rows]))
    gains, wins = [], []
    for r in rows:
        others = [o["reward"] for o in pool if o["prompt"] == r["prompt"]]
        gains.append(r["reward"] - sum(others) / 8)
        wins += [1.0 if r["reward"] > o else 0.5 if r["reward"] == o else 0.0 for o in others]
        truth = care.assess(prompts[r["prompt"]], r["text"])
        kept = list(truth.adherence.values())
        by_hand = (sum(kept) / len(kept) if kept else 1.0) + truth.natural + (not truth.hallucination)
        assert r["reward"] == pytest.approx(by_hand / 3)
    assert shown["gain"]["value"] == pytest.approx(np.mean(gains))
    assert shown["win_rate"]["value"] == pytest.approx(np.mean(wins))
    policy = load(model_folder(job.store.folder(job.stages.trained("dpo", 0.1, 0))))
    start = load(model_folder(job.store.folder(job.stages.start)))
    ended = [r for r in rows if r["finished"]]
    asked = [(prompts[r["prompt"]], r["text"]) for r in ended]
    assert asked
    moved = logps(policy, asked, separate=True) - logps(start, asked, separate=True)
    agree = [
        abs(r["kl"] - by_text) <= 1e-4
        for r, by_text in zip(ended, moved.tolist(), strict=True)
        if abs(by_text) > 2e-3
        and len(policy.tokenizer(r["text"], add_special_tokens=False)["input_ids"]) == r["tokens"] - 1
    ]
    # words may have been drawn as other tokens than they encode to, and as many; a wrong KL would agree with none
    assert agree
    assert sum(agree) >= max(1, len(agree) / 2)


def test_the_report_holds_every_number(made, found):
    page = made[1].report.read_text()

    def intervals(of):
        if isinstance(of, dict):
            if {"value", "low", "high"} <= of.keys():
                yield of
            else:
                for part in of.values():
                    yield from intervals(part)
        elif isinstance(of, list):
            for part in of:
                yield from intervals(part)

    left_out = (
        "tokens",
        "reward",
    )  # over temperature, as the loop's win rate and the reward by the reward model: in the JSON alone
    count = 0
    best = [
        {**r, "by_learned": {k: v for k, v in r["by_learned"].items() if k != "reward"}}
        for r in found["best_of_n"]
    ]
    temperature = {
        n: [{k: v for k, v in r.items() if k not in left_out} for r in rows]
        for n, rows in found["temperature"].items()
    }
    over = [{k: v for k, v in p.items() if k != "win_rate"} for p in found["learned"]["points"]]
    for one in intervals(
        [
            {
                **found,
                "best_of_n": best,
                "temperature": temperature,
                "learned": {**found["learned"], "points": over},
            }
        ]
    ):
        count += 1
        forms = []
        for digits, sign in ((3, ""), (3, "+"), (1, "")):
            value, low, high = (
                f"{round(one[k], digits) + 0.0:{sign}.{digits}f}".replace("-", "−")
                for k in ("value", "low", "high")
            )
            forms.append(f"{value} [{low}, {high}]")
        assert any(form in page for form in forms), one
    assert count > 50
    assert "halign run frontier" in page


def test_the_strength_is_chosen_on_validation_prompts(made, found):
    _, _, job = made
    reached = {}
    for ((name, value, _), _), stage in job.measured["validation"].items():
        assert stage.settings["split"] == "validation"
        rows = read_rows(job.store.folder(stage) / "replies.jsonl")
        reached[name, value] = np.mean([r["reward"] for r in rows])
    for name, values in METHODS.items():
        assert found["methods"][name]["chosen"] == max(values, key=lambda v, n=name: reached[n, v])


def test_learnt_from_and_asked_share_no_conversation(made):
    _, _, job = made
    data = job.store.folder(job.stages.data)
    learnt = {r["conversation"] for r in read_rows(job.store.folder(job.stages.replies) / "train.jsonl")}
    imitated = {r["id"] for r in read_rows(data / "train.jsonl")[:3]}
    asked = [
        {r["conversation"] for r in read_rows(data / f"prompts-{split}-mixed.jsonl")}
        for split in ("validation", "test")
    ]
    everything = [learnt, imitated, *asked]
    assert len(set.union(*everything)) == sum(map(len, everything))


def test_a_second_run_does_no_work_and_the_plan_knows(made, monkeypatch):
    folder = made[0]
    monkeypatch.setenv("HALIGN_CACHE", str(folder / "cache"))
    again = execute("frontier", settings(), folder / "again", workers=0)
    assert again.outcome.made == []
    first = json.loads((folder / "out" / "frontier.json").read_text())
    assert json.loads((folder / "again" / "frontier.json").read_text()) == first
    assert {state for _, state in plan("frontier", settings())} == {"there already"}
    assert len(plan("frontier", settings(pool=9))) < len(
        plan("frontier", settings())
    )  # later rounds are open


def test_a_model_data_and_reward_of_ones_own(made, tmp_path, monkeypatch):
    """Any model, conversations in a file, a function as the truth; no fine-tuning before."""
    from halign.readers import write_jsonl
    from halign.recipes.steps import model_folder
    from halign.worlds import care

    _, _, job = made
    monkeypatch.setenv("HALIGN_CACHE", str(tmp_path / "cache"))
    write_jsonl(care.conversations(8, split="train", seed=3), tmp_path / "own.jsonl")
    own = settings(
        world=None,
        model=model_folder(job.store.folder(job.stages.start)),
        data=str(tmp_path / "own.jsonl"),
        reward=f"{__name__}:shorter",
        conversations=3,
        sft_conversations=0,
        over={"updates": []},
        temperatures=[1.0],
    )
    own["methods"] = {"dpo": {**own["methods"]["dpo"], "values": [0.1]}}
    found = execute("frontier", own, tmp_path / "out", workers=0).evidence
    assert found["start"]["reward"]["value"] < 0
    assert found["methods"]["dpo"]["points"][0]["spent"]["updates"] == 2
    assert found["best_of_n"][1]["gain"]["value"] > 0
    assert found["learned"]["points"] == []


# -- numbers by hand ---------------------------------------------------------------------------------------------------


def two_prompts():
    return {
        ("clean", 0): Asked("a", np.array([0.0, 1.0]), np.array([1.0, 3.0])),
        ("clean", 1): Asked("b", np.array([0.5, 1.0]), np.array([2.0, 1.0])),
    }


def test_points_and_best_of_n_by_hand():
    prompts = two_prompts()
    rows = [
        {
            "conversation": "a",
            "history": "clean",
            "prompt": 0,
            "reward": 1.0,
            "kl": 0.5,
            "tokens": 4,
            "finished": True,
        },
        {
            "conversation": "b",
            "history": "clean",
            "prompt": 1,
            "reward": 0.5,
            "kl": 0.1,
            "tokens": 6,
            "finished": False,
        },
    ]
    at = point(prompts, [{**r, "learned": 2.0} for r in rows], [])
    assert at["reward"]["value"] == 0.75
    assert at["gain"]["value"] == pytest.approx((0.5 - 0.25) / 2)
    assert at["win_rate"]["value"] == pytest.approx((0.75 + 0.25) / 2)  # ties half
    assert at["kl"]["value"] == pytest.approx(0.3)
    assert at["learned_gain"]["value"] == pytest.approx((0.0 + 0.5) / 2)
    assert at["unfinished"] == 0.5
    best = best_of(prompts, [1, 2])
    assert best[1]["reward"]["value"] == 1.0
    assert best[1]["by_learned"]["reward"]["value"] == pytest.approx((1.0 + 0.5) / 2)
    assert best[1]["by_learned"]["learned_gain"]["value"] == pytest.approx((1.0 + 0.5) / 2)
    assert best[0]["gain"]["value"] == pytest.approx(0.0)


def test_a_reward_models_accuracy_by_hand():
    pools = {
        "a": ([0.0, 1.0], [1.0, 3.0]),  # right
        "b": ([0.0, 0.5, 1.0], [0.0, 2.0, 1.0]),  # two of three right
        "c": ([0.0, 1.0], [2.0, 2.0]),  # a tie
        "d": ([0.5, 0.5], [2.0, 1.0]),  # nothing to be right about
    }
    prompts = {("clean", i): Asked(c, *map(np.array, of)) for i, (c, of) in enumerate(pools.items())}
    assert accuracy(prompts)["value"] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert accuracy(prompts)["n"] == 3


def test_the_ideal_is_left_out_where_the_pool_does_not_reach():
    rng = np.random.default_rng(0)
    prompts = {("clean", i): Asked(str(i), r := rng.random(64), r) for i in range(6)}
    curve = ideal(prompts, [0.01, 0.2, 1.0], least=8.0)
    assert [r["beta"] for r in curve] == [1.0, 0.2]  # by rising KL
    assert all(r["effective"] >= 8 for r in curve)
    assert curve[0]["kl"]["value"] < curve[1]["kl"]["value"]
    assert ideal(prompts, [0.2], 8.0, learned=True)[0]["learned_gain"]["value"] == pytest.approx(
        curve[1]["gain"]["value"]
    )
    assert of_ideal(0.1, -0.1, curve) is None


def test_a_budget_is_spent_alike_by_all_loops():
    budget = {"prompts": 24, "samples": 3, "updates": 6}
    assert spending("rloo", {}, budget) == {"iterations": 6, "prompts": 4, "samples": 3}
    rounds = spending("raft", {"rounds": 2, "train": {"learning_rate": 1e-4}}, budget)
    assert rounds == {
        "prompts": 12,
        "samples": 3,
        "train": {"batch_items": 4, "epochs": 1, "learning_rate": 1e-4},
    }
    with pytest.raises(HalignError, match="4 rounds"):
        spending("raft", {"rounds": 4}, budget)
    with pytest.raises(HalignError, match="divide"):
        spending("rloo", {}, {**budget, "prompts": 25})


def test_mistakes_are_told():
    good = {"objective": "dpo", "form": "pairs", "strength": "beta", "values": [0.1]}
    for change, words in (
        ({"lop": "rloo"}, "unknown key 'lop'"),
        ({"loop": "rloo"}, "either an objective or a loop"),
        ({"form": "pair"}, "none of pairs"),
        ({"values": []}, "to sweep"),
    ):
        with pytest.raises(HalignError, match=words):
            Method.of("m", {**good, **change})
    store = Store("nowhere")
    for changes, words in (
        ({"best_of": [1, 99]}, "best_of: 99"),
        ({"data": "x.jsonl"}, "world=null"),
        ({"test": {"validation_prompts": 50}}, "validation_prompts"),
        ({"over": {"updates": [4, 2]}}, "go up"),
        ({"sampling": {"top_p": 0.9}}, "top_p"),
    ):
        with pytest.raises(HalignError, match=words):
            Job(settings(**changes), store)


def test_every_point_of_the_yaml_resolves_and_the_sizes_fit():
    from halign.config import resolve as run_config
    from halign.loops import find
    from halign.loops.registry import resolve as loop_config

    for size in ("demo", "full", "tiny"):
        job = Job(resolve("frontier", size, {}), Store("nowhere"))
        for m in job.methods:
            for value in m.values:
                given = m.given(value, job.settings["budget"])
                if m.loop:
                    loop_config(find(m.loop), given)
                else:
                    run_config(m.objective, {**job.settings["training"], **given})
        names = [s.name for group in job.measured.values() for s in group.values()]
        assert len(names) == len(set(names))
