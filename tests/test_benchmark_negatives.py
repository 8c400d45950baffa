"""The benchmark of negatives: who learns what, that arms differ in nothing else, and its figures by hand."""

from __future__ import annotations

import random

import pytest
from benchmarks import negatives, negatives_data
from benchmarks.negatives import COMPARED, TINY, Negatives, only, versus
from benchmarks.negatives_data import ARMS, CHECKED, CONTEXT, RANDOM, RULES, STRATEGIES, WORLD, SmallWriter

from halign.builders import capo
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.evaluate import Reply
from halign.judges.rules import Grade
from halign.llm import Failure
from halign.readers import write_jsonl, write_rows
from halign.recipes.field import START, Trial
from halign.recipes.field_results import Row, Runs
from halign.recipes.run import resolve
from halign.recipes.stages import Store
from halign.sampling.protocol import Sample
from halign.sampling.settings import Settings
from halign.worlds import care

TALKS = list(care.conversations(60, split="train", seed=3))


class Numbered:
    """A sampler whose replies are numbered, behind a policy that nobody asks."""

    policy = object()

    def __init__(self):
        self.asked = []

    def sample(self, prompts, **settings):
        self.asked += prompts
        return [[Sample(f"made {len(self.asked)} {i}")] for i in range(len(prompts))]


def writer(others=()):
    found = SmallWriter(Numbered(), "fingerprint", "start")
    found.others = list(others)
    return found


def said(*words, system="Facts."):
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": w} for i, w in enumerate(words)]
    return Dialogue.of([{"role": "system", "content": system}, *turns], guardrails=("Be kind.",))


def texts(dialogue):
    return [m.content for m in dialogue.messages]


def test_a_small_writer_carries_out_what_it_is_told():
    own, other = said("a", "b", "c"), said("A", "B", "C", "D", system="Others.")
    small = writer([other])
    rng = random.Random(0)
    assert small.meant(own, rng) == own
    alone = said(f"c\n\n({capo.INVENT})")
    made = small.meant(alone, rng)
    assert texts(made) == ["Facts.", "A", "B", "c"]  # our facts, their turns up to a customer's, our query
    assert made.guardrails == ("Be kind.",)
    mistaken = said("a", "b", "x", "y", f"c\n\n({capo.MISTAKE})")
    seen = {tuple(texts(small.meant(mistaken, random.Random(i)))) for i in range(20)}
    assert seen == {("Facts.", "a"), ("Facts.", "a", "b", "x")}
    groups = small.write([own, alone], Settings(seed=1))
    assert not any(isinstance(g, Failure) for g in groups)
    assert [texts(p)[-1] for p in small.sampler.asked] == ["c", "c"]


def test_arms_of_context_differ_in_their_negatives_only(tmp_path, monkeypatch):
    """Queries whose reply gains little through its context are left out, as are those that lack one strategy's negative."""
    replies = {m.content for c in TALKS for m in c.dialogue.messages if m.role == "assistant"}
    unlucky = {"made 3"}

    def gains(policy, pairs):
        of = []
        for prompt, reply in pairs:
            own = reply.content == _next(prompt)
            of.append(
                1.0
                if own and len(prompt) % 4 == 2
                else 0.0
                if own
                else 2.0
                if any(reply.content.startswith(u) for u in unlucky)
                else 0.5
            )
        return of

    follow = {
        tuple(texts(c.dialogue[:i])): m.content
        for c in TALKS
        for i, m in enumerate(c.dialogue.messages)
        if m.role == "assistant"
    }

    def _next(prompt):
        return follow[tuple(texts(prompt))]

    monkeypatch.setattr(capo, "gains", gains)
    write_jsonl(TALKS[:12], tmp_path / "some.jsonl")
    arms = negatives_data.context_arms(tmp_path, writer(c.dialogue for c in TALKS), 20, seed=0)
    assert list(arms) == [*STRATEGIES, CONTEXT, RANDOM]
    keys = [[(r["conversation"], len(r["prompt"]), r["chosen"]) for r in rows] for rows in arms.values()]
    assert len(keys[0]) > 5
    assert all(k == keys[0] for k in keys)
    for arm, rows in arms.items():
        for row, *three in zip(rows, *(arms[s] for s in STRATEGIES), strict=True):
            assert len(row["prompt"]) % 4 == 2
            bad = row["rejected"][0]["content"]
            assert (bad in replies) == (arm == RANDOM)
            if arm == CONTEXT:
                assert bad in {r["rejected"][0]["content"] for r in three}
    assert len({r["strategy"] for r in arms[CONTEXT]}) > 1


def test_arms_of_rules(tmp_path):
    write_jsonl(TALKS, tmp_path / "all.jsonl")
    arms = negatives_data.rule_arms(tmp_path, TALKS, "care", seed=0)
    ids = {s: g.id for g in care.GUARDRAILS.values() for s in g.sentences}
    broken = {ids[r["rule"]] for r in arms[RULES]}
    assert broken
    assert {r["violates"] for r in arms[CHECKED]} <= broken < {r["violates"] for r in arms[WORLD]}
    alternatives = sum(len(a) for c in TALKS for a in c.alternatives.values())
    assert len(arms[WORLD]) == alternatives
    good = {
        (c.conversation, t): c.dialogue.messages[t].content for c in TALKS for t in range(len(c.dialogue))
    }
    for rows in arms.values():
        assert all(r["chosen"][0]["content"] == good[r["conversation"], len(r["prompt"])] for r in rows)
        assert rows != sorted(rows, key=lambda r: r["conversation"])  # in random order


def test_what_the_worse_replies_are_worth(tmp_path):
    """A reply with a broken rule, and one that is as good in other words: half keep the rules, half are worse."""
    talk = next(c for c in TALKS if c.alternatives)
    turn, (worse, *_) = min(talk.alternatives.items())
    prompt, good = talk.dialogue[:turn], talk.dialogue.messages[turn].content
    other = next(r for seed in range(20) if (r := care.good_reply(prompt, seed)) != good)
    about = {
        "conversation": talk.conversation,
        "prompt": [m.to_dict() for m in prompt.messages],
        "guardrails": list(prompt.guardrails),
        "meta": dict(prompt.meta),
        "chosen": good,
    }
    write_rows(
        [{**about, "rejected": bad} for bad in (worse.message.content, other)], tmp_path / "pairs.jsonl"
    )
    found = negatives_data.facts("care", tmp_path / "pairs.jsonl")
    kept = care.assess(prompt, worse.message.content).adherence
    share = sum(kept.values()) / len(kept)
    assert found == {
        "pairs": 2,
        "conversations": 1,
        "reward": pytest.approx((1 + (share + 2) / 3) / 2),
        "adherence": 0.5,
        "naturalness": 1.0,
        "hallucination": 1.0,
        "all right": 0.5,
        "worse": 0.5,
    }


@pytest.fixture
def job(tmp_path):
    return Negatives(resolve("field", "tiny", {**TINY, "seeds": [0, 1]}), "ipo", 1e-4, 20, Store(tmp_path))


def test_arms_are_trained_alike_on_files_of_their_own(job, tmp_path, monkeypatch):
    arms = [m for m in job.methods if m.name != START]
    assert [m.name for m in arms] == list(ARMS)
    assert {(m.objective, m.form, m.learning_rate) for m in arms} == {("ipo", "own_pairs", 1e-4)}
    job.trials = [Trial(m, 1e-4, reward=0.5, chosen=True) for m in arms]
    finals = [job.final(m, 0) for m in arms]
    assert len({s.key for s in finals}) == len(arms)
    without = [{k: v for k, v in s.settings.items() if k != "arm"} for s in finals]
    assert all(w == without[0] for w in without)
    assert without[0]["settings"]["learning_rate"] == 1e-4
    taken = {}
    monkeypatch.setattr(negatives_data.field_steps, "measure", lambda output, **given: taken.update(given))
    settings = {**finals[0].settings, "inputs": {"responses": tmp_path, "data": tmp_path}}
    negatives_data.measure(tmp_path, progress=None, threads=1, **settings)
    assert taken["inputs"] == {"responses": tmp_path / ARMS[0], "data": tmp_path}
    assert "arm" not in taken
    assert {a for pair in COMPARED for a in pair} == set(ARMS)


def test_too_few_pairs_are_said_so(tmp_path, monkeypatch, policy_folder):
    for part in ("train", "validation"):
        write_jsonl(TALKS[:4], tmp_path / f"{part}.jsonl")
    monkeypatch.setattr(negatives_data, "context_arms", lambda *_: {"neglect": [{}] * 3})
    monkeypatch.setattr(negatives_data, "rule_arms", lambda *_: {})
    (tmp_path / "source").write_text(str(policy_folder))
    with pytest.raises(HalignError, match="neglect: 3 pairs, 4 wanted"):
        negatives_data.responses(
            tmp_path / "out",
            inputs={"model": tmp_path, "data": tmp_path},
            progress=lambda *_: None,
            threads=1,
            world="care",
            world_version="",
            skip=0,
            context_conversations=2,
            pairs=4,
            max_new_tokens=8,
            drift_conversations=1,
            seed=0,
        )


def reply(conversation, kept):
    fine = {"adherence": kept == 1.0, "naturalness": True, "hallucination": True}
    return Reply(conversation, "x", Grade(fine, active={"a": kept >= 0.5, "b": kept == 1.0}))


def runs(*by_seed, seeds=(0, 1)):
    names = ("c", "d", "e")
    replies = [[reply(n, k) for n, k in zip(names, of, strict=True)] for of in by_seed]
    return Runs({"mixed": replies}, [], list(seeds), [], {})


def test_differences_by_hand():
    """Two arms, two prompts kept of three; seed 1 of the control diverged, so that only seed 0 is compared."""
    kept = {"mixed": [True, False, True]}
    ours = only(runs((1.0, 1.0, 0.5), (0.0, 0.0, 0.0)), kept)
    theirs = only(runs((0.5, 0.0, 0.5), seeds=(0,)), kept)
    assert [r.conversation for r in theirs.replies["mixed"][0]] == ["c", "e"]
    rows = [Row(n, r.replies) for n, r in (("ours", ours), ("theirs", theirs))]
    found = versus(rows[0], ours, rows[1], theirs)
    assert found["adherence"]["value"] == 0.5  # 1 - 0 for c, 0 - 0 for e
    assert found["reward"]["value"] == pytest.approx((1 - 2.5 / 3) / 2)
    # two clusters, one of them 0, so the standard error is the mean itself; t(1) = 12.706
    assert found["adherence"]["high"] == 1.0  # .5 + 12.7062 * .5, but shares differ by 1 at most
    assert found["reward"]["high"] == pytest.approx((1 - 2.5 / 3) / 2 * (1 + 12.7062), abs=1e-3)
    assert found["adherence"]["clusters"] == 2
    swapped = Row("swapped", {"mixed": [of[::-1] for of in theirs.replies["mixed"]]})
    with pytest.raises(ValueError, match="same prompts"):
        versus(rows[0], ours, swapped, theirs)


def test_the_table_shows_every_arm_and_who_diverged(job):
    some = {n: runs((1.0, 0.5, 0.0), (1.0, 1.0, 0.5)) for n in (START, *ARMS)}
    some["neglect"] = Runs({"mixed": []}, [], [], ["seed 0: loss"], {})
    for r in some.values():
        r.drift.extend([[{"conversation": c, "chosen": 0.0, "rejected": 0.0} for c in "cd"]] * len(r.seeds))
        for of in r.replies["mixed"]:
            of[:] = [Reply(x.conversation, x.text, x.grade, 3, True, 0.0) for x in of]
    measured = negatives.measured(some, [])
    about = dict.fromkeys(("reward", "adherence", "naturalness", "hallucination", "all right", "worse"), 0.5)
    found = {"pairs": {"neglect": {"pairs": 3, **about}}, **dict.fromkeys(negatives.SUBSETS, measured)}
    shown = negatives.tables(found)
    assert [t.row_count for t in shown] == [1, len(ARMS) + 1, len(COMPARED), len(ARMS) + 1, len(COMPARED)]
    assert "diverged" in list(shown[1].columns[-1].cells)
    by_arm = {(row["arm"], row["control"]): row for row in measured["compared"]}
    assert by_arm[RULES, WORLD]["reward"]["value"] == 0.0
    assert "reward" not in by_arm["neglect", RANDOM]
