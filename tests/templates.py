"""Chat templates as strings, one of each kind that rendering has to get right, and small tokenizers for them."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim"
    " + '<|eot_id|>' %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""

# Qwen 3: reasoning of turns before the last user question is dropped; the last answer carries a think block always.
QWEN3 = """{%- set ns = namespace(last=-1) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for m in messages -%}
{%- set content = m.content -%}
{%- if m.role == 'assistant' -%}
{%- set reasoning = '' -%}
{%- if '</think>' in content -%}
{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{%- if loop.index0 > ns.last and (loop.last or reasoning) -%}
{{- '<|im_start|>assistant\\n<think>\\n' + reasoning + '\\n</think>\\n\\n' + content -}}
{%- else -%}{{- '<|im_start|>assistant\\n' + content -}}{%- endif -%}
{%- else -%}{{- '<|im_start|>' + m.role + '\\n' + content -}}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}
"""

# DeepSeek-R1: the generation prompt opens a think block that the rendering of an answered dialogue does not have.
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}"
    "{% else %}{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + '<|end_of_sentence|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'system' %}{{ '[SYSTEM] ' + m['content'] + ' [/SYSTEM]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user, system and assistant roles are supported!') }}{% endif %}{% endfor %}"
)

# GPT-OSS: the last answer ends in <|return|>, earlier ones in <|end|>, and their reasoning is gone.
GPT_OSS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{% if loop.last and m.thinking is defined %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)

BOS_CHATML = "{{ bos_token }}" + CHATML

TWO_BOS_CHATML = "{{ bos_token }}{{ bos_token }}" + CHATML

NO_END = (
    "{% for m in messages %}{{ m['role'] | capitalize + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)

# Everything transformers adds to Jinja, in one template.
EXTRAS = (
    "{% set ns = namespace(n=0) %}{{ 'today ' + strftime_now('%Y-%m-%d') + '\n' }}"
    "{% if tools %}{{ 'tools ' + tools | tojson + '\n' }}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'nobody' %}{{ raise_exception('nobody speaks') }}{% endif %}"
    "{% if m['role'] == 'skip' %}{% continue %}{% endif %}{% set ns.n = ns.n + 1 %}"
    "{{ '<|im_start|>' + m['role'] + ' ' }}{{ ns.n }}{{ '\n' }}"
    "{% generation %}{{ m['content'] | tojson }}{{ '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{{ ns.n + 1 }}{{ '\n' }}{% endif %}"
)

# Tools in the system message, calls and their results in tags, as Hermes and Qwen 2.5 write them.
TOOLS = """{%- if tools -%}{{- '<|im_start|>system\\n# Tools\\n' -}}
{%- for tool in tools -%}{{- tool | tojson + '\\n' -}}{%- endfor -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' -}}
{%- elif m.role == 'assistant' and m.tool_calls -%}
{{- '<|im_start|>assistant\\n' + m.content -}}
{%- for call in m.tool_calls -%}
{%- if call.function -%}{%- set call = call.function -%}{%- endif -%}
{%- if m.content or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' + (call.arguments | tojson) + '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- else -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# name: (template, special tokens, bos, eos)
FAMILIES = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>"),
    "llama3": (
        LLAMA3,
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|begin_of_text|>",
        "<|eot_id|>",
    ),
    "gemma": (GEMMA, ["<bos>", "<start_of_turn>", "<end_of_turn>"], "<bos>", "<end_of_turn>"),
    "qwen3": (QWEN3, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>"),
    "r1": (
        R1,
        ["<|begin_of_sentence|>", "<|User|>", "<|Assistant|>", "<|end_of_sentence|>"],
        "<|begin_of_sentence|>",
        "<|end_of_sentence|>",
    ),
    "mistral": (MISTRAL, ["<s>", "</s>"], "<s>", "</s>"),
    "gpt_oss": (
        GPT_OSS,
        ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"],
        None,
        "<|return|>",
    ),
    "bos_chatml": (BOS_CHATML, ["<s>", "<|im_start|>", "<|im_end|>"], "<s>", "<|im_end|>"),
    "two_bos": (TWO_BOS_CHATML, ["<s>", "<|im_start|>", "<|im_end|>"], "<s>", "<|im_end|>"),
    "no_end": (NO_END, ["</s>"], None, "</s>"),
    "tools": (TOOLS, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>"),
    "extras": (EXTRAS, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>"),
}

QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

TEXT = [
    "Hello, how can I help you today? I'd like to return my order, please. It's number 4417.",
    "Of course! When did you order it?\nOn Monday the 3rd; it's the blue one. I don't like the colour.",
    "Café naïve “quoted” text – with dashes … and 12345 numbers.\n\n1. one\n2. two\n\n```python\nx = 1\n```",
    "user assistant system model nobody User Assistant System INST today tools think",
]


@lru_cache
def tokenizer(family: str, kind: str = "gpt2", adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with the family's template.

    ``kind`` is how it cuts text: "gpt2" and "qwen" (byte-level), "metaspace" and "legacy" (SentencePiece, new and old,
    with a dummy space before the text). ``adds_bos``: it puts a BOS before plain text.
    """
    template, special, bos, eos = FAMILIES[family]
    backend = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    alphabet: list[str] = []
    if kind in ("gpt2", "qwen"):
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        backend.decoder = decoders.ByteLevel()
        if kind == "gpt2":
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            backend.normalizer = normalizers.NFC()
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
    elif kind == "metaspace":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
    else:
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]  # as Llama 2
        )
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<pad>", *special], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXT * 3, trainer)
    if adds_bos:
        assert bos is not None
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos, pad_token="<pad>")
    if family == "qwen3":
        made.add_tokens([AddedToken(t, normalized=False, special=False) for t in ("<think>", "</think>")])
    made.chat_template = template
    return made
