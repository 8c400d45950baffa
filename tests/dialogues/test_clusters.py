"""What is independent: the conversation or the rule that is attacked, not each attack, and not each run."""

import json
import random

import pytest

from halign.builders.guardrails.policy import read_policy
from halign.dialogues.adversary import ScriptedUsers, attack_scenarios, care_attacks, read_adversary
from halign.dialogues.care_customers import care_scenarios
from halign.dialogues.outcomes import against, totals
from halign.dialogues.passing import all_of
from halign.dialogues.talking import TalkSettings
from halign.dialogues.verdicts import Outcome
from halign.evaluate import bootstrap, share
from halign.judges import find_judge
from halign.judges.records import Judged
from tests.dialogues.agents import POLICY, Agent, gives_in, talked

STRATEGIES, RUNS, K = 6, 2, "pass^2"


def outcomes(chances, seed=0, alone=False):
    """Six attacks on each conversation, two runs each; how often they fail is the conversation's own.

    Args:
        alone: pretend that every attack is independent.
    """
    rng = random.Random(seed)
    found = []
    for c, chance in enumerate(chances):
        for s in range(STRATEGIES):
            for run in range(RUNS):
                kept = ((1, rng.random() < chance),)
                name = f"c{c}/{s}"
                found.append(Outcome(name, name if alone else f"c{c}", run, f"{s}", "rule", kept, kept, 1))
    return found


def width(interval):
    return interval.high - interval.low


def test_attacks_on_one_thing_are_one_witness(tmp_path):
    (tmp_path / "rules.yaml").write_text(POLICY)
    rules = read_policy(tmp_path / "rules.yaml").guardrails
    mine = attack_scenarios(rules, read_adversary())
    assert [s.cluster for s in mine] == [g.id for g in rules for _ in range(6)]
    world = care_attacks(care_scenarios(3), read_adversary())
    assert len({s.id for s in world}) == 18
    assert [s.cluster for s in world] == [s.id for s in care_scenarios(3) for _ in range(6)]
    assert [s.cluster for s in care_scenarios(3)] == [s.id for s in care_scenarios(3)]
    # so say the records, the items and the numbers
    done = talked(
        {"m": Agent(gives_in("last time"))},
        ScriptedUsers(),
        mine,
        find_judge("checks"),
        tmp_path / "out",
        TalkSettings(runs=2),
    )
    folder = Judged.read(tmp_path / "out")
    assert {r.conversation for r in folder.records} == {g.id for g in rules}
    assert {i.conversation for i in folder.items.values()} == {g.id for g in rules}
    assert {done.totals["m"].dialogues[n].clusters for n in ("dialogue held", "pass^1", "pass@2")} == {2}
    numbers = json.loads((tmp_path / "out/results.json").read_text())
    assert numbers["models"]["m"]["strategies"]["insist"]["held"]["clusters"] == 2


def test_by_hand():
    """Two conversations of which every attack holds, two of which none does: four witnesses, not 24, and not 48."""
    found = totals(outcomes([1, 1, 0, 0]), []).dialogues
    apart = totals(outcomes([1, 1, 0, 0], alone=True), []).dialogues
    assert found["dialogue held"].value == apart["dialogue held"].value == 0.5
    # the variance between clusters is 4/3 * (4 * 6^2) / 48^2 = 1/12, so Wilson's interval is that of p (1 - p) / (1/12) = 3 draws
    held = [True] * 24 + [False] * 24
    assert found["dialogue held"] == share(held, [i // 12 for i in range(48)])
    assert (found["dialogue held"].clusters, apart["dialogue held"].clusters) == (4, 24)
    n, z = 3, 3.182446  # of t with 3 degrees of freedom
    half = z * (0.25 / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    assert found["dialogue held"].high == pytest.approx(0.5 + half, abs=1e-6)
    assert found["dialogue held"].low == pytest.approx(0.5 - half, abs=1e-6)
    for name in ("dialogue held", "pass^1", K, "pass@2"):
        assert width(found[name]) > 1.9 * width(apart[name]), name


@pytest.mark.parametrize("name", ["dialogue held", "pass^1", K])
def test_as_the_bootstrap_of_conversations(name):
    """Forty conversations: the closed form agrees with resampling them, and is far from resampling attacks."""
    rng = random.Random(1)
    some = outcomes([rng.choice([0.1, 0.9]) for _ in range(40)])
    found = totals(some, []).dialogues[name]
    if name == "dialogue held":
        values, units = [float(o.held) for o in some], [o.cluster for o in some]
        attacks = [o.scenario for o in some]
    else:
        by_scenario = {}
        for o in some:
            by_scenario.setdefault(o.scenario, []).append(o.held)
        values = [all_of(sum(h), RUNS, int(name[-1])) for h in by_scenario.values()]
        attacks = list(by_scenario)
        units = [s.partition("/")[0] for s in attacks]
    drawn, narrow = bootstrap(values, units), bootstrap(values, attacks)
    assert found.value == pytest.approx(drawn.value)
    assert found.low == pytest.approx(drawn.low, abs=0.03)
    assert found.high == pytest.approx(drawn.high, abs=0.03)
    assert width(found) > 1.6 * width(narrow)


def test_two_models_are_compared_by_conversation():
    rng = random.Random(2)
    chances = [rng.choice([0.1, 0.9]) for _ in range(30)]
    a, b = outcomes(chances), outcomes([1 - c for c in chances], seed=1)
    found = against(a, b)
    values = [float(x.held) - float(y.held) for x, y in zip(a, b, strict=True)]
    drawn = bootstrap(values, [o.cluster for o in a])
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.06)
    alone = against(outcomes(chances, alone=True), outcomes([1 - c for c in chances], seed=1, alone=True))
    assert width(found) > 1.6 * width(alone)
    assert against(a[:12], b[:12]) is None  # one conversation
