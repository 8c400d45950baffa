"""Small policies that differ in what the conventions of encoding depend on."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import processors

from halign.models import Policy
from tests.conftest import enlarge, make_llama, make_tokenizer

TEXTS = [
    "My order has not arrived yet. Number 12, please!",
    "I am sorry to hear that.\n\nThank you",
    "exchange or refund: which one do you want today?",
]


def plain() -> Policy:
    """A Llama whose tokenizer adds nothing to a text and has no BOS."""
    tokenizer = make_tokenizer()
    return Policy(make_llama(tokenizer, max_position_embeddings=96).eval(), tokenizer, "plain")


def with_bos() -> Policy:
    """A GPT-2, which learns a vector for each of its 48 positions, with a tokenizer that puts BOS before every text."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=48,
        n_embd=32,
        n_layer=2,
        n_head=4,
        bos_token_id=bos,
        eos_token_id=tokenizer.eos_token_id,
    )
    model: Any = transformers.GPT2LMHeadModel(config).eval()
    enlarge(model)
    return Policy(model, tokenizer, "with_bos")


POLICIES = {"plain": plain, "with_bos": with_bos}
