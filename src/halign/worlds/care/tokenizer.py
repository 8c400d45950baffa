"""The world's own tokenizer: byte-level BPE learnt from its conversations, digits apart, one token per role.

A message follows its role after a space, so that its first word is the same token as within a sentence: a name at the start of a
reply is copied from the middle of the system message.

>>> tokenizer = build(["Where is my green lamp? It is order 4821."] * 50, vocabulary=400)
>>> messages = [{"role": "user", "content": "Where is my lamp?"}]
>>> tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
'<|user|> Where is my lamp?<|end|><|assistant|>'
>>> tokenizer.convert_ids_to_tokens(tokenizer("4821")["input_ids"])
['4', '8', '2', '1']
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END, PAD = "<|end|>", "<|pad|>"
ROLES = ("system", "user", "assistant")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('this template knows the roles system, user and assistant') -}}"
    "{%- endif -%}"
    "{{- '<|' + message.role + '|> ' + message.content + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def build(texts: Iterable[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer learnt from texts. Any text can be encoded, for its base are bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, *(f"<|{role}|>" for role in ROLES)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[f"<|{role}|>" for role in ROLES],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
