"""Reward models: a language model's trunk with a head that gives numbers instead of words.

A reward model's folder is an ordinary Hugging Face sequence-classification folder. Its pad token never ends a response, because
the classes of transformers read the rightmost token that is no pad token, and would else read one too early.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halign import processor
from halign.adapters.build import has_adapters
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import versus
from halign.items import Path as TokenPath
from halign.likelihood import Prompt, Response, as_path, as_prompt, make_renderer, path_values
from halign.models import DTYPES, RENDERING, Policy, load
from halign.rewards.facts import Facts
from halign.scoring import backbone, unwrap

Pair = tuple[Prompt, Response]


@dataclass
class RewardModel(Policy):
    """A reward model that can be trained and asked.

    Attributes:
        facts: what its outputs mean.
        weights: of an attribute model, attribute -> its share in ``rewards``; empty: all alike, with a sum of 1.
    """

    facts: Facts = field(default_factory=Facts)
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def stop_ids(self) -> frozenset[int]:
        """End-of-turn tokens: those of the language model that it was made from, or else the tokenizer's."""
        known = self.rendering.get("stop_ids")
        return frozenset(known) if known else super().stop_ids

    def save(self, folder: str | Path) -> None:
        """Write a plain sequence-classification folder (of adapters: an adapter folder), and what its outputs mean."""
        super().save(folder)
        self.facts.save(folder)

    def score(
        self,
        responses: Iterable[Pair],
        *,
        separate: bool = False,
        max_tokens: int = 4096,
        dtype: str = "fp32",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """How good responses are. What responses to one prompt share is read once.

        Args:
            responses: (prompt, response) pairs, as ``halign.logps`` takes them.
            separate: read every path apart (the plain way) instead of in tries.
            max_tokens: distinct tokens in one forward pass.
            dtype: ``fp32``, or ``bf16`` for autocast.
            progress: called with (responses done, all).

        Returns:
            float32 [R], rewards; of an attribute model [R, k], its attributes (expected values of categorical ones); on the CPU,
            in the order given.

        Raises:
            HalignError: from a pairwise model, which compares (``prefers``); or if a response does not fit its prompt's template.
        """
        if self.facts.kind == "pairwise":
            raise HalignError(
                "a pairwise model gives no rewards, it compares two responses: prefers([(prompt, a, b)])"
            )
        renderer = make_renderer(self)
        paths = [as_path(renderer, prompt, response) for prompt, response in responses]
        raw = self._raw(paths, separate, max_tokens, dtype, progress)
        if self.facts.kind == "reward":
            return raw[:, 0]
        if not self.facts.levels:
            return raw
        scale = torch.arange(self.facts.levels, dtype=torch.float32)
        return (self._split(raw).softmax(-1) * scale).sum(-1)

    def rewards(self, responses: Iterable[Pair], **options: Any) -> Tensor:
        """One number a response, float32 [R]: the reward, or the weighted sum of attributes. Options are ``score``'s."""
        scores = self.score(responses, **options)
        return scores @ self.attribute_weights if scores.dim() == 2 else scores

    @property
    def attribute_weights(self) -> Tensor:
        """float32 [k].

        Raises:
            HalignError: if a weight names no attribute of the model.
        """
        names = self.facts.attributes
        for name in self.weights:
            if name not in names:
                raise HalignError(
                    f"weights: the model has no attribute {name!r}; it has {', '.join(names) or 'none'}"
                )
        return torch.tensor([self.weights.get(n, 0.0) if self.weights else 1 / len(names) for n in names])

    def attribute_logps(self, responses: Iterable[Pair], **options: Any) -> Tensor:
        """log P(value of an attribute | prompt, response), float32 [R, k, levels], nats; what SteerLM 2 weighs by.

        Raises:
            HalignError: unless the attributes are categorical.
        """
        if not self.facts.levels:
            raise HalignError(
                "only an attribute model with head=categorical gives probabilities of attributes"
            )
        renderer = make_renderer(self)
        paths = [as_path(renderer, prompt, response) for prompt, response in responses]
        return self._split(self._raw(paths, **options)).log_softmax(-1)

    def prefers(self, comparisons: Sequence[tuple[Prompt, str, str]], **options: Any) -> Tensor:
        """P(the first response beats the second) of (prompt, first, second), float32 [P]. Swapping the two gives the rest to one,
        exactly: a pairwise model reads both orders; of any other, the logistic function of the difference of rewards.
        """
        if self.facts.kind != "pairwise":
            both = [(p, r) for p, a, b in comparisons for r in (a, b)]
            rewards = self.rewards(both, **options).reshape(-1, 2)
            return torch.sigmoid(rewards[:, 0] - rewards[:, 1])
        renderer = make_renderer(self)
        paths = []
        for prompt, a, b in comparisons:
            dialogue = as_prompt(prompt)
            role = "raw" if dialogue.is_raw else "assistant"
            one, other = Message(role, a), Message(role, b)
            paths += [as_path(renderer, dialogue, versus(*pair)) for pair in ((one, other), (other, one))]
        raw = self._raw(paths, **options).reshape(-1, 2)
        return torch.sigmoid((raw[:, 0] - raw[:, 1]) / 2)

    def _split(self, raw: Tensor) -> Tensor:
        return raw.unflatten(1, (len(self.facts.attributes), self.facts.levels))

    def _raw(
        self,
        paths: list[TokenPath],
        separate: bool = False,
        max_tokens: int = 4096,
        dtype: str = "fp32",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        found = path_values(
            self, paths, separate=separate, max_tokens=max_tokens, dtype=dtype, progress=progress
        )
        return torch.stack(found) if found else torch.zeros(0, len(self.facts.labels))


def from_causal(policy: Policy, facts: Facts, *, seed: int = 0) -> RewardModel:
    """A reward model on a language model's trunk, which the two then share; only the head is new.

    The head starts small (standard deviation 1 / (d + 1) for hidden states of size d), so that training begins near chance.

    Raises:
        HalignError: if the model has adapters, or transformers knows no sequence classification for its architecture.
    """
    from transformers import AutoModelForSequenceClassification

    if has_adapters(policy.model):
        raise HalignError(
            "a reward model starts from plain weights: halign merge makes them of adapters on their base"
        )
    inner: Any = policy.model
    known: Any = AutoModelForSequenceClassification._model_mapping
    if type(inner.config) not in known:
        raise HalignError(f"transformers has no sequence-classification class for {type(inner).__name__}")
    endings = _endings(policy)
    trunk, config = backbone(inner), inner.config
    labels = facts.labels
    config.id2label, config.label2id = dict(enumerate(labels)), {n: i for i, n in enumerate(labels)}
    with torch.device("meta"):
        model: Any = known[type(config)](config)
    setattr(model, model.base_model_prefix, trunk)
    weight = next(trunk.parameters())
    width = model.score.in_features
    drawn = torch.randn(len(labels), width, generator=torch.Generator().manual_seed(seed)) / (width + 1)
    model.score = nn.Linear(width, len(labels), bias=False, device=weight.device, dtype=weight.dtype)
    model.score.weight.data.copy_(drawn)
    if any(p.is_meta for p in model.parameters()):
        raise HalignError(
            f"{type(model).__name__} has more than a trunk and a head; it cannot be made of {type(inner).__name__}"
        )
    tokenizer = copy.deepcopy(policy.tokenizer)
    config.pad_token_id = _pad(model, tokenizer, endings)
    rendering = {**policy.rendering, "stop_ids": sorted(policy.stop_ids)}
    return RewardModel(model.train(inner.training), tokenizer, policy.path, rendering, facts)


def _endings(policy: Policy) -> set[int]:
    """Tokens that a path may end with: the end of a turn, and of a text."""
    found = {policy.tokenizer.eos_token_id}
    with contextlib.suppress(
        Exception
    ):  # no chat template, or one that needs more than this: then texts are plain
        path = make_renderer(policy).path(
            Dialogue.of([{"role": "user", "content": "Hi"}]), Message("assistant", "Hi")
        )
        found |= {int(path.ids[-1])} if path else set()
    return found


def _pad(model: Any, tokenizer: Any, endings: set[int]) -> int:
    """A pad token that ends no path: the tokenizer's own, another special token, or a new one."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in endings:
        special = [i for i, t in tokenizer.added_tokens_decoder.items() if t.special and i not in endings]
        special.sort(key=lambda i: "pad" not in str(tokenizer.added_tokens_decoder[i]).lower())
        if special:
            tokenizer.pad_token = str(tokenizer.added_tokens_decoder[special[0]])
        else:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
            if tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(tokenizer.pad_token_id + 1, mean_resizing=False)
    return int(tokenizer.pad_token_id)


def is_reward_model(source: str | Path) -> bool:
    """True for a folder of a reward model: one of ours, or any sequence-classification folder; a run folder's ``model`` too."""
    path = _model_folder(source)
    if Facts.read(path) is not None:
        return True
    if not (path / "config.json").exists():
        return False
    names = json.loads((path / "config.json").read_text()).get("architectures") or [""]
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
    facts = Facts.read(path)
    try:
        if (path / "adapter_config.json").exists():
            model = _with_adapters(path, facts or Facts(), dtype, trust_remote_code)
        else:
            model = _classifier(name, dtype, trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise HalignError(
            f"no reward model could be loaded from {name!r}: {str(error).splitlines()[0]}"
        ) from error
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
