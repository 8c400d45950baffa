"""Settings: what is unknown, wrong or without effect is said; what was resolved reads back as the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from halign.config import parse_objective, resolve
from halign.errors import HalignError
from halign.objectives.registry import find, names
from halign.setting_words import parse_overrides, read_yaml
from halign.train_settings import TrainSettings


@pytest.mark.parametrize(
    ("objective", "settings", "says"),
    [
        ("dpo", {"learning_rat": 1}, "unknown setting 'learning_rat'; did you mean 'learning_rate'?"),
        ("dpo", {"bta": 0.1}, "did you mean 'beta'?"),
        ("dpo", {"xyzzy": 0.1}, "see halign train --help"),
        (
            "dpo",
            {"dpo": {"label_smothing": 0.1}},
            "dpo has no setting 'label_smothing'; did you mean 'label_smoothing'?",
        ),
        ("sft", {"beta": 0.1}, "unknown setting 'beta'"),
        ("dpo", {"dpo": 3}, "a mapping of dpo's settings was expected"),
        ("dop", {}, "did you mean 'dpo'?"),
        ("dpo", {"learning_rate": -1}, r"learning_rate: .*greater than 0 .*\(got -1\)"),
        ("dpo", {"epochs": "many"}, "epochs: .*number"),
        ("dpo", {"batch_items": 2.5}, "batch_items"),
        ("dpo", {"schedule": "step"}, "schedule: .*'constant', 'linear' or 'cosine'"),
        ("dpo", {"beta": "x"}, "dpo.beta: .*valid number .got 'x', the default is 0.1"),
        ("dpo", {"beta": True}, "dpo.beta: .*valid number .got True"),
        ("dpo", {"beta": 0}, "dpo.beta: .*greater than 0"),
        ("ipo", {"beta": float("nan")}, "ipo.beta: .*finite number"),
        ("ipo", {"average": 1}, "ipo.average: .*valid boolean"),
        ("dpo", {"label_smoothing": 0.5}, "dpo.label_smoothing: .*less than 0.5"),
        ("dpo", {"divergence": "kl"}, "dpo.divergence: .*'reverse_kl', 'forward_kl', 'js' or 'alpha'"),
        ("dpo", {"divergence": "alpha", "alpha": 1}, "dpo.alpha: .*less than 1"),
        ("exo", {"label_smoothing": 0}, "exo.label_smoothing: .*greater than 0"),
        ("discopop", {"temperature": 1.5}, "discopop.temperature: .*less than or equal to 1"),
        ("dpo+ipo", {"beta": 0.2}, "dpo and ipo both have it; write dpo.beta="),
        ("dpo+x*sft", {}, "'x' is no weight"),
        ("dpo+0.5*dpo", {}, "dpo stands there twice"),
        ("dpo+0*sft", {}, "its weight is 0.0; a positive number"),
        ({"dpo": float("inf")}, {}, "its weight is inf"),
        ("sft", {"past_masking": [0.2, 0.1]}, "past_masking: .*expected .least, most."),
        ("sft", {"past_masking": [0, 1]}, "past_masking: .*expected .least, most."),
        ("hindsight", {"orders": "both"}, "did you mean 'order'?"),
        ("hindsight", {"order": "worst"}, "hindsight.order: .*'both', 'worst_first' or 'best_first'"),
        ("steerlm", {"ask": {"helpfulness": "much"}}, "steerlm.ask: .*valid number"),
        ("dpo+0.2*hindsight", {}, "hindsight rewrites the data, so it cannot share a mixture"),
        ("conditional+sft", {}, "conditional rewrites the data"),
    ],
)
def test_mistakes_are_named(objective: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(HalignError, match=says):
        resolve(objective, settings)


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        ("dpo", {"lora_alpha": 3}),
        ("dpo", {"lora_dropout": 0.1}),
        ("dpo", {"lora_targets": ["q_proj"]}),
        ("dpo", {"embedding_learning_rate": 1e-3}),
        ("dpo", {"adam_beta2": 0.9, "optimizer": "sgd"}),
        ("dpo", {"roles": ["user"]}),
        ("dpo", {"dropout": True}),
        ("dpo", {"alpha": 0.2}),
        ("dpo", {"alpha": 0.2, "divergence": "js"}),
        ("dpo+sft", {"dropout": True}),
        ("sft", {"reference": "frozen"}),
        ("preferred_ft", {"reference": "cached"}),
        ("sft", {"pairs": "all"}),
        ("dpo", {"balance": True}),
        ("dpo", {"threshold": 0.5}),
        ("kto", {"stop_below": 3.0}),
        ("sft", {"stop_drift": 3.0}),
        ("dpo", {"past_masking": [0.0, 0.1]}),
        ("dpo+sft", {"past_masking": [0.0, 0.1]}),
        ("hindsight", {"roles": ["user"]}),
        ("hindsight", {"response_prefix": "So: "}),
        ("conditional", {"threshold": 0.5}),
        ("dpo", {"modules_to_save": ["lm_head"]}),
        ("dpo", {"modules_to_save": ["lm_head"], "adapter": "prompt"}),
        ("dpo", {"lora_rank": 3, "adapter": "prefix"}),
        ("dpo", {"lora_dropout": 0.1, "adapter": "prompt"}),
        ("dpo", {"virtual_tokens": 3}),
        ("dpo", {"virtual_tokens": 3, "adapter": "dora", "lora_rank": 2}),
        ("dpo", {"adalora_target_rank": 3, "lora_rank": 4}),
    ],
)
def test_a_setting_that_would_do_nothing_is_an_error(objective: str, settings: dict[str, Any]) -> None:
    with pytest.raises(HalignError, match=f"{next(iter(settings))} would have no effect"):
        resolve(objective, settings)


def test_settings_that_have_an_effect_are_taken() -> None:
    resolve("dpo", {"lora_rank": 4, "lora_alpha": 3, "lora_dropout": 0.1, "lora_targets": ["q_proj"]})
    resolve("dpo", {"divergence": "alpha", "alpha": 0.2})
    resolve("sft", {"roles": ["user"], "dropout": True, "past_masking": [0, 0.1], "response_prefix": "So: "})
    assert resolve("sft", {"roles": "user"}).train.roles == ("user",)
    steered = resolve(
        "steerlm", parse_overrides(["ask.helpfulness=4", "attributes=[helpfulness, verbosity]"])
    )
    assert steered.objective_settings["steerlm"]["ask"] == {"helpfulness": 4.0}
    resolve("dpo+sft", {"roles": ["user"], "reference": "frozen", "stop_below": 1.0})
    resolve("kto", {"balance": True, "threshold": 0.5, "stop_drift": 2.0, "pairs": "all"})
    resolve("dpo", {"optimizer": "muon", "embedding_learning_rate": 1e-3, "adam_beta2": 0.95})
    for adapter in ("lora", "rslora", "dora", "adalora"):
        resolve(
            "dpo",
            {"adapter": adapter, "lora_rank": 4, "modules_to_save": ["lm_head"], "reference": "adapter"},
        )
    resolve("dpo", {"adapter": "adalora", "lora_rank": 4, "adalora_target_rank": 2})
    resolve("dpo", {"adapter": "prompt", "virtual_tokens": 4, "gradient_checkpointing": True})
    with pytest.raises(HalignError, match="reference=adapter needs lora_rank"):
        resolve("dpo", {"reference": "adapter"})
    with pytest.raises(HalignError, match="give either it or them"):
        resolve("kto", {"balance": True, "desirable_weight": 2.0})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"adapter": "lora"}, "adapter=lora needs lora_rank"),
        ({"adapter": "adalora", "lora_rank": 1}, "adalora_target_rank=1 has to be below lora_rank=1"),
        ({"adapter": "adalora", "lora_rank": 4, "adalora_target_rank": 4}, "has to be below lora_rank=4"),
        ({"adapter": "adalora", "lora_rank": 4, "optimizer": "muon"}, "optimizer=muon.*use adamw"),
        ({"adapter": "prefix", "gradient_checkpointing": True}, "gradient_checkpointing.*use adapter=prompt"),
        ({"adapter": "ia3"}, "adapter: .*'lora', 'rslora'"),
    ],
)
def test_adapter_settings_that_do_not_go_together(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(HalignError, match=says):
        resolve("dpo", settings)


def test_learning_rates_that_nobody_gave() -> None:
    found = {
        (objective, rank): resolve(objective, {"lora_rank": rank}).train.learning_rate
        for objective in ("sft", "dpo", "dpo+sft")
        for rank in (0, 4)
    }
    assert found[("sft", 0)] == 2e-5
    assert found[("dpo", 0)] == found[("dpo+sft", 0)] == 1e-6
    assert all(found[(o, 4)] == pytest.approx(10 * found[(o, 0)]) for o in ("sft", "dpo"))
    assert resolve("dpo", {"adapter": "prompt"}).train.learning_rate == pytest.approx(1e-3)
    assert resolve("dpo", {"learning_rate": 3e-4}).train.learning_rate == 3e-4


def test_mixtures() -> None:
    assert parse_objective("dpo+0.2*sft") == {"dpo": 1.0, "sft": 0.2}
    assert parse_objective(" 2*ipo + 1e-1 * sft ") == {"ipo": 2.0, "sft": 0.1}
    assert parse_objective({"kto": 1}) == {"kto": 1.0}
    config = resolve("dpo+0.5*ipo", {"dpo": {"beta": 1}, "ipo": {"beta": 0.3}, "average": True})
    assert config.objective_settings == {
        "dpo": {"beta": 1.0, "label_smoothing": 0.0, "divergence": "reverse_kl", "alpha": 0.5},
        "ipo": {"beta": 0.3, "average": True},
    }
    assert [(o.name, w) for o, w in config.objectives] == [("dpo", 1.0), ("ipo", 0.5)]


def test_words_of_the_command_line() -> None:
    words = [
        "learning_rate=1e-4",
        "epochs=2",
        "clip=null",
        "tensorboard=false",
        "roles=[user, assistant]",
        "dpo.beta=.3",
    ]
    found = parse_overrides([*words, "dpo.label_smoothing=1E-1", "lora_targets=[q_proj]", "max_steps=1e3"])
    assert found == {
        "learning_rate": 1e-4,
        "epochs": 2,
        "clip": None,
        "tensorboard": False,
        "roles": ["user", "assistant"],
        "dpo": {"beta": 0.3, "label_smoothing": 0.1},
        "lora_targets": ["q_proj"],
        "max_steps": 1000.0,
    }
    assert (
        resolve("dpo", {k: v for k, v in found.items() if k not in ("roles", "lora_targets")}).train.max_steps
        == 1000
    )
    assert parse_overrides(["my.own:loss.beta=2"]) == {"my.own:loss": {"beta": 2}}
    with pytest.raises(HalignError, match="key=value"):
        parse_overrides(["beta"])
    with pytest.raises(HalignError, match="dpo has a value already"):
        parse_overrides(["dpo=1", "dpo.beta=2"])


def test_yaml_floats_and_texts(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-4 for a text; what is quoted stays one."""
    file = tmp_path / "run.yaml"
    file.write_text(
        "learning_rate: 1e-4\nlora_alpha: 2E3\nclip: .5e-1\ndpo:\n  beta: 5e-1\n"
        "template_args: {date: '2024-05-01', year: '2024', deep: {small: -1e-3}}\nmodel: 7e\n"
    )
    found = read_yaml(file)
    assert (found["learning_rate"], found["lora_alpha"], found["clip"]) == (1e-4, 2000.0, 0.05)
    assert found["dpo"] == {"beta": 0.5}
    assert found["template_args"] == {"date": "2024-05-01", "year": "2024", "deep": {"small": -1e-3}}
    assert found["model"] == "7e"
    for text, says in (("- 1", "a mapping"), ("a: [", "run.yaml"), ("", "a mapping")):
        file.write_text(text)
        with pytest.raises(HalignError, match=says):
            read_yaml(file)
    with pytest.raises(HalignError, match=r"missing\.yaml"):
        read_yaml(tmp_path / "missing.yaml")


CHANGED: dict[str, Any] = {
    "learning_rate": 3e-7,
    "schedule": "cosine",
    "warmup": 12,
    "epochs": 2.5,
    "max_steps": 7,
    "clip": None,
    "lora_rank": 4,
    "lora_dropout": 0.05,
    "lora_targets": ["q_proj", "v_proj"],
    "accept": ["same_responses"],
    "template_args": {"enable_thinking": False, "year": "2024"},
    "stop_drift": 1e-3,
}


@pytest.mark.parametrize("objective", [*names(), "dpo+0.2*sft"])
@pytest.mark.parametrize("given", [{}, CHANGED])
def test_the_resolved_yaml_reads_back_as_the_same_run(
    objective: str, given: dict[str, Any], tmp_path: Path
) -> None:
    """Every default is spelled out there, also those that this objective has no use for."""
    if not any(find(name).needs_reference for name in parse_objective(objective)):
        given = {k: v for k, v in given.items() if k != "stop_drift"}
    config = resolve(objective, given)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    again = read_yaml(file)
    assert resolve(again.pop("objective"), again) == config


def test_an_outsiders_objective_reads_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "its_loss.py").write_text(
        "from halign.objectives import Pairs\ndef f(p: Pairs, *, beta: float = 2.0):\n    return beta * p.chosen_logps\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = resolve("its_loss:f+dpo", parse_overrides(["its_loss:f.beta=3", "dpo.beta=1"]))
    assert config.objective_settings["its_loss:f"] == {"beta": 3.0}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    again = read_yaml(file)
    assert resolve(again.pop("objective"), again) == config


def test_every_setting_is_described() -> None:
    for name, field in TrainSettings.model_fields.items():
        assert field.description, name
