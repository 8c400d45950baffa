"""What is trained on: preference pairs as rows that halign and TRL read alike, and the model made for them.

    conversations   dialogues of about ten agent turns with a chosen and a rejected reply at each
    pairs           single pairs (HH harmless)
    rankings        four responses to a question about some paragraphs (QA-Feedback)
    rankings_oasst  three or more responses to a short prompt (OpenAssistant)
    rankings_care4  four responses at every agent turn of the care world's conversations
    rankings_care8  eight

Everything is deterministic. Without the data folder (``$HALIGN_DATA``, else ``../shared/data`` beside the
repository) the care world stands in.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any, Literal, get_args

from halign.cache import cache_dir

Workload = Literal["conversations", "pairs", "rankings", "rankings_oasst", "rankings_care4", "rankings_care8"]
WORKLOADS: tuple[Workload, ...] = get_args(Workload)
Row = dict[str, Any]

TURNS = range(8, 13)
"""Agent turns of a dialogue of the workload ``conversations``."""
VOCABULARY = 8192
# a turn ends with its stop token: TRL's responses (all that the template adds) and ours (cut there) are equal
TEMPLATE = (
    r"{% for m in messages %}{{ '' if loop.first else '\n' }}"
    r"{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}"
    r"{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}"
)
MADE = 2
"""Counts changes of how the model is made, so that the cache holds no stale one."""


def rows(workload: Workload, count: int, guardrails: bool = False) -> list[Row]:
    """Pairs (``conversation``, ``prompt``, ``chosen``, ``rejected``) or rankings (``responses``, best first); those of one
    conversation stand close.

    Args:
        guardrails: put a conversation's rules into a system message (``conversations`` only).

    Raises:
        SystemExit: if the workload has fewer than asked for.
    """
    found = list(islice(_every_row(workload, guardrails), count))
    if len(found) < count:
        raise SystemExit(f"{workload}: {len(found)} items, {count} wanted; give a smaller --items")
    return found


def _every_row(workload: Workload, guardrails: bool) -> Iterator[Row]:
    makers: dict[Workload, Callable[[], Iterator[Row]]] = {
        "conversations": lambda: _conversations(guardrails),
        "pairs": _pairs,
        "rankings": lambda: _rankings("rankings"),
        "rankings_oasst": lambda: _rankings("rankings_oasst"),
        "rankings_care4": lambda: _care_rankings(4),
        "rankings_care8": lambda: _care_rankings(8),
    }
    return makers[workload]()


def as_pairs(found: Iterable[Row]) -> list[Row]:
    """Rankings as all their pairs, for a peer that takes no lists; pairs as they are."""
    made: list[Row] = []
    for row in found:
        if "responses" not in row:
            made.append(row)
            continue
        made += [
            _row(row["conversation"], row["prompt"], better["content"], worse["content"])
            for better, worse in combinations(row["responses"], 2)
            if better["rank"] < worse["rank"]
        ]
    return made


def source(workload: Workload) -> str:
    """Where the rows come from, in a word or two."""
    file = _data(_FILES[workload]) if workload in _FILES else None
    return f"{file.parent.name}/{file.name}" if file else "care world"


_FILES: dict[Workload, str] = {
    "conversations": "care/star_train.jsonl.gz",
    "pairs": "preferences/hh_harmless_train.jsonl.gz",
    "rankings": "preferences/qa_feedback_rankings_train.jsonl.gz",
    "rankings_oasst": "preferences/oasst_rankings_train.jsonl.gz",
}


def _data(name: str) -> Path | None:
    root = os.environ.get("HALIGN_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    file = Path(root) / name
    return file if file.exists() else None


def _read(file: Path) -> Iterator[Row]:
    with gzip.open(file, "rt") as lines:
        yield from map(json.loads, lines)


def _message(role: str, content: str) -> Row:
    return {"role": role, "content": content.strip()}


def _row(conversation: str, prompt: list[Row], chosen: str, rejected: str) -> Row:
    return {
        "conversation": conversation,
        "prompt": prompt,
        "chosen": [_message("assistant", chosen)],
        "rejected": [_message("assistant", rejected)],
    }


def _dialogues() -> Iterator[tuple[str, list[Row], list[str]]]:
    """(name, messages, rules) of dialogues of about ten agent turns."""
    file = _data(_FILES["conversations"])
    if file:
        for found in _read(file):
            messages = [_message(m["role"], m["content"]) for m in found["messages"]]
            if messages[0]["role"] == "user" and _agent_turns(messages) in TURNS:
                yield found["id"], messages, found["policy"]
        return
    from halign.worlds import care

    for made in care.conversations(1200, split="train", seed=0, intents=(5, 5)):
        messages = [_message(m.role, m.content) for m in made.dialogue.messages]
        if _agent_turns(messages) in TURNS:
            yield made.conversation, messages, list(made.dialogue.guardrails)


def _agent_turns(messages: Iterable[Row]) -> int:
    return sum(m["role"] == "assistant" for m in messages)


def _conversations(guardrails: bool) -> Iterator[Row]:
    """Each agent turn chosen, the reply of another conversation nearest in length rejected."""
    dialogues = list(_dialogues())
    random.Random(0).shuffle(dialogues)
    replies = sorted(
        (len(m["content"]), m["content"], name)
        for name, messages, _ in dialogues
        for m in messages
        if m["role"] == "assistant"
    )
    place = {(content, name): i for i, (_, content, name) in enumerate(replies)}
    for name, messages, rules in dialogues:
        system = [_message("system", "Rules:\n" + "\n".join(f"- {r}" for r in rules))] if guardrails else []
        for turn, message in enumerate(messages):
            if message["role"] == "assistant":
                other = _other_reply(replies, place[message["content"], name], name)
                yield _row(name, system + messages[:turn], message["content"], other)


def _other_reply(replies: list[tuple[int, str, str]], place: int, name: str) -> str:
    said = replies[place][1]
    for step in range(1, len(replies)):
        for i in (place + step, place - step):
            if 0 <= i < len(replies) and replies[i][2] != name and replies[i][1] != said:
                return replies[i][1]
    raise SystemExit("conversations: no other reply to reject")


def _pairs() -> Iterator[Row]:
    file = _data(_FILES["pairs"])
    if file is None:
        by_name = {row["conversation"]: row for row in _conversations(False)}
        yield from by_name.values()  # the last turn of each conversation
        return
    for found in _read(file):
        chosen, rejected = found["chosen"][0]["content"], found["rejected"][0]["content"]
        if chosen.strip() and rejected.strip() and chosen.strip() != rejected.strip():
            prompt = [_message(m["role"], m["content"]) for m in found["prompt"]]
            yield _row(found["id"], prompt, chosen, rejected)


def _rankings(workload: Workload) -> Iterator[Row]:
    file = _data(_FILES[workload])
    if file is None:
        yield from _care_rankings(4)
        return
    for found in _read(file):
        prompt = [_message(m["role"], m["content"]) for m in found["prompt"]]
        badness = [r["rank"] if "rank" in r else -r["score"] for r in found["responses"]]
        yield _ranking(found["id"], prompt, [r["content"] for r in found["responses"]], badness)


def _ranking(conversation: str, prompt: list[Row], contents: list[str], badness: Sequence[float]) -> Row:
    ordered = sorted(zip(badness, contents, strict=True), key=lambda pair: pair[0])
    responses = [{"content": c.strip(), "rank": 1 + sum(b < own for b in badness)} for own, c in ordered]
    return {"conversation": conversation, "prompt": prompt, "responses": responses}


def _care_rankings(count: int) -> Iterator[Row]:
    """At every agent turn, replies that keep all guardrails and replies that break one, ``count`` with different words."""
    from halign.worlds import care

    for made in care.conversations(1200, split="train", seed=0, intents=(5, 5)):
        for turn, alternatives in sorted(made.alternatives.items()):
            prompt = made.dialogue[:turn]
            broken = next((a.violates for a in alternatives if a.violates), None)
            if broken is None:
                continue
            good = list(dict.fromkeys(care.good_reply(prompt, seed) for seed in range(4 * count)))
            bad = list(
                dict.fromkeys(
                    care.break_guardrail(prompt, broken, seed) for seed in _breaking(prompt, broken, count)
                )
            )
            half = count // 2
            if len(good) >= half and len(bad) >= half:
                messages = [_message(m.role, m.content) for m in prompt.messages]
                contents = good[:half] + bad[:half]
                yield _ranking(made.conversation, messages, contents, [1] * half + [2] * half)


def _breaking(prompt: Any, guardrail: str, count: int) -> Iterator[int]:
    """Seeds whose reply gives the guardrail an occasion to be broken."""
    from halign.errors import HalignError
    from halign.worlds import care

    for seed in range(4 * count):
        try:
            care.break_guardrail(prompt, guardrail, seed)
        except HalignError:
            continue
        yield seed


def write(found: list[Row]) -> Path:
    """The rows as a JSONL file in the cache."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    file = cache_dir("benchmarks") / f"rows-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    if not file.exists():
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(text)
        partial.replace(file)
    return file


def model(workload: Workload) -> Path:
    """A folder with a Llama of 7 million parameters and a tokenizer trained on the workload; made once."""
    recipe = f"{MADE} {TEMPLATE} {workload} {source(workload)}"
    folder = cache_dir("benchmarks") / f"model-{workload}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not (folder / "tokenizer.json").exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        make_model(partial, _texts(workload))
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return folder


def _texts(workload: Workload) -> Iterator[str]:
    for row in _every_row(workload, guardrails=True):
        said: list[Row] = [*row["prompt"], *row.get("chosen", []), *row.get("responses", [])]
        yield from (m["content"] for m in said)


def make_model(folder: Path, texts: Iterable[str], template: str = TEMPLATE, **shape: int) -> None:
    """A fresh Llama of 7 million parameters and a byte-level BPE of at most ``VOCABULARY`` tokens learnt from the texts.

    Args:
        shape: of the model, where it is to be another, as ``LlamaConfig`` names it.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        sorted(set(texts)),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.chat_template = template
    torch.manual_seed(0)
    usual: dict[str, Any] = {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 768,
        "max_position_embeddings": 4096,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**usual, **shape},
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
