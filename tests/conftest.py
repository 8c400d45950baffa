"""Small models, tokenizers and data that tests share. Everything is made here: no hub is needed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as in the background of a shell: the processes that tests start and interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "Hello, how can I help you today?",
    "My order has not arrived yet, can you look it up?",
    "I am sorry to hear that. Could you give me the order number, please?",
    "Thank you, your parcel leaves tomorrow morning.",
    "You are welcome. Is there anything else?",
    "user assistant system No yes refund exchange address delivery number",
]


@pytest.fixture(autouse=True)
def _quiet_and_apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and a cache folder of the test's own."""
    torch.set_num_threads(1)
    monkeypatch.setenv("HALIGN_CACHE", str(tmp_path_factory.mktemp("cache")))


def make_tokenizer(vocabulary: int = 320) -> Any:
    """A byte-level BPE tokenizer with a ChatML template."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def make_llama(tokenizer: Any, **changes: Any) -> Any:
    """A Llama of about 40,000 parameters whose weights are large enough for differences to show."""
    config = transformers.LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 512,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **changes,
        }
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    enlarge(model)
    return model


def enlarge(model: torch.nn.Module, scale: float = 1.0) -> None:
    """Random weights of size 1/sqrt(fan-in): with the usual initialisation a wrong mask hardly shows."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            std = scale * parameter.shape[-1] ** -0.5
            parameter.data.normal_(0, std, generator=generator)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture
def policy(tokenizer: Any) -> Any:
    """A fresh policy; its ``path`` names no folder."""
    from halign.models import Policy

    return Policy(make_llama(tokenizer), tokenizer, "memory")


@pytest.fixture
def policy_folder(policy: Any, tmp_path: Path) -> Path:
    """The policy as a plain Hugging Face folder."""
    folder = tmp_path / "policy"
    policy.save(folder)
    return folder


def conversation_rows(count: int = 4, turns: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations whose every agent turn has a rejected alternative (canonical form)."""
    rng = torch.Generator().manual_seed(seed)

    def text() -> str:
        picked = torch.randint(0, len(TEXTS), (2,), generator=rng).tolist()
        number = int(torch.randint(10, 99, (1,), generator=rng))
        return f"{TEXTS[picked[0]]} {number} {TEXTS[picked[1]][:20]}"

    rows = []
    for c in range(count):
        messages: list[dict[str, Any]] = []
        for _ in range(turns):
            messages.append({"role": "user", "content": text()})
            alternatives = [{"content": text(), "rank": 2, "violates": "rule"}]
            messages.append({"role": "assistant", "content": text(), "alternatives": alternatives})
        rows.append({"id": f"c{c}", "messages": messages})
    return rows


def shared_data() -> Path | None:
    """The folder of real data beside the repository, if it is there."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@contextlib.contextmanager
def power_cut(at: int) -> Iterator[None]:
    """Training dies before the step with this number (from 0), without saving anything."""
    from halign.training import Trainer

    original = Trainer._step

    def crash(self: Trainer, step: Any) -> Any:
        if step.index == at:
            raise RuntimeError("power cut")
        return original(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            yield
