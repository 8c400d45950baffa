"""Reward models from folders and the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from halign import processor
from halign.errors import HalignError
from halign.model_folder import not_loaded, see_model
from halign.models import DTYPES, RENDERING, Policy, load
from halign.rewards.facts import Facts
from halign.rewards.model import RewardModel
from halign.scoring import unwrap


def is_reward_model(source: str | Path) -> bool:
    """True for a folder of a reward model: one of ours, or any sequence-classification folder; a run folder's ``model`` too.

    Raises:
        HalignError: the folder's config.json cannot be read.
    """
    path = _model_folder(source)
    if Facts.read(path) is not None:
        return True
    if not (path / "config.json").exists():
        return False
    try:
        names = json.loads((path / "config.json").read_text()).get("architectures") or [""]
    except (ValueError, AttributeError) as error:
        raise HalignError(
            f"{path / 'config.json'} is damaged ({error}): fetch or save the model again"
        ) from error
    return str(names[0]).endswith("ForSequenceClassification")


def _model_folder(source: str | Path) -> Path:
    inside = Path(source) / "model"
    return (
        inside if any((inside / n).exists() for n in ("config.json", "adapter_config.json")) else Path(source)
    )


def load_reward(
    source: str | Path,
    *,
    weights: Mapping[str, float] | None = None,
    dtype: str = "fp32",
    device: str | torch.device | None = None,
    trust_remote_code: bool = False,
) -> RewardModel:
    """Load a reward model from a run folder, a sequence-classification folder, or the Hugging Face hub.

    Args:
        source: folder or hub name; one that halign did not train gives a reward if it has one output, else attributes.
        weights: of an attribute model, attribute -> its share in ``rewards``.
        dtype: precision of the weights, ``fp32`` or ``bf16``.
        device: None leaves it on the CPU.
        trust_remote_code: run Python code that comes with the model. Off unless asked for.

    Raises:
        HalignError: if there is no such model, it has no head that gives rewards, or a weight names no attribute.
    """
    from transformers import AutoTokenizer

    processor.prepare()
    if dtype not in DTYPES:
        raise HalignError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    path = _model_folder(source)
    name = str(path) if path.exists() else str(source)
    see_model(path)
    facts = Facts.read(path)
    try:
        if (path / "adapter_config.json").exists():
            model = _with_adapters(path, facts or Facts(), dtype, trust_remote_code)
        else:
            model = _classifier(name, dtype, trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise not_loaded("reward model", name, error) from error
    config: Any = unwrap(model).config
    if facts is not None:
        config.pad_token_id = tokenizer.pad_token_id  # adapters leave their base's in its place
    if facts is None:
        outputs = [config.id2label[i] for i in range(config.num_labels)]
        facts = Facts() if len(outputs) == 1 else Facts("attributes", tuple(outputs))
    if device is not None:
        nn.Module.to(model, device)
    written = path / RENDERING
    rendering = json.loads(written.read_text()) if written.exists() else {}
    reward = RewardModel(model, tokenizer, name, rendering, facts, dict(weights or {}))
    if reward.weights:
        _ = reward.attribute_weights  # a name that is wrong shows now
    return reward


def _classifier(name: str, dtype: str, trust_remote_code: bool, **more: Any) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    model, info = AutoModelForSequenceClassification.from_pretrained(
        name,
        dtype=DTYPES[dtype],
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
        **more,
    )
    if info["missing_keys"] and not more:
        raise HalignError(
            f"{name} is no reward model: it lacks {', '.join(sorted(info['missing_keys'])[:3])} "
            f"(halign train reward --model {name} makes one)"
        )
    if not isinstance(getattr(model, "score", None), nn.Module):
        raise HalignError(f"{name}: {type(model).__name__} has no causal trunk with a head called score")
    return model


def _with_adapters(path: Path, facts: Facts, dtype: str, trust_remote_code: bool) -> nn.Module:
    """Adapters on their base; the base's head is new, and at once replaced by the trained one."""
    from peft import PeftConfig, PeftModel

    base_name = PeftConfig.from_pretrained(str(path)).base_model_name_or_path
    if not base_name:
        raise HalignError(f"{path}: the adapters do not say what they belong to (base_model_name_or_path)")
    labels = facts.labels
    base = _classifier(
        base_name, dtype, trust_remote_code, num_labels=len(labels), id2label=dict(enumerate(labels))
    )
    return PeftModel.from_pretrained(base, str(path), is_trainable=True)


def load_any(source: str | Path, **options: Any) -> Policy:
    """A language model, or a reward model where the folder holds one. Options are ``halign.load``'s."""
    if not is_reward_model(source):
        return load(source, **options)
    if options.pop("quantize", None):
        raise HalignError("quantize would have no effect: a reward model is loaded as it is")
    return load_reward(source, **options)
