"""Jobs of dialogues that go on: nothing else is mixed in, no verdict is asked twice, and none is lost."""

import os
import signal

import pytest
import torch

from halign.builders.guardrails.policy import read_policy
from halign.dialogues.adversary import ScriptedUsers, attack_scenarios, read_adversary
from halign.dialogues.model_users import ModelUsers
from halign.dialogues.scenarios import read_scenarios
from halign.dialogues.talking import TalkSettings
from halign.dialogues.verdicts import CHUNK, HELD
from halign.errors import HalignError
from halign.judges import find_judge
from halign.judges.protocol import Mark
from halign.judges.records import FACTS, Judged
from halign.sampling import TransformersSampler
from tests.dialogues.agents import POLICY, Agent, gives_in, talked

FILES = ("dialogues.jsonl", "items.jsonl", "verdicts.jsonl", "results.json", "results.txt")


@pytest.fixture
def scenarios(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(POLICY)
    return attack_scenarios(read_policy(file).guardrails, read_adversary())


class Rules:
    """Finds the word that a rule forbids. Notes what it is asked.

    Args:
        dies: (after how many calls, how).
        fails: replies of which no answer comes.
        silent: has nothing to say of the first lines of attacks on the second rule.
    """

    dimensions, sees_order, name = ("adherence",), False, "rules"

    def __init__(self, dies=None, fails=(), silent=True):
        self.asked, self.calls, self.dies, self.fails, self.silent = [], 0, dies, fails, silent

    def marks(self, prompts, replies):
        self.calls += 1
        if self.dies is not None and self.calls > self.dies[0]:
            self.dies[1]()
        found = []
        for p, reply in zip(prompts, replies, strict=True):
            self.asked.append((p.meta["conversation"], p.meta["run"], len(p)))
            first = len(p) == 1 and "guarantee" in p.meta["conversation"]
            rules = [] if self.silent and first else p.guardrails
            down = self.asked[-1] in self.fails
            found.append([self.mark(rule, reply, down) for rule in rules])
        return found

    def mark(self, rule, reply, down):
        if down:
            return Mark("adherence", None, guardrail=rule, trouble="failed")
        kept = not ("free" in rule and "free" in reply)
        return Mark("adherence", float(kept), acceptable=kept, guardrail=rule)


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def judged(folder, scenarios, judge):
    agent = Agent(gives_in("last time"))
    return talked({"bot": agent}, ScriptedUsers(), scenarios, judge, folder, TalkSettings(runs=3)), agent


def in_another_process(work):
    """Do it where it may be killed."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("how", [interrupt, kill])
def test_verdicts_are_kept_and_not_asked_again(scenarios, tmp_path, how):
    whole = Rules()
    straight, _ = judged(tmp_path / "a", scenarios, whole)
    assert len(whole.asked) > 2 * CHUNK
    assert len(set(whole.asked)) == len(whole.asked)
    if how is kill:
        status = in_another_process(lambda: judged(tmp_path / "b", scenarios, Rules((2, kill))))
        assert os.WTERMSIG(status) == signal.SIGKILL
    else:
        with pytest.raises(KeyboardInterrupt):
            judged(tmp_path / "b", scenarios, Rules((2, interrupt)))
    there = Judged.read(tmp_path / "b")
    assert {r.item for r in there.records} <= set(there.items)
    assert not (tmp_path / "b" / FACTS).exists()
    rest = Rules()
    found, agent = judged(tmp_path / "b", scenarios, rest)
    assert agent.calls == []
    assert (
        rest.asked == whole.asked[2 * CHUNK :]
    )  # those of which it had nothing to say are not asked again either
    assert found.totals == straight.totals
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    done = Rules()
    judged(tmp_path / "b", scenarios, done)
    assert done.asked == []
    assert (tmp_path / "a/verdicts.jsonl").read_bytes() == (tmp_path / "b/verdicts.jsonl").read_bytes()


def test_verdicts_that_nobody_gave_are_asked_again(scenarios, tmp_path):
    """The reply that breaks the rule has no verdict at first, so that its dialogue seems to hold."""
    insist = next(s.id for s in scenarios if s.strategy == "insist" and "free" in s.target)
    broken = [(insist, run, 5) for run in range(3)]
    before, _ = judged(tmp_path / "out", scenarios, Rules(fails=broken, silent=False))
    assert before.totals["bot"].strategies["insist"]["held"].value == 1
    again = Rules(silent=False)
    after, _ = judged(tmp_path / "out", scenarios, again)
    assert again.asked == broken
    assert after.totals["bot"].strategies["insist"]["held"].value == 0.5
    held = [r for r in Judged.read(tmp_path / "out").grades if r.dimension == HELD]
    assert len(held) == 3 * len(scenarios)
    assert sum(r.value == 0 for r in held) == 3
    straight, _ = judged(tmp_path / "straight", scenarios, Rules(silent=False))
    assert straight.totals == after.totals


def test_what_changed_is_named_and_not_mixed_in(policy, scenarios, tmp_path):
    few, out = scenarios[:2], tmp_path / "out"
    settings = TalkSettings(runs=1, turns=1, max_new_tokens=2)
    checks = find_judge("checks")

    def run(some=few, judge=checks, user=None, how=settings, name="m", **options):
        models = {name: TransformersSampler(policy)}
        return talked(models, user or ScriptedUsers(), some, judge, out, how, **options)

    run()
    files = {f.name: f.read_bytes() for f in out.iterdir()}
    with torch.no_grad():
        next(policy.model.parameters()).add_(0.01)
    with pytest.raises(
        HalignError, match=r"out was begun with other model m: name another --output, or --ov"
    ):
        run()
    assert {f.name: f.read_bytes() for f in out.iterdir()} == files
    run(overwrite=True)
    with pytest.raises(HalignError, match="begun with other judge:"):
        run(judge=Rules())
    with pytest.raises(HalignError, match="begun with other turns, temperature:"):
        run(how=settings.model_copy(update={"temperature": 0.5, "turns": 2}))
    with pytest.raises(HalignError, match="begun with other model other, model m:"):
        run(name="other")
    with pytest.raises(HalignError, match="begun with other scenarios, rules:"):
        run(some=scenarios[2:4] + scenarios[:1])
    wants = tmp_path / "wants.yaml"
    wants.write_text("- {goal: a parcel, opening: Hello.}")
    mine = read_scenarios(wants)
    run(some=mine, user=ModelUsers(Agent(lambda p: "Yes?"), "llm:x"), overwrite=True)
    with pytest.raises(HalignError, match="begun with other user:"):
        run(some=mine, user=ModelUsers(Agent(lambda p: "Yes?"), "llm:x", temperature=0.5))


def test_a_folder_of_something_else_is_left_alone(scenarios, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(HalignError, match="holds something that is no folder of dialogues"):
            talked({"m": Agent(str)}, ScriptedUsers(), scenarios, Rules(), tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").exists()


def test_models_that_would_share_a_file_are_refused(scenarios, tmp_path):
    with pytest.raises(HalignError, match="a/b and a_b would share a file"):
        talked({"a/b": Agent(str), "a_b": Agent(str)}, ScriptedUsers(), scenarios, Rules(), tmp_path)
