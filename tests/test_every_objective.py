"""Every objective through the whole loop: the same gradient however a step is cut, and clear words for data that will not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from halign.config import resolve
from halign.errors import HalignError
from halign.objectives import find, names
from halign.prepare import prepare
from halign.readers import read
from halign.training import Interrupted, train
from tests.conftest import TEXTS, conversation_rows
from tests.test_training import SETTINGS, assert_same, moved, step_gradients, trainer_for
from tests.test_training_edges import shaken

SIZES = (2, 3, 5, 16)
"""Responses of the rankings."""


def ranking_rows(scored: bool = True) -> list[dict[str, Any]]:
    """Rankings of 2 to 16 responses, one with ties, two of one conversation; with all that an objective may need."""
    rows = []
    for number, count in enumerate(SIZES):
        responses = []
        for k in range(count):
            tied = number == 2 and k in (1, 2)
            verdict = {"score": 1 - (1 if tied else k) / count} if scored else {"rank": 2 if tied else k + 1}
            logps = {f"{n}_logp": -1.0 - 0.3 * k - 0.1 * i for i, n in enumerate(("prior", "attribute"))}
            said = f"{TEXTS[(number + k) % len(TEXTS)][: 20 + 3 * k]} {k}."
            responses.append({"content": said, **verdict, **logps})
        asked = [{"role": "user", "content": TEXTS[number]}]
        if number == 3:  # goes on where the third one began
            asked = [*rows[2]["prompt"], {"role": "assistant", "content": "Yes."}, *asked]
        rows.append({"id": f"c{min(number, 2)}", "prompt": asked, "responses": responses})
    return rows


def pair_rows() -> list[dict[str, Any]]:
    """Pairs of several conversations with soft preferences and win rates."""
    rows = []
    for row in conversation_rows(4):
        messages = row["messages"]
        for turn in (1, 3):
            alternative = messages[turn]["alternatives"][0]["content"]
            rows.append(
                {
                    "id": row["id"],
                    "prompt": [{k: v for k, v in m.items() if k != "alternatives"} for m in messages[:turn]],
                    "chosen": [{"role": "assistant", "content": messages[turn]["content"]}],
                    "rejected": [{"role": "assistant", "content": alternative}],
                    "preference": 0.6 + 0.1 * (turn - 1),
                    "chosen_win_rate": 0.7,
                    "rejected_win_rate": 0.2,
                }
            )
    return rows


def rated_rows() -> list[dict[str, Any]]:
    """Rankings whose responses have attributes, some of them unknown."""
    rows = ranking_rows()
    for row in rows:
        for k, response in enumerate(row["responses"]):
            response["attributes"] = {"helpfulness": k % 5} | ({"verbosity": (k + 2) % 5} if k % 3 else {})
    return rows


def rows_for(name: str) -> list[dict[str, Any]]:
    kind = find(name).kind
    if find(name).reads_values and kind == "singles":
        return rated_rows()
    if find(name).text:  # made of text: rankings with words of feedback
        rows = ranking_rows()
        for row in rows:
            for response in row["responses"]:
                response["feedback"] = f"That is worth {response['score']:.1f}."
        return rows
    return ranking_rows() if kind == "lists" else pair_rows() if kind == "pairs" else conversation_rows(4)


CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {"accept": ["too_long"]} if name == "hindsight" else {}) for name in names()),
    ("slic", {"regulariser": "kl", "delta": 0.1}),
    ("ipo", {"average": True}),
    ("aot", {"paired": False}),
    ("dpo", {"divergence": "js"}),
    ("pro", {"temperature": "none"}),
    ("kto", {"balance": True}),
    ("reward", {"score_margin": 0.5, "centring": 0.01, "link": "kahneman_tversky"}),
    ("attributes", {"head": "categorical"}),
]


@pytest.mark.parametrize(("name", "more"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_one_step_is_the_same_however_it_is_cut(
    name: str, more: dict[str, Any], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one pack, in a pack for each item, in packs between, side by side, and along separate paths."""
    found = []
    between = {"max_tokens": 200}
    lanes = (
        {} if more.get("regulariser") == "kl" else {"lanes": 2}
    )  # whole distributions are compared in turn
    for settings in (
        {},
        {"max_tokens": 1},
        between,
        {**between, **lanes},
        {"separate": True, "max_tokens": 300},
    ):
        cut = {"max_tokens": 100_000, "batch_items": 100, **more, **settings}
        trainer = shaken(trainer_for(moved(tokenizer), name, tmp_path, rows_for(name), **cut))
        packs = len(trainer.plan.step(0).packs[0])
        gradients, row = step_gradients(trainer, monkeypatch)
        found.append((packs, gradients, row["loss"]))
    assert found[0][0] == 1
    assert found[1][0] > 2
    assert any(g.abs().max() > 0 for g in found[0][1].values())
    for _, gradients, loss in found[1:]:
        assert loss == pytest.approx(found[0][2], rel=1e-4)
        assert_same(gradients, found[0][1])


@pytest.mark.parametrize("name", ["dpo_pro", "pro", "rrhf", "sppo", "steerlm2", "slic"])
def test_it_learns_and_logs(name: str, tokenizer: Any, tmp_path: Path) -> None:
    """A few steps raise what is best (SteerLM 2: lower its KL), and what an objective monitors is in the log."""
    more: dict[str, Any] = {"sppo": {"beta": 0.05}, "steerlm2": {}, "slic": {"regulariser": "kl"}}.get(
        name, {}
    )
    rows = rows_for(name)
    settings = {**SETTINGS, "batch_items": 100, "epochs": 6, "learning_rate": 3e-3, **more}
    if name == "sppo":
        rows = [{**r, "rejected_win_rate": 0.3} for r in rows]
    run = train(moved(tokenizer), read(rows), name, output=tmp_path / "run", quiet=True, **settings)
    first, last = run.metrics[0], run.metrics[-1]
    if name == "steerlm2":
        assert last["steerlm2_kl"] < first["steerlm2_kl"]
    elif name in ("sppo", "slic"):
        assert last["accuracy"] > 0.7
    else:
        assert last["best_logps"] > first["best_logps"]
        assert last["loss"] < first["loss"]
    if name == "sppo":
        assert first["sppo_unreachable"] == 0.0


def test_slic_with_kl_stays_nearer_to_the_reference(tokenizer: Any, tmp_path: Path) -> None:
    """The full-vocabulary regulariser at work: with a large weight the target's distribution hardly moves."""
    moved_by = {}
    for weight in (0.0, 100.0):
        run = train(
            moved(tokenizer),
            read(pair_rows()),
            "slic",
            output=tmp_path / f"w{weight}",
            quiet=True,
            regulariser="kl",
            kl_weight=weight,
            **{**SETTINGS, "batch_items": 100, "epochs": 16, "learning_rate": 5e-4},
        )
        moved_by[weight] = abs(run.last["chosen_logps"] - run.metrics[0]["chosen_logps"])
    assert moved_by[100.0] < 0.3 * moved_by[0.0]


@pytest.mark.parametrize(
    ("name", "rows", "settings", "says"),
    [
        ("pro", ranking_rows(scored=False), {}, "pro needs rewards, and 4 of 4 items.*score.*dpo_pro"),
        ("sppo", conversation_rows(2), {}, "sppo needs chosen_win_rate.*give pairs chosen_win_rate"),
        ("steerlm2", [{**r, "responses": [{k: v for k, v in a.items() if "logp" not in k} for a in r["responses"]]}
                      for r in ranking_rows()], {}, "steerlm2 needs prior_logps.*prior_logp"),
        ("dpo", ranking_rows(), {}, "say pairs=best_rest"),
        ("kto", ranking_rows(), {}, "say pairs=best_rest.*threshold"),
        ("dpo_pro", [{"messages": [*conversation_rows(1)[0]["messages"][:1], {"role": "assistant", "content": "A"}]}], {},
         "is a demonstration and compares nothing"),
        ("pro", [*ranking_rows()[:2], *ranking_rows(scored=False)[2:]], {"temperature": "none"},
         "2 of 4 rankings have rewards and the others have none"),
        ("slic", pair_rows(), {"regulariser": "kl", "reference": "cached"}, "say reference=frozen"),
        ("slic", pair_rows(), {"kl_weight": 0.5}, "slic.kl_weight would have no effect: it needs regulariser=kl"),
        ("slic", pair_rows(), {"reference": "frozen"}, "reference would have no effect"),
    ],
)  # fmt: skip
def test_data_that_will_not_do_is_refused_before_the_first_step(
    name: str, rows: Any, settings: dict[str, Any], says: str, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(HalignError, match=says):
        train(moved(tokenizer), read(rows), name, output=tmp_path / "run", quiet=True, **settings)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "evaluation", "says"),
    [
        ("sppo", conversation_rows(2, seed=9), "sppo needs chosen_win_rate"),
        ("pro", ranking_rows(scored=False), "4 of 8 rankings have rewards"),
        ("sppo_all", [{**r, "responses": [{**a, "score": 9.0 - i} for i, a in enumerate(r["responses"])]}
                      for r in ranking_rows()], r"sppo_all wants rewards in \[0, 1\]"),
    ],
)  # fmt: skip
def test_held_out_data_is_looked_at_before_the_first_step_too(
    name: str, evaluation: Any, says: str, tokenizer: Any, tmp_path: Path
) -> None:
    for row in evaluation:
        row["id"] = f"held-{row['id']}"
    given = {"output": tmp_path / "run", "evaluation": read(evaluation), "quiet": True}
    with pytest.raises(HalignError, match=says):
        train(moved(tokenizer), read(rows_for(name)), name, **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [None, "-1.0", float("nan"), True])
def test_log_probabilities_that_responses_bring_along_are_numbers(value: Any, tokenizer: Any) -> None:
    rows = ranking_rows()
    rows[1]["responses"][1]["prior_logp"] = value
    with pytest.raises(HalignError, match=r"'c1': prior_logp is .*finite number of nats"):
        prepare(moved(tokenizer), read(rows), None, resolve("steerlm2", {}))


def test_a_run_that_stops_before_training_leaves_the_policy_as_it_was(tokenizer: Any, tmp_path: Path) -> None:
    policy = moved(tokenizer)
    rows = [{**r, "id": "one conversation"} for r in conversation_rows(2)]
    given = {"output": tmp_path / "run", "quiet": True, "evaluation": read(rows)}
    with pytest.raises(HalignError, match="preflight: 1 conversations are in both"):
        train(policy, read(rows), "conditional", **given)
    assert not policy.rendering.get("response_prefix")


@pytest.mark.parametrize("name", ["dpo_pro", "dpo"])
def test_limits_stop_runs_on_lists_and_pairs(name: str, tokenizer: Any, tmp_path: Path) -> None:
    settings = {**SETTINGS, "batch_items": 100, "epochs": 60, "learning_rate": 3e-2, "stop_drift": 3.0}
    with pytest.raises(Interrupted, match="stop_drift"):
        train(moved(tokenizer), read(rows_for(name)), name, output=tmp_path / "run", quiet=True, **settings)


def test_a_limit_that_nothing_would_measure_is_refused() -> None:
    for name in ("simpo", "slic", "kto"):
        with pytest.raises(HalignError, match="stop_below would have no effect"):
            resolve(name, {"stop_below": 1.0})
    resolve("dpo_pro", {"stop_below": 1.0, "stop_drift": 2.0})


def test_the_settings_of_a_balanced_run_read_back(tokenizer: Any, tmp_path: Path) -> None:
    config = resolve("kto", {"balance": True, "beta": 0.2}).to_dict()
    assert resolve(config.pop("objective"), config).objective_settings["kto"]["beta"] == 0.2


def test_a_list_of_sixteen_scores_as_its_paths_do_alone(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        moved(tokenizer), "dpo_pro", tmp_path, ranking_rows(), batch_items=100, max_tokens=100_000
    )
    pack = trainer.plan.pack(range(4))[0]
    scored = next(trainer.stepper.scored(trainer.plan, [pack], [trainer.batch(trainer.plan, pack)]))
    with torch.no_grad():
        for response, slot in enumerate(pack.slots):
            path = trainer.plan.path(slot)
            ids = torch.tensor(path.ids)[None].long()
            logps = trainer.policy.model(ids).logits[0].log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
            wanted = float(logps[len(path.prompt) - 1 :].sum())
            assert float(scored.scores.logps[response]) == pytest.approx(wanted, abs=2e-4)
    assert sorted(len(trainer.plan.items[i].paths) for i in pack.items) == list(SIZES)
