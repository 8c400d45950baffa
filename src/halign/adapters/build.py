"""Fresh adapters for a model, and what adapters a model has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from halign.errors import HalignError
from halign.scoring import value_head
from halign.train_settings import VIRTUAL, TrainSettings


def add_adapters(model: nn.Module, settings: TrainSettings) -> nn.Module:
    """Wrap a model with fresh adapters. Those of low rank start at zero, so the policy still equals the model; virtual tokens
    start as tokens drawn from the vocabulary, which it already answers to.

    Raises:
        HalignError: if the model lacks a module that the settings name, or cannot take adapters of this kind.
    """
    from peft import get_peft_model

    kind = settings.adapter_kind
    if kind is None:
        raise ValueError("the settings ask for no adapters")
    for name in settings.modules_to_save or ():
        if not _named(name, [path for path, _ in model.named_modules()]):
            raise HalignError(f"modules_to_save: the model has no module {name!r}; it has {_ends(model)}")
    try:
        wrapped: Any = get_peft_model(model, _CONFIGS[kind](model, settings))
    except (ValueError, TypeError) as error:
        says = str(error).replace("target_modules", "lora_targets")
        if "lora_targets" not in says and "arget modules" not in says:
            raise HalignError(f"adapter={kind} does not fit {type(model).__name__}: {says}") from error
        raise HalignError(f"lora_targets: {says}") from error
    if kind == "dora":
        _check_directions(wrapped)
    if kind == "prefix":
        _start_as_words(wrapped)
    return wrapped


def has_adapters(model: nn.Module) -> bool:
    """True for a model wrapped by peft."""
    return hasattr(model, "peft_config")


def kind_of(model: Any) -> str | None:
    """The ``adapter`` setting that makes a model's active adapters; peft's own name for those that no setting makes; None
    without adapters."""
    if not has_adapters(model):
        return None
    config = model.active_peft_config
    kind = str(config.peft_type.value).lower()
    if kind == "lora":
        return "dora" if config.use_dora else "rslora" if config.use_rslora else "lora"
    return {"prompt_tuning": "prompt", "prefix_tuning": "prefix"}.get(kind, kind)


def check_adapters(model: Any, settings: TrainSettings) -> None:
    """Adapters that are there already go on being trained: settings for new ones would have no effect.

    Raises:
        HalignError: if the settings ask for others.
    """
    there, kind = model.active_peft_config, kind_of(model)
    size = getattr(there, "num_virtual_tokens", None) or getattr(there, "init_r", getattr(there, "r", None))
    in_full = [path for path, module in model.named_modules() if hasattr(module, "original_module")]
    fits = {
        "adapter": settings.adapter == kind,
        "lora_rank": settings.lora_rank == size,
        "virtual_tokens": settings.virtual_tokens == size,
        "modules_to_save": all(_named(name, in_full) for name in settings.modules_to_save or ()),
        "adalora_target_rank": False,  # ranks have been moved already
    }
    for name, fine in fits.items():
        asked = getattr(settings, name)
        if asked and not fine:
            have, merge = (
                f"adapters of rank {size}",
                " (halign merge makes a plain model of them, to start new ones)",
            )
            if kind in VIRTUAL:
                have, merge = f"{size} virtual tokens", ""
            raise HalignError(
                f"{name}={asked} would have no effect: the model has {have} ({kind}), which go on being trained{merge}"
            )
    if kind != settings.adapter_kind:
        raise HalignError(
            f"lora_rank={settings.lora_rank} would have no effect: the model has adapters of kind {kind}, which go on being "
            f"trained (say adapter={kind})"
        )


def _low_rank(model: nn.Module, settings: TrainSettings) -> dict[str, Any]:
    return {
        "lora_alpha": settings.lora_alpha or 2 * settings.lora_rank,
        "lora_dropout": settings.lora_dropout or 0.0,
        "target_modules": list(settings.lora_targets) if settings.lora_targets else "all-linear",
        "modules_to_save": list(settings.modules_to_save) if settings.modules_to_save else None,
        "ensure_weight_tying": _keeps_tie(model, settings),
        # peft trains the head of a reward model in full
        "task_type": "CAUSAL_LM" if value_head(model) is None else "SEQ_CLS",
    }


def _lora(model: nn.Module, settings: TrainSettings) -> Any:
    from peft import LoraConfig

    kind = settings.adapter_kind
    return LoraConfig(
        r=settings.lora_rank,
        use_rslora=kind == "rslora",
        use_dora=kind == "dora",
        **_low_rank(model, settings),
    )


def _adalora(model: nn.Module, settings: TrainSettings) -> Any:
    from peft import AdaLoraConfig

    # how many steps there are is known later, see Allocation
    target = settings.adalora_target_rank or max(1, settings.lora_rank * 2 // 3)
    return AdaLoraConfig(
        init_r=settings.lora_rank, target_r=target, total_step=1, **_low_rank(model, settings)
    )


def _prompt(model: nn.Module, settings: TrainSettings) -> Any:
    from peft import PromptTuningConfig, PromptTuningInit

    return PromptTuningConfig(
        num_virtual_tokens=settings.virtual_count,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
        task_type="CAUSAL_LM",
    )


def _prefix(model: nn.Module, settings: TrainSettings) -> Any:
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(num_virtual_tokens=settings.virtual_count, task_type="CAUSAL_LM")


_CONFIGS: dict[str, Callable[[nn.Module, TrainSettings], Any]] = {
    "lora": _lora,
    "rslora": _lora,
    "dora": _lora,
    "adalora": _adalora,
    "prompt": _prompt,
    "prefix": _prefix,
}


def _check_directions(model: nn.Module) -> None:
    """DoRA divides each row of a weight by its norm, so a row of zeros would turn every log-probability into NaN."""
    for path, module in model.named_modules():
        for magnitude in getattr(module, "lora_magnitude_vector", {}).values():
            if (dead := int((magnitude.weight == 0).sum())) > 0:
                raise HalignError(
                    f"adapter=dora divides each row of a weight by its norm, and {dead} rows of {path} are zero; take "
                    "adapter=rslora, or leave such modules out of lora_targets=[...]"
                )


def _keeps_tie(model: Any, settings: TrainSettings) -> bool:
    """Embeddings and head that are one matrix stay one when either is trained in full; LoRA on one of them would have to train
    two copies of the same numbers, so there the tie is given up (by training, and so by merging)."""
    if not (settings.modules_to_save and getattr(model.config, "tie_word_embeddings", False)):
        return False
    tied = (model.get_input_embeddings(), model.get_output_embeddings())
    ends = {path.rpartition(".")[2] for path, module in model.named_modules() if module in tied}
    return bool(ends & set(settings.modules_to_save)) and not ends & set(settings.lora_targets or ())


@torch.no_grad()
def _start_as_words(model: Any) -> None:
    """Let the prefix begin as the keys and values of tokens drawn from the vocabulary: random ones, far from what attention
    knows, learn slowly. Where the model keeps its keys and values in another shape, they stay random."""
    config, inner = model.active_peft_config, model.get_base_model()
    weight = model.prompt_encoder[model.active_adapter].embedding.weight
    ids = torch.randint(0, inner.config.vocab_size, (1, config.num_virtual_tokens), device=weight.device)
    was_training = inner.training
    inner.eval()
    cache = getattr(inner(input_ids=ids, use_cache=True), "past_key_values", None)
    inner.train(was_training)
    if cache is None or not hasattr(cache, "layers"):
        raise HalignError(
            f"adapter=prefix: {type(inner).__name__} keeps no keys and values to put before a text; adapter=lora"
        )
    states = [s for layer in cache.layers for s in (layer.keys, layer.values)]  # each [1, heads, tokens, dim]
    words = torch.stack([s[0].transpose(0, 1) for s in states], 1).flatten(1) if _alike(states) else weight
    if words.shape == weight.shape:
        weight.copy_(words)


def _alike(states: list[Any]) -> bool:
    return bool(states) and all(isinstance(s, torch.Tensor) and s.shape == states[0].shape for s in states)


def _named(name: str, paths: Iterable[str]) -> bool:
    """Does a name mean any of these modules, as peft reads it (the end of a path)?"""
    return any(path == name or path.endswith(f".{name}") for path in paths)


def _ends(model: nn.Module) -> str:
    """The names by which modules can be meant, those in layers once."""
    ends = dict.fromkeys(
        path.rpartition(".")[2] for path, m in model.named_modules() if not list(m.children())
    )
    return ", ".join(ends)
