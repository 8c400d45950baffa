"""Sampling with vLLM in this process (``pip install halign[vllm]``; a GPU).

Written against vLLM's documented interface (``LLM.generate``, ``SamplingParams``, ``LoRARequest``, ``CompletionOutput``) and
tested against objects of that shape. It has not been run on vLLM itself: the machines it was written on have no GPU.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.sampling.endings import Reader
from halign.sampling.protocol import Progress, Sample
from halign.sampling.settings import Settings

_ENGINE = {"logprobs_mode": "processed_logprobs"}
"""Log-probabilities after temperature, top-k and top-p, which is what a token was drawn from."""


class VLLMSampler:
    """Samples with vLLM. Prompts go in as token ids, rendered as in training; ids and log-probabilities come out.

    Equal seeds give equal replies as far as vLLM does; they are not those of ``TransformersSampler``.

    Args:
        policy: a folder, run folder or hub name, or what ``halign.load`` returns, whose folder is read (what was trained
            since is not in it: save it first). A folder of LoRA adapters is put on its base by a LoRA request.
        prefix: words that replies are made to begin with; None: those the policy was trained for, "" for most.
        engine: a ready ``vllm.LLM``; None: one is made.
        options: further arguments of ``vllm.LLM`` (``dtype``, ``gpu_memory_utilization``, ``max_model_len`` ...).

    Raises:
        HalignError: vLLM is not installed, or there is no such model.
    """

    def __init__(self, policy: Any, *, prefix: str | None = None, engine: Any = None, **options: Any) -> None:
        self.vllm = _imported()
        folder = Path(str(getattr(policy, "path", policy)))
        if (folder / "model" / "config.json").exists() or (folder / "model" / "adapter_config.json").exists():
            folder = folder / "model"  # a run folder
        self.adapter = folder if (folder / "adapter_config.json").exists() else None
        adapter = _adapter(folder) if self.adapter else {}
        base = str(adapter["base_model_name_or_path"]) if adapter else str(folder)
        self.renderer = _renderer(policy, folder, base, prefix)
        lora = {"enable_lora": True, "max_lora_rank": adapter["r"]} if adapter else {}
        self.engine = engine or self.vllm.LLM(model=base, **{**_ENGINE, **lora, **options})

    def sample(
        self,
        prompts: Sequence[Dialogue],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 200,
        stop: Sequence[str] = (),
        seed: int = 0,
        logps: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Sample]]:
        """``n`` replies to each prompt, in the order of the prompts; see ``TransformersSampler.sample``. ``progress`` is
        called once, at the end.

        Raises:
            HalignError: a setting is out of range, a prompt cannot be rendered, or vLLM gave fewer replies than asked for.
        """
        settings = Settings(
            n=n,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_new_tokens=max_new_tokens,
            stop=stop,
            seed=seed,
            logps=logps,
        )
        ids = [{"prompt_token_ids": self.renderer.prompt(p).tolist()} for p in prompts]
        params = [self.params(settings, number) for number in range(len(ids))]
        made = self.engine.generate(ids, params, lora_request=self._lora(), use_tqdm=False) if ids else []
        reader = Reader(self.renderer.decode_response, stop)
        rows = []
        for answer in made:
            outputs = sorted(answer.outputs, key=lambda output: output.index)
            samples = [_sample(output, reader, logps, temperature == 0) for output in outputs]
            rows.append(samples * n if temperature == 0 else samples)
        if [len(row) for row in rows] != [n] * len(ids):
            raise HalignError(f"vLLM gave {sum(map(len, rows))} replies, {n * len(ids)} were asked for")
        if progress:
            progress(n * len(ids), n * len(ids))
        return rows

    def stream(self, prompt: Dialogue, **settings: Any) -> Iterator[str]:
        """One reply, as the other samplers' ``stream`` gives it, but in one piece. ``settings`` and errors as ``sample``."""
        ((reply,),) = self.sample([prompt], **settings)
        yield reply.text

    def params(self, settings: Settings, number: int) -> Any:
        """vLLM's ``SamplingParams`` for the prompt of this number. Greedy replies are asked for once: vLLM takes no other
        ``n`` then.
        """
        greedy = settings.temperature == 0
        return self.vllm.SamplingParams(
            n=1 if greedy else settings.n,
            temperature=settings.temperature,
            top_p=1.0 if greedy else settings.top_p,
            top_k=0 if greedy else settings.top_k,
            max_tokens=settings.max_new_tokens,
            stop=list(settings.stop) or None,
            stop_token_ids=sorted(self.renderer.stop_ids),
            ignore_eos=True,  # our stop ids alone end a reply
            seed=seed_of(settings.seed, number),
            logprobs=0 if settings.logps else None,  # the drawn token's own, no others
        )

    def _lora(self) -> Any:
        if self.adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest("halign", 1, str(self.adapter))


def seed_of(seed: int, number: int) -> int:
    """The seed of one prompt's request; vLLM gives its n replies seeds that follow on it."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _sample(output: Any, reader: Reader, logps: bool, greedy: bool) -> Sample:
    ids = list(output.token_ids)
    while reader.stop and len(ids) > 1 and reader.ends(ids[:-1]):
        ids.pop()  # behind the token that completed a stop string
    kept = None
    if logps:  # greedy is certain: log 1
        values = [0.0 if greedy else output.logprobs[at][token].logprob for at, token in enumerate(ids)]
        kept = np.asarray(values, dtype=np.float32)
    return Sample(reader.text(ids), np.asarray(ids, dtype=np.int32), output.finish_reason == "stop", kept)


def _imported() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise HalignError(
            f"vLLM cannot be imported ({error}): pip install 'halign[vllm]' on a machine with a GPU, or sample without "
            "--engine vllm; a vLLM server is asked with --endpoint"
        ) from error
    return vllm


def _adapter(folder: Path) -> dict[str, Any]:
    """What the configuration of LoRA adapters says.

    Raises:
        HalignError: they are of another kind, or do not say what they belong to.
    """
    found: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    if found.get("peft_type") != "LORA" or not found.get("base_model_name_or_path"):
        raise HalignError(
            f"{folder}: vLLM takes LoRA adapters that name their base model (base_model_name_or_path), not "
            f"{found.get('peft_type')}: halign merge makes a plain model of them"
        )
    return found


def _renderer(policy: Any, folder: Path, base: str, prefix: str | None) -> Any:
    """The renderer that goes with a policy, or with a folder of which only tokenizer and settings are read."""
    from transformers import AutoTokenizer, GenerationConfig

    from halign.models import read_rendering
    from halign.render import Renderer

    own = {} if prefix is None else {"response_prefix": prefix}
    if hasattr(policy, "tokenizer"):
        return Renderer(policy.tokenizer, **{"stop_ids": policy.stop_ids, **policy.rendering, **own})
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder) if folder.exists() else base)
    except (OSError, ValueError) as error:
        raise HalignError(f"no tokenizer could be loaded from {folder}: {error}") from error
    try:
        ends = GenerationConfig.from_pretrained(base).eos_token_id
    except OSError:  # a model without one
        ends = None
    ends = tokenizer.eos_token_id if ends is None else ends
    stop_ids = frozenset([ends] if isinstance(ends, int) else ends or ())
    return Renderer(tokenizer, **{"stop_ids": stop_ids, **read_rendering(folder), **own})
