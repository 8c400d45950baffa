"""Likelihoods of paths that share long beginnings, in models that take masks in different ways or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from halign.items import Path
from halign.likelihood import path_likelihoods
from halign.models import Policy
from tests.test_exactness import MODELS, VOCABULARY, make

NAMES = [
    name
    for name in MODELS
    if name.split(",")[0] in ("llama", "mistral", "gemma2", "gpt2", "mamba", "gpt_neo") or not MODELS[name][2]
]


def bush() -> list[Path]:
    """A beginning of 80 tokens, sixteen questions of up to 30, three choices each, of one to four tokens."""
    rng = np.random.default_rng(0)

    def ids(least: int, most: int) -> np.ndarray:
        return rng.integers(3, VOCABULARY, int(rng.integers(least, most + 1))).astype(np.int32)

    trunk = ids(80, 80)
    questions = [np.concatenate([trunk, ids(5, 30)]) for _ in range(16)]
    return [Path(question, ids(1, 4)) for question in questions for _ in range(3)]


@pytest.mark.parametrize("name", NAMES)
def test_likelihoods_are_those_of_plain_passes(name: str) -> None:
    model = make(name).eval()
    policy = Policy(model, SimpleNamespace(pad_token_id=0))
    paths = bush()
    plain = []
    with torch.no_grad():
        for path in paths:
            logits = plain_logits(model, path)
            wanted = torch.from_numpy(path.response.astype(np.int64))
            logps = logits.log_softmax(-1)
            plain.append(
                (
                    float(logps[torch.arange(len(wanted)), wanted].sum()),
                    bool((logits.argmax(-1) == wanted).all()),
                )
            )
    best = max(range(len(paths)), key=lambda i: plain[i][0])
    for max_tokens in (4096, 300):
        found = path_likelihoods(policy, paths, max_tokens=max_tokens)
        assert [one.logp for one in found] == pytest.approx([logp for logp, _ in plain], abs=1e-4)
        assert [one.greedy for one in found] == [greedy for _, greedy in plain]
        assert max(range(len(paths)), key=lambda i: found[i].logp) == best


def plain_logits(model: torch.nn.Module, path: Path) -> torch.Tensor:
    """Logits of the response's tokens, [n, V], by the model's own forward pass."""
    ids = torch.from_numpy(path.ids.astype(np.int64))[None]
    logits: torch.Tensor = model(input_ids=ids).logits[0, len(path.prompt) - 1 : -1].float()
    return logits
