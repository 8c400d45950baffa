"""The base model: a small Llama that has read the world's mixed-quality conversations and nothing else.

It writes the world's English and half-heartedly keeps its guardrails, as its agents did: something to align.
Made by Halign's own loop, once, and kept in the cache under a hash of everything that went into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from halign.cache import cache_dir
from halign.errors import HalignError
from halign.examples import Conversation, Example
from halign.progress import Display
from halign.worlds.care.dictation import dictations
from halign.worlds.care.generator import conversations

if TYPE_CHECKING:
    from halign.models import Policy

Progress = Callable[[int, int, str], None]
"""Told (steps done, steps in all, a note)."""


@dataclass(frozen=True)
class Size:
    """How large a base model is, and what it reads.

    Attributes:
        dictations: how many it reads first (see ``dictation``), about 35 new tokens each.
        conversations: how many it reads then, about 260 tokens each; everything once.
        batch_items: turns (customers' and agents') in one step; eight of them hold about 300 new tokens.
        learning_rate: of Muon, for the matrices; ``embedding_learning_rate`` is AdamW's, for the rest.
    """

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    dictations: int
    conversations: int
    batch_items: int = 56
    max_tokens: int = 1600
    learning_rate: float = 2e-2
    embedding_learning_rate: float = 6e-3
    schedule: str = "linear"
    warmup: float = 0.03
    dtype: str = "bf16"
    seed: int = 0


SIZES: dict[str, Size] = {
    "tiny": Size(
        width=64,
        layers=2,
        heads=2,
        inner=128,
        vocabulary=768,
        dictations=300,
        conversations=300,
        batch_items=16,
    ),
    "demo": Size(
        width=256, layers=4, heads=4, inner=704, vocabulary=1536, dictations=2800, conversations=5500
    ),
}


def base_model(*, size: str = "demo", cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder of a plain Hugging Face model; trained first if the cache does not hold it yet.

    Args:
        size: a key of ``SIZES``; "demo" takes some minutes on two cores, "tiny" some seconds.
        cache: folder to keep it in; None: Halign's cache.
        progress: told how far training is.

    Raises:
        HalignError: if there is no such size.
    """
    if size not in SIZES:
        raise HalignError(f"no base model of size {size!r}; there are {', '.join(SIZES)}")
    settings = SIZES[size]
    home = (cache or cache_dir()) / "care"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"base-{size}-{recipe_hash(settings)}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=home) as work:
            made = pretrain(settings, Path(work), progress)
            try:
                os.replace(made, folder)  # whole or not at all
            except OSError:  # someone else was quicker
                if not folder.exists():
                    raise
    return folder


def recipe_hash(settings: Size) -> str:
    """A hash of the settings and of this world's source, which makes the conversations and the tokenizer."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def pretrain(settings: Size, work: Path, progress: Progress | None = None) -> Path:
    """Train a base model from nothing in the folder ``work``; the folder of the result."""
    # torch takes seconds to import; who only reads conversations need not wait
    from halign.config import resolve
    from halign.run_folder import RunFolder
    from halign.training import Trainer

    examples = corpus(settings)
    policy = untrained(settings, examples)
    lessons: list[Example] = [*dictations(settings.dictations, seed=settings.seed), *examples]
    config = resolve(
        "sft",
        {
            "learning_rate": settings.learning_rate,
            "embedding_learning_rate": settings.embedding_learning_rate,
            "optimizer": "muon",
            "schedule": settings.schedule,
            "warmup": settings.warmup,
            "roles": ("user", "assistant"),
            "dtype": settings.dtype,
            "batch_items": settings.batch_items,
            "max_tokens": settings.max_tokens,
            "shuffle": "none",
            "seed": settings.seed,
            "tensorboard": False,
        },
    )
    folder = RunFolder(work / "run")
    with _Told(progress) as display:
        Trainer(policy, lessons, None, config, folder, display, {}).run()
    made = work / "model"
    shutil.copytree(folder.model_path, made)
    return made


class _Told(Display):
    """Passes on to a callback what a run would show."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__(quiet=True)
        self.progress, self.name = progress, ""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        self.name = name

    def advance(self, done: int, total: int, note: str = "") -> None:
        if self.progress is not None and self.name == "training":
            self.progress(done, total, note)


def corpus(settings: Size) -> list[Conversation]:
    """What the base model reads: mixed-quality conversations of one to three requests."""
    return list(
        conversations(
            settings.conversations, split="pretrain", seed=settings.seed, quality="mixed", intents=(1, 3)
        )
    )


def untrained(settings: Size, examples: list[Conversation]) -> Policy:
    """A model that has read nothing, with a tokenizer learnt from the examples."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    from halign.models import Policy
    from halign.template import DEFAULT_GUARDRAIL_TEMPLATE, Guardrails
    from halign.worlds.care.tokenizer import END, PAD, build

    rendered = Guardrails(DEFAULT_GUARDRAIL_TEMPLATE)
    texts = (m.content for example in examples[:3000] for m in rendered.apply(example.dialogue))
    tokenizer = build(texts, vocabulary=settings.vocabulary)
    vocabulary = tokenizer.get_vocab()
    end, pad = vocabulary[END], vocabulary[PAD]
    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.width,
            intermediate_size=settings.inner,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=settings.width**-0.5,
            eos_token_id=end,
            pad_token_id=pad,
            bos_token_id=None,
        )
    )
    model.generation_config = GenerationConfig(
        eos_token_id=end, pad_token_id=pad, do_sample=True, temperature=1.0, max_new_tokens=96
    )
    return Policy(model, tokenizer, "care-base")
