"""Loading and keeping a policy: a causal language model, its tokenizer, and what the probe found out about it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from halign import processor
from halign.errors import HalignError
from halign.model_folder import not_loaded, see_model
from halign.probe import Capability, probe
from halign.products import checkpoint_contexts
from halign.quantize import quantization
from halign.rewards.facts import REWARD
from halign.scoring import unwrap

log = logging.getLogger(__name__)

RENDERING = "halign_rendering.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of an element


@dataclass
class Policy:
    """A model that can be trained, scored and sampled.

    Attributes:
        model: a Hugging Face causal language model, possibly wrapped by peft.
        tokenizer: its tokenizer.
        path: where it came from (a folder or a hub name).
        rendering: settings of ``halign.render.Renderer`` that go with the model (kept in a run folder).
    """

    model: nn.Module
    tokenizer: Any
    path: str = ""
    rendering: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def capability(self) -> Capability:
        """How the model takes masks and what surrounds its head; measured once."""
        return probe(self.model)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end the model's turn: the generation configuration's, or else the tokenizer's."""
        return stop_ids(self.model, self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def move(self, device: str | torch.device) -> None:
        """Put the model on a device. How it is to be given its masks depends on the kind of device, and is measured anew."""
        if torch.device(device).type != self.device.type:
            self.model.to(device)
            self.__dict__.pop("capability", None)

    def save(self, folder: str | Path) -> None:
        """Write a plain Hugging Face folder (safetensors), or an adapter folder for a peft model."""
        self.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)


def stop_ids(model: nn.Module, tokenizer: Any) -> frozenset[int]:
    """End-of-turn tokens by the generation configuration, falling back to the tokenizer's eos."""
    generation = getattr(unwrap(model), "generation_config", None)
    eos: int | Collection[int] | None = getattr(generation, "eos_token_id", None)
    if eos is None:
        eos = tokenizer.eos_token_id
    if eos is None:
        return frozenset()
    return frozenset([eos] if isinstance(eos, int) else eos)


def load(
    source: str | Path,
    *,
    dtype: str = "fp32",
    device: str | torch.device | None = None,
    quantize: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """Load a policy from a local folder or the Hugging Face hub; an adapter folder brings its base along.

    Args:
        source: folder or hub name.
        dtype: precision of the weights, ``fp32`` (right for training; ``train(dtype="bf16")`` computes in bf16 on top of
            it) or ``bf16`` (half the memory, for scoring, sampling and the frozen base of an adapter).
        device: None leaves it on the CPU; training moves it where accelerate says.
        quantize: ``4bit`` or ``8bit`` keeps the matrices of the layers so, through bitsandbytes on a CUDA GPU; such a model
            is there to train adapters on. ``dtype`` is then that of all else.
        trust_remote_code: run Python code that comes with the model. Off unless asked for.

    Raises:
        HalignError: if there is no such model, its weights are not safetensors, or this machine cannot quantise.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    processor.prepare()
    if dtype not in DTYPES:
        raise HalignError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    more: dict[str, Any] = {}
    if quantize is not None:
        more = {
            "quantization_config": quantization(quantize, DTYPES[dtype]),
            "device_map": {
                "": device or f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
            },  # where this process trains
        }
    path = Path(source)
    if any((path / "model" / name).exists() for name in ("config.json", "adapter_config.json")):
        path = path / "model"  # a run folder
    name = str(path) if path.exists() else str(source)
    see_model(path)
    try:
        if (path / REWARD).exists():
            raise HalignError(
                f"{name} is a reward model, which says nothing: halign.load_reward, halign score"
            )
        if (path / "adapter_config.json").exists():
            return _load_adapter(path, dtype, device, quantize, trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(
            name, dtype=DTYPES[dtype], use_safetensors=True, trust_remote_code=trust_remote_code, **more
        )
    except (OSError, ValueError) as error:
        raise not_loaded("model", name, error) from error
    _fill_pad(tokenizer)
    if device is not None and quantize is None:
        nn.Module.to(model, device)
    return Policy(model, tokenizer, name, read_rendering(path))


def _load_adapter(
    path: Path, dtype: str, device: Any, quantize: str | None, trust_remote_code: bool
) -> Policy:
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(path))
    if not config.base_model_name_or_path:
        raise HalignError(
            f"{path}: the adapters do not say what they belong to; write the base model's folder or hub name as "
            "base_model_name_or_path into adapter_config.json"
        )
    trained_on = _trained_on(path)
    if trained_on and not quantize:
        log.warning(
            "%s was trained on a base in %s, and is put on one in %s: its numbers differ a little (quantize=%s)",
            path, trained_on, dtype, trained_on,
        )  # fmt: skip
    base = load(
        config.base_model_name_or_path,
        dtype=dtype,
        device=device,
        quantize=quantize,
        trust_remote_code=trust_remote_code,
    )
    return Policy(put_adapters(base.model, path), base.tokenizer, str(path), read_rendering(path))


def put_adapters(model: nn.Module, path: Path) -> nn.Module:
    """The model wrapped with the adapters that lie in a folder, to be used or trained further."""
    from peft import PeftConfig, PeftModel

    virtual = PeftConfig.from_pretrained(str(path)).is_prompt_learning
    wrapped = PeftModel.from_pretrained(model, str(path), is_trainable=not virtual)
    if virtual:  # peft loads these to be used only
        wrapped.prompt_encoder.requires_grad_(True)
    return wrapped


def _trained_on(path: Path) -> str | None:
    """How the base was quantised when a run trained adapters on it, as its config.yaml has it."""
    written = path.parent / "config.yaml"
    return (yaml.safe_load(written.read_text()) or {}).get("quantize") if written.exists() else None


def read_rendering(path: Path) -> dict[str, Any]:
    """How the run that made a model rendered its data; nothing for models from elsewhere."""
    written = path / RENDERING
    return json.loads(written.read_text()) if written.exists() else {}


def _fill_pad(tokenizer: Any) -> None:
    """Batches of samples need a padding token; it is never trained on, so the eos serves where there is none."""
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token


def disable_dropout(model: nn.Module, *, keep_adapters: bool = False) -> Callable[[], None]:
    """Set every dropout probability to zero, module by module, functional ones included.

    The model stays in training mode, which gradient checkpointing needs.

    Args:
        keep_adapters: leave the dropout on the adapters' input alone.

    Returns:
        a function that puts everything back.
    """
    before: list[tuple[nn.Module, str, float]] = []
    for path, module in model.named_modules():
        if keep_adapters and "lora_dropout" in path:
            continue
        names = ["attention_dropout", "dropout", "resid_dropout", "hidden_dropout", "activation_dropout"]
        if isinstance(module, nn.modules.dropout._DropoutNd):
            names.append("p")
        for name in names:
            value = getattr(module, name, None)
            if isinstance(value, float) and value:
                before.append((module, name, value))
                setattr(module, name, 0.0)

    def restore() -> None:
        for module, name, value in before:
            setattr(module, name, value)

    return restore


def checkpoint_gradients(model: Any) -> Callable[[], None]:
    """Recompute activations in the backward pass; a function that undoes it."""
    inner = unwrap(model)
    if inner.is_gradient_checkpointing:
        return lambda: None
    model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": checkpoint_contexts})
    model.enable_input_require_grads()

    def undo() -> None:
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()

    return undo


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """Short hash of a model: its configuration, and names, shapes, sums and samples of every tensor. Any training step changes
    it, and so does a configuration by which the same weights mean something else. Sums are of the tensors' bits as whole
    numbers: a sum of fractions depends on the order of addition, which is another on other numbers of threads."""
    digest = hashlib.sha256(architecture(model).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        stride = max(1, flat.numel() // 1024)
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        if flat.is_floating_point():
            bits = flat.contiguous().view(WHOLE[flat.element_size()])
            digest.update(str(bits.sum(dtype=torch.int64).item()).encode())
        digest.update(flat[::stride].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]


def architecture(model: nn.Module) -> str:
    """A model's configuration as text, without what does not change its numbers."""
    config: Any = next((m.config for m in model.modules() if hasattr(m, "config")), None)
    facts = config.to_dict() if hasattr(config, "to_dict") else {}
    incidental = ("_name_or_path", "transformers_version", "dtype", "use_cache", "_attn_implementation")
    return json.dumps({k: v for k, v in facts.items() if k not in incidental}, sort_keys=True, default=str)


def environment() -> dict[str, str]:
    """Versions and machine, for a run folder."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in (
        "halign",
        "torch",
        "transformers",
        "accelerate",
        "peft",
        "bitsandbytes",
        "tokenizers",
        "datasets",
        "numpy",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
    found["threads"] = str(torch.get_num_threads())
    return found
