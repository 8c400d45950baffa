"""Tables of models, whole: every recipe at toy size, their rewards and rankings by hand, and a user's own model and data."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from markupsafe import escape
from typer.testing import CliRunner

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.evaluate import Reply
from halign.evaluate.intervals import mean
from halign.examples import Demonstration
from halign.judges.rules import Grade
from halign.likelihood import make_renderer
from halign.models import Policy
from halign.readers import read, read_prompts, write_jsonl
from halign.recipes import sampled, shots
from halign.recipes.run import execute, names, plan, resolve
from halign.recipes.sampled import JudgedReward, ranked
from halign.recipes.steps import model_folder, read_rows
from halign.recipes.table import build
from halign.rewards.rules import care_rules
from halign.sampling import Sample
from tests.conftest import make_llama, make_tokenizer

TABLES = [n for n in names() if n not in ("field", "flow1", "frontier", "guardrails")]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The cache that all recipes of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cached(kept, monkeypatch):
    """The shared cache, in force."""
    monkeypatch.setenv("HALIGN_CACHE", str(kept))


@pytest.fixture(scope="module")
def finished(kept, tmp_path_factory):
    """name -> (settings, the finished recipe), each made once in this process, all from one cache."""
    made = {}

    def make(name):
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HALIGN_CACHE", str(kept))
                settings = resolve(name, "tiny", {})
                output = tmp_path_factory.mktemp(name)
                made[name] = settings, execute(name, settings, output, size="tiny", workers=0)
        return made[name]

    return make


@pytest.mark.parametrize("name", TABLES)
def test_from_nothing_to_a_report(finished, cached, name, tmp_path):
    settings, done = finished(name)
    graph = build(settings)
    found = json.loads((done.folder / "results.json").read_text())
    assert list(found["models"]) == list(graph.answers)
    page = done.report.read_text()
    assert str(escape(settings["title"])) in page
    for a, b in settings["comparisons"]:
        assert f"{a} against {b}" in page
    for model, of in found["models"].items():
        assert of["all"]["adherence"]["n"] == 6
        rewards = found["rewards"][model]
        replies = [Reply.of(r) for r in read_rows(done.folder / "replies" / model / "mixed.jsonl")]
        by_hand = mean([r.grade.worth for r in replies], [r.conversation for r in replies])
        assert rewards["true reward"] == by_hand.to_dict()
        assert (rewards["gain"] == {}) == (model == settings["reference"])
        assert rewards["kl"]["n"] == 4
    assert found["rewards"][settings["reference"]]["kl"]["value"] == 0.0
    for arm in graph.arms.values():
        if arm.way != "prompt" and arm.round is None:
            assert (done.folder / "runs" / arm.name / "model" / "config.json").exists()
    assert execute(name, settings, tmp_path / "again", size="tiny", workers=0).outcome.made == []
    assert {state for _, state in plan(name, settings)} == {"there already"}


def test_learned_rewards_are_the_reward_models(finished):
    from halign.rewards.find import find_reward

    _, done = finished("instructgpt")
    folders = done.outcome.folders
    prompts = read_prompts(folders["data"] / "prompts-test-mixed.jsonl")
    texts = [r["text"] for r in read_rows(folders["answers-PPO"] / "mixed.jsonl")]
    expected = find_reward(model_folder(folders["RM"])).score(prompts, texts)
    told = json.loads((folders["rewards-RM"] / "PPO.json").read_text())["mixed"]
    assert told == pytest.approx(expected, abs=1e-5)
    found = json.loads((done.folder / "results.json").read_text())["rewards"]["PPO"]
    assert found["reward by RM"]["value"] == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    card = json.loads((done.folder / "runs" / "RM" / "reward.json").read_text())
    assert card["accuracy"]["n"] > 0  # on rankings of validation conversations


def test_rankings_are_the_judges(finished):
    from halign.worlds import care

    _, done = finished("instructgpt")
    data, folder = done.outcome.folders["data"], done.outcome.folders["samples-rankings"]
    for part in ("train", "validation"):
        known = {c.conversation: c for c in read(data / f"{part}.jsonl")}
        allowed = list(known)[4:] if part == "train" else list(known)  # four conversations were imitated
        rows = read_rows(folder / f"{part}.jsonl")
        assert rows
        for row in rows:
            assert row["conversation"] in allowed
            dialogue = known[row["conversation"]].dialogue
            prompt, own = dialogue[: len(row["prompt"])], dialogue.messages[len(row["prompt"])].content
            said = {r["content"]: r["score"] for r in row["responses"]}
            assert own in said
            assert list(said.values()) == sorted(said.values(), reverse=True)
            assert list(said.values()) == pytest.approx(care_rules().score([prompt] * len(said), list(said)))
            assert (said[own] == 1.0) == care.assess(prompt, own).ok


def test_rankings_by_hand():
    class Sampler:
        def sample(self, prompts, *, n, **_):
            said = ["aa", "bbb", "aa", "c"]
            return [[Sample(t, finished=t != "c") for t in said[:n]] for _ in prompts]

    class Long:
        def score(self, prompts, replies):
            return [float(len(r)) for r in replies]

    def turns(reply):
        return Dialogue((Message("user", "Q"), Message("assistant", reply)))

    examples = [Demonstration(turns("own reply"), "one"), Demonstration(turns("aa"), "two")]
    rows = ranked(examples, Sampler(), Long(), 4, True, {})
    assert [[(r["content"], r["score"]) for r in row["responses"]] for row in rows] == [
        [("own reply", 9.0), ("bbb", 3.0), ("aa", 2.0)],  # said twice counts once; unfinished not at all
        [("bbb", 3.0), ("aa", 2.0)],  # the data's own reply was drawn, too
    ]
    assert [r["conversation"] for r in rows] == ["one", "two"]
    without = ranked(examples, Sampler(), Long(), 1, False, {})
    assert without == []  # one reply each: nothing to rank


def test_a_judges_reward_is_the_mean_of_its_dimensions():
    class Judge:
        def grade(self, prompts, replies):
            half = {"adherence": False, "naturalness": True, "hallucination": False}
            return [
                Grade(half, active={"greet": True, "sign": False}),
                Grade({"polite": True, "short": False}),
            ]

    assert JudgedReward(Judge()).score([], []) == pytest.approx([(0.5 + 1 + 0) / 3, 0.5])


@pytest.fixture
def policy():
    tokenizer = make_tokenizer()
    return Policy(make_llama(tokenizer), tokenizer, "memory")


def conversations(count):
    """Demonstrations of two turns with a rule and a system message each."""
    return [
        Demonstration(
            Dialogue(
                (
                    Message("system", f"Shop {n}."),
                    Message("user", f"My order {n}?"),
                    Message("assistant", "Your parcel leaves tomorrow."),
                    Message("user", "Thank you."),
                    Message("assistant", "You are welcome." if n % 2 else "No."),
                ),
                guardrails=(f"Rule {n}.",),
            ),
            f"c{n}",
        )
        for n in range(count)
    ]


def test_examples_stand_before_the_conversation_with_their_rules_and_replies(policy, tmp_path):
    write_jsonl(conversations(6), tmp_path / "train.jsonl")
    asked = [e.dialogue[:4] for e in conversations(9)[7:]]
    sampling = {"seed": 3, "max_new_tokens": 20}
    shown = shots.put_before(policy, asked, tmp_path, 2, sampling)
    for prompt, given in zip(asked, shown, strict=True):
        roles = [m.role for m in given.messages]
        starts = [i for i, r in enumerate(roles) if r == "system"]
        assert len(starts) == 3
        assert [m.content for m in given.messages[starts[2] + 1 :]] == [
            m.content for m in prompt.messages[1:]
        ]
        for start, end in zip(starts, [*starts[1:], len(roles)], strict=True):
            number = given.messages[start].content.split(".")[0].removeprefix("Shop ")
            assert f"- Rule {number}." in given.messages[start].content
            assert roles[end - 1] == ("assistant" if end < len(roles) else "user")
    assert shots.put_before(policy, asked, tmp_path, 2, sampling) == shown
    assert shots.put_before(policy, asked, tmp_path, 2, {**sampling, "seed": 4}) != shown
    with pytest.raises(HalignError, match="the training data has 12 replies"):
        shots.put_before(policy, asked, tmp_path, 20, sampling)
    lengths = [len(make_renderer(policy).prompt(p)) for p in shown]
    policy.model.config.max_position_embeddings = max(lengths) + 19
    fitting = shots.put_before(policy, asked, tmp_path, 2, sampling)
    counts = [sum(m.role == "system" for m in p.messages) for p in fitting]
    assert counts == [
        2 if n == max(lengths) else 3 for n in lengths
    ]  # one example less where a reply would not fit


def test_where_a_template_refuses_system_messages_they_open_the_first_user_message(policy, tmp_path):
    later = "{% if m.role == 'system' and not loop.first %}{{ raise_exception('first only') }}{% endif %}"
    refuse = f"{{% for m in messages %}}{later}{{% endfor %}}"
    policy.tokenizer.chat_template = refuse + policy.tokenizer.chat_template
    write_jsonl(conversations(4), tmp_path / "train.jsonl")
    (given,) = shots.put_before(
        policy, [conversations(1)[0].dialogue[:2]], tmp_path, 1, {"max_new_tokens": 9}
    )
    assert {m.role for m in given.messages} == {"user", "assistant"}
    assert given.messages[-1].content.endswith("- Rule 0.\n\nMy order 0?")


def test_the_distance_of_a_few_shot_prompt_is_measured_from_the_bare_one(policy, tmp_path):
    from halign.evaluate import log_ratios
    from halign.likelihood import logps

    write_jsonl(conversations(6), tmp_path / "train.jsonl")
    asked = [conversations(9)[8].dialogue[:2]]
    shown = shots.put_before(policy, asked, tmp_path, 1, {"max_new_tokens": 9})
    reply = policy.tokenizer("No.<|im_end|>")["input_ids"]
    (found,) = log_ratios(policy, policy, shown, [reply], reference_prompts=asked)
    by_hand = logps(policy, [(shown[0], reply)]) - logps(policy, [(asked[0], reply)])
    assert found == pytest.approx(float(by_hand))
    assert abs(found) > 1e-3


def rate(prompts, replies):
    """A user's own reward: short replies."""
    return [1 / (1 + len(r)) for r in replies]


@pytest.fixture
def own(policy, tmp_path):
    """A user's model and file."""
    policy.save(tmp_path / "model")
    write_jsonl(conversations(14), tmp_path / "data.jsonl")
    return tmp_path


def assess(prompt, reply):
    """A user's own judge."""
    fine = len(reply) % 2 == 0
    return SimpleNamespace(adherence={"even": fine}, inactive={}, natural=True, hallucination=not reply)


def settings_of_ones_own(folder, **more):
    small = {"conversations": 6, "validation_conversations": 3, "samples": {"rankings": {"skip": 2}}}
    arms = {"SFT": {"conversations": 2}, "PPO": {"skip": 2}, "PPO-ptx": None, "PPO (true)": None}
    own = {"model": str(folder / "model"), "data": str(folder / "data.jsonl"), "world": None}
    return resolve("instructgpt", "tiny", {**small, "arms": arms, **own, **more})


def test_own_model_data_and_reward_without_a_judge(own, cached):
    """Nobody grades: there are rewards and distances, and no shares of good replies."""
    settings = settings_of_ones_own(own, reward=f"{__name__}:rate", rewards=["reward", "RM"])
    done = execute("instructgpt", settings, own / "out", workers=0)
    found = json.loads((own / "out" / "results.json").read_text())
    assert found["models"] == {}
    assert set(found["rewards"]) == {"base", "SFT", "PPO"}
    replies = read_rows(own / "out" / "replies" / "PPO" / "given.jsonl")
    expected = sum(rate(None, [r["text"] for r in replies])) / len(replies)
    assert found["rewards"]["PPO"]["reward"]["value"] == pytest.approx(expected)
    assert "Rewards, and the distance paid for them" in done.report.read_text()


def test_own_model_data_and_judge(own, cached):
    settings = settings_of_ones_own(own, judge=f"{__name__}:assess")
    execute("instructgpt", settings, own / "out", workers=0)
    found = json.loads((own / "out" / "results.json").read_text())
    assert "given" in found["models"]["PPO"]
    assert found["rewards"]["PPO"]["true reward"]["n"] > 0


def test_a_loop_that_was_interrupted_goes_on(finished, tmp_path):
    """The stage of a loop's arm hands its unfinished run folder over again; what is finished is not begun anew."""
    settings, done = finished("instructgpt")
    stage = build(settings).models["PPO"]
    inputs = {n: done.outcome.folders[s.name] for n, s in stage.inputs.items()}
    assert stage.resumable
    sampled.loop(tmp_path, inputs=inputs, progress=lambda *_: None, threads=1, **stage.settings)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    sampled.loop(tmp_path, inputs=inputs, progress=lambda *_: None, threads=1, **stage.settings)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
    again = [json.loads(line) for line in before.splitlines()]
    first = read_rows(done.outcome.folders["PPO"] / "run" / "metrics.jsonl")
    assert [r["reward"] for r in again] == pytest.approx([r["reward"] for r in first])


def test_the_command_line_shows_recipes_and_loops(cached):
    from halign.cli.main import app

    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for name in (*names(), "ppo", "rloo", "grpo", "reinforce"):
        assert f" {name} " in shown.output
    listed = CliRunner().invoke(app, ["run", "grpo", "--help"], env={"COLUMNS": "200"})
    assert "where the divergence goes" in listed.output
    assert "eval_share" in listed.output
    yaml = CliRunner().invoke(app, ["run", "instructgpt", "--help"])
    assert "feedback_conversations: 0" in yaml.output
    assert "arms: {PPO: {iterations: 400}" in yaml.output
    for words, message in (
        (["grpa"], "no recipe or loop 'grpa'; did you mean 'grpo'"),
        (["flow1", "--loop"], "no loop 'flow1'"),
        (["grpo", "data=x"], "grpo needs model="),
        (["grpo", "model=x", "data=y", "bete=1"], "grpo has no setting 'bete'; did you mean 'beta'"),
        ([], "say what to run"),
    ):
        refused = CliRunner().invoke(app, ["run", *words])
        assert message in str(refused.exception), words


def test_a_loop_on_the_command_line(own, cached):
    """Own model, data and reward; held-out prompts before and after; a second call does nothing."""
    from halign.cli.main import app

    words = [f"model={own / 'model'}", f"data={own / 'data.jsonl'}", f"reward={__name__}:rate"]
    words += ["iterations=2", "prompts=2", "samples=2", "max_new_tokens=6", "eval_share=0.2"]
    words += ["tensorboard=false", "--output", str(own / "run"), "--quiet"]
    done = CliRunner().invoke(app, ["run", "grpo", *words], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output + str(done.exception)
    rows = read_rows(own / "run" / "metrics.jsonl")
    evaluations = [r for r in rows if r["split"] == "eval"]
    assert [r["step"] for r in evaluations] == [0, 2]
    assert f"{evaluations[0]['reward']:.4g}" in done.output
    assert "before" in done.output
    config = (own / "run" / "config.yaml").read_text()
    assert f"reward: {__name__}:rate" in config
    again = CliRunner().invoke(app, ["run", "grpo", *words])
    assert "nothing to do" in again.output
    held = evaluations[0]["replies"]
    assert held == 6  # two prompts of each of three conversations


def test_a_share_is_held_out_by_conversation():
    from halign.cli.loop import divided

    examples = [e for e in conversations(10) for _ in range(2)]
    learnt, held = divided(examples, 0.3)
    assert ({e.conversation for e in held}, len(held)) == ({"c7", "c8", "c9"}, 6)
    assert len(learnt) == 14
    assert divided(examples, 0.0) == (examples, [])
    for share, message in ((1.0, r"not in \[0, 1\)"), (0.95, "leave none to learn from")):
        with pytest.raises(HalignError, match=message):
            divided(examples, share)
