"""What goes to vLLM and what is made of its outputs, against objects shaped as its documentation says. Not run on vLLM."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.sampling.vllm import VLLMSampler, seed_of

ASKED = [Dialogue.of([{"role": "user", "content": text}]) for text in ("Hello", "My order")]


@dataclass
class SamplingParams:
    """The documented fields that are used; another is a TypeError."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    logprobs: int | None = None


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: Any
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class LLM:
    """Answers every prompt with the replies of ``said``, in reversed order of their index."""

    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    said: list[tuple[list[int], str]] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def generate(self, prompts: Any, sampling_params: Any, *, lora_request: Any, use_tqdm: bool) -> list[Any]:
        self.calls.append((prompts, sampling_params, lora_request))
        made = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            outputs = []
            for index, (ids, reason) in enumerate(self.said[: params.n]):
                values = [{t: SimpleNamespace(logprob=-0.5 * (k + 1)), 999: None} for k, t in enumerate(ids)]
                given = values if params.logprobs is not None else None
                outputs.append(CompletionOutput(index, "", ids, None, given, reason))
            made.append(SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=outputs[::-1]))
        return made


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module, lora, request = (ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request"))
    module.SamplingParams = SamplingParams  # type: ignore[attr-defined]
    module.LLM = lambda model, **options: LLM(model, options)  # type: ignore[attr-defined]
    request.LoRARequest = LoRARequest  # type: ignore[attr-defined]
    for found in (module, lora, request):
        monkeypatch.setitem(sys.modules, found.__name__, found)
    return module


def test_prompts_go_in_as_ids_and_ids_come_out(vllm: ModuleType, policy_folder: Any) -> None:
    sampler = VLLMSampler(policy_folder)
    tokenizer, stop = sampler.renderer.tokenizer, min(sampler.renderer.stop_ids)
    replies = [[*tokenizer.encode("Yes"), stop], tokenizer.encode("refund")]
    sampler.engine.said = [(replies[0], "stop"), (replies[1], "length")]
    seen: list[tuple[int, int]] = []
    rows = sampler.sample(
        ASKED,
        n=2,
        temperature=0.7,
        top_p=0.9,
        top_k=5,
        max_new_tokens=9,
        seed=3,
        logps=True,
        progress=lambda *p: seen.append(p),
    )
    ((prompts, params, lora),) = sampler.engine.calls
    assert [p["prompt_token_ids"] for p in prompts] == [sampler.renderer.prompt(a).tolist() for a in ASKED]
    assert params[1] == SamplingParams(
        n=2,
        temperature=0.7,
        top_p=0.9,
        top_k=5,
        seed=seed_of(3, 1),
        stop_token_ids=[stop],
        ignore_eos=True,
        max_tokens=9,
        logprobs=0,
    )
    assert params[0].seed != params[1].seed
    assert lora is None
    assert sampler.engine.model == str(policy_folder)
    assert sampler.engine.options == {"logprobs_mode": "processed_logprobs"}
    for row in rows:
        assert [s.ids.tolist() for s in row] == replies
        assert [s.text for s in row] == ["Yes", "refund"]
        assert [s.finished for s in row] == [True, False]
        for sample in row:
            assert np.allclose(sample.logps, -0.5 * np.arange(1, len(sample.ids) + 1))
    assert seen == [(4, 4)]


def test_greedy_is_asked_once_and_stop_strings_are_cut(
    vllm: ModuleType, policy: Any, policy_folder: Any
) -> None:
    policy.path = str(policy_folder)
    sampler = VLLMSampler(policy, max_model_len=64)
    ids = sampler.renderer.tokenizer.encode("Hello, how can I help")
    sampler.engine.said = [(ids, "stop")]
    ((one, two),) = sampler.sample(ASKED[:1], n=2, temperature=0, top_p=0.5, stop=[", how"], logps=True)
    ((_, (params,), _),) = sampler.engine.calls
    assert (params.n, params.temperature, params.top_p, params.stop) == (1, 0, 1.0, [", how"])
    assert sampler.engine.options["max_model_len"] == 64
    decode = sampler.renderer.tokenizer.decode
    needed = next(k for k in range(1, len(ids) + 1) if ", how" in decode(ids[:k]))
    assert one.ids.tolist() == two.ids.tolist() == ids[:needed]
    assert one.text == "Hello"
    assert one.logps is not None
    assert one.logps.tolist() == [0.0] * needed
    assert list(sampler.stream(ASKED[0], temperature=0)) == ["Hello, how can I help"]


def test_adapters_are_put_on_their_base(vllm: ModuleType, policy_folder: Any, tmp_path: Any) -> None:
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    settings = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": str(policy_folder)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    for file in policy_folder.iterdir():
        if "token" in file.name or "template" in file.name:
            (folder / file.name).write_bytes(file.read_bytes())
    sampler = VLLMSampler(tmp_path / "run")
    sampler.engine.said = [([5], "length")]
    sampler.sample(ASKED[:1])
    assert sampler.engine.model == str(policy_folder)
    assert sampler.engine.options["enable_lora"] is True
    assert sampler.engine.options["max_lora_rank"] == 4
    assert sampler.engine.calls[0][2] == LoRARequest("halign", 1, str(folder))
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "peft_type": "PREFIX_TUNING"}))
    with pytest.raises(HalignError, match="halign merge"):
        VLLMSampler(folder)


def test_without_vllm_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(HalignError, match=r"halign\[vllm\]"):
        VLLMSampler("nowhere")


def test_too_few_replies_are_an_error(vllm: ModuleType, policy_folder: Any) -> None:
    sampler = VLLMSampler(policy_folder)
    sampler.engine.said = [([5], "length")]
    with pytest.raises(HalignError, match="1 replies, 2 were asked for"):
        sampler.sample(ASKED[:1], n=2)
