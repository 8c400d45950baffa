"""A language small enough to list: every reply is at most two tokens over four symbols, and a stop token."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from halign.dialogue import Dialogue, Message
from halign.examples import Example, Preference
from halign.items import Path
from halign.likelihood import path_logps
from halign.models import Policy

SYMBOLS = "abcd"
LENGTH = 2
"""Longest reply in tokens; a reply that has not stopped by then is cut off."""


def language_tokenizer() -> Any:
    """One token for each symbol, one to stop, one that every prompt consists of."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<pad>", "<stop>", "?", *SYMBOLS]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<stop>", additional_special_tokens=["<stop>"]
    )


def language_policy(seed: int = 0) -> Policy:
    """A Llama of one layer that says anything."""
    tokenizer = language_tokenizer()
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.dim() > 1:
            p.data.normal_(0, p.shape[-1] ** -0.5, generator=generator)
    return Policy(model, tokenizer, "language")


def prompts(count: int = 1) -> list[Example]:
    """Prompts of one, two ... question marks; what is said to be chosen is not looked at."""
    return [
        Preference(Dialogue.of("?" * (n + 1)), Message("raw", "a"), Message("raw", "b"), f"p{n}")
        for n in range(count)
    ]


@dataclass(frozen=True)
class Reply:
    """A complete reply."""

    ids: tuple[int, ...]
    finished: bool


def replies(policy: Policy) -> list[Reply]:
    """Every reply there is: any token may be said, pad and prompt symbols too."""
    stop, size = policy.tokenizer.eos_token_id, len(policy.tokenizer)
    others = [i for i in range(size) if i != stop]
    found = []
    for n in range(LENGTH + 1):
        for ids in itertools.product(others, repeat=n):
            if n < LENGTH:
                found.append(Reply((*ids, stop), True))
            else:
                found.append(Reply(ids, False))
    return found


def logps(policy: Policy, prompt_ids: np.ndarray, listed: list[Reply]) -> torch.Tensor:
    """log pi(y) of every reply, float64 [N], by separate passes."""
    paths = [Path(prompt_ids, np.asarray(r.ids, np.int32)) for r in listed]
    scored = path_logps(policy, paths, separate=True)
    return torch.stack([s.double().sum() for s in scored])


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p || q) of two lists of log-probabilities, nats."""
    return float((p.exp() * (p - q)).sum())
