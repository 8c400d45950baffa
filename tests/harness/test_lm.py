"""HalignLM against lm_eval's own Hugging Face class, request by request, and against passes by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from halign.errors import HalignError
from halign.models import Policy
from tests.harness.models import POLICIES, TEXTS

pytest.importorskip("lm_eval", reason="needs lm_eval (pip install 'halign[eval]')")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from halign.harness.lm import HalignLM


def asked(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=i, metadata=("none", i, 1))  # type: ignore[arg-type]
        for i, a in enumerate(arguments)
    ]


def both(policy: Policy, **options: Any) -> tuple[HalignLM, HFLM]:
    """Ours and theirs on the same weights. Theirs without its cache of logits, which reads the wrong positions where equal texts
    are cut at different places (lm_eval 0.4.13: the last test)."""
    theirs = HFLM(
        pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=3, logits_cache=False, **options
    )
    return HalignLM(policy, **options), theirs


SHOTS = "Q: refund? A: Yes\n\nQ: exchange? A: No\n\n"
EDGES = [
    *((f"{SHOTS}Q: {text}\nA:", choice) for text in TEXTS for choice in (" Yes", " No", " I am sorry")),
    ("", TEXTS[0]),
    ("", "a"),
    ("Thank you ", "today"),  # the space goes to the continuation
    ("Thank you\n\n", " today"),
    ("  ", "Hello"),
    ("Thank", " you"),
    ("I am s", "orry to hear"),  # cut within a word
    ("Thank you", " today"),
    ("Thank", " you today"),  # the same text, cut elsewhere
    ("Thank you", " today"),  # twice
    ("<|im_start|>Hello", ", how can I"),  # begins with a BOS (or a mere special token)
    ("<|im_end|>Hello", ", how can I"),
    ("Hello <|im_end|> and", " on<|im_start|> with"),
    ("Zürich, naïve: 今日", "は 🙂 ok"),
    (" ".join(TEXTS * 4), " delivery"),  # far too long: loses its beginning
    (" ".join(TEXTS * 4), " delivery number"),
    (" ".join(TEXTS) + " Hello", ", how can I help you today?"),
]


def by_hand(policy: Policy, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    with torch.no_grad():
        logits = policy.model(torch.tensor([context + continuation[:-1]])).logits[0]
    logps = logits.log_softmax(-1)[len(context) - 1 :]
    wanted = torch.tensor(continuation)
    total = float(logps[torch.arange(len(wanted)), wanted].double().sum())
    return total, bool((logps.argmax(-1) == wanted).all())


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("add_bos_token", [None, True, False])
def test_log_likelihoods_are_those_of_hf(name: str, add_bos_token: bool | None) -> None:
    ours, theirs = both(POLICIES[name](), add_bos_token=add_bos_token)
    assert (ours.max_length, ours.prefix_token_id) == (theirs.max_length, theirs.prefix_token_id)
    edges = EDGES
    if name == "plain" or add_bos_token is False:
        edges = [
            e for e in EDGES if e[0].strip() or not e[0]
        ]  # theirs has nothing to read after mere white space
    requests = asked("loglikelihood", *edges)
    mine = ours.loglikelihood(requests, disable_tqdm=True)
    other = theirs.loglikelihood(requests, disable_tqdm=True)
    for request, a, b in zip(requests, mine, other, strict=True):
        assert a[0] == pytest.approx(b[0], abs=1e-4), request.args
        assert a[1] is b[1], request.args
    assert len({round(a[0], 3) for a in mine}) > len(mine) // 2


@pytest.mark.parametrize("name", POLICIES)
def test_what_greedy_decoding_writes_is_greedy(name: str) -> None:
    policy = POLICIES[name]()
    ours, theirs = both(policy)
    ids = ours.tok_encode("My order")
    with torch.no_grad():
        for _ in range(6):
            ids = [*ids, int(policy.model(torch.tensor([ids])).logits[0, -1].argmax())]
    start = ours.tok_encode("My order")
    said = ids[len(start) :]
    other = [*said[:-1], (said[-1] + 1) % 300]
    tokens = [(("", ""), start, said), (("", ""), start, other), (("", ""), start + said[:3], said[3:])]
    mine = ours._loglikelihood_tokens(tokens, disable_tqdm=True)
    assert [greedy for _, greedy in mine] == [True, False, True]
    assert [g for _, g in theirs._loglikelihood_tokens(tokens, disable_tqdm=True)] == [True, False, True]
    for (logp, _), (_, context, continuation) in zip(mine, tokens, strict=True):
        assert logp == pytest.approx(by_hand(policy, context, continuation)[0], abs=1e-4)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("longest", [None, 1, 7])
def test_rolling_log_likelihoods_are_those_of_hf(name: str, longest: int | None) -> None:
    ours, theirs = both(POLICIES[name](), max_length=longest)
    room = ours.max_length
    word = " order"
    texts = [
        TEXTS[0],
        "a",
        " ".join(TEXTS * 5),
        *(word * n for n in (room - 1, room, room + 1, 2 * room, 2 * room + 1)),
    ]
    requests = asked("loglikelihood_rolling", *((t,) for t in texts if t))
    mine = ours.loglikelihood_rolling(requests, disable_tqdm=True)
    other = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    assert mine == pytest.approx(other, abs=2e-3, rel=2e-6)


@pytest.mark.parametrize("name", POLICIES)
def test_replies_are_those_of_hf(name: str) -> None:
    ours, theirs = both(POLICIES[name]())
    contexts = [*TEXTS, " ".join(TEXTS * 4), "Hello", "Hello"]
    wanted: list[dict[str, Any]] = [
        {"until": [], "max_gen_toks": 12},
        {"until": ["e", "\n\n"], "max_gen_toks": 12, "do_sample": False},
        {"until": "<|im_end|>", "max_gen_toks": 5, "temperature": 0.0},
    ]
    requests = asked("generate_until", *((c, dict(w)) for c in contexts for w in wanted))
    mine = ours.generate_until(requests, disable_tqdm=True)
    other = theirs.generate_until(
        asked("generate_until", *((c, dict(w)) for c in contexts for w in wanted)), disable_tqdm=True
    )
    assert mine == other
    assert len(set(mine)) > 6


def test_settings_of_generation_that_are_not_understood_are_errors() -> None:
    ours = HalignLM(POLICIES["plain"]())
    with pytest.raises(HalignError, match="num_beams"):
        ours.generate_until(asked("generate_until", ("a", {"until": [], "num_beams": 4})), disable_tqdm=True)
    with pytest.raises(HalignError, match="max_gen_toks = 96"):
        ours.generate_until(asked("generate_until", ("a", {"max_gen_toks": 96})), disable_tqdm=True)


def test_continuations_that_cannot_be_scored_are_errors() -> None:
    ours = HalignLM(POLICIES["plain"]())
    with pytest.raises(HalignError, match="nothing to score"):
        ours.loglikelihood(asked("loglikelihood", ("a", "")), disable_tqdm=True)
    with pytest.raises(HalignError, match="96"):
        ours.loglikelihood(asked("loglikelihood", ("a", " order" * 97)), disable_tqdm=True)
    whole = ours.loglikelihood(asked("loglikelihood", ("a", " order" * 96)), disable_tqdm=True)
    assert whole[0][0] < 0


def test_where_their_cache_of_logits_is_off() -> None:
    """One text cut at two places: theirs takes the shorter continuation's logits from the longer one's beginning. Should a later
    lm_eval give equal numbers here, ``both`` may leave the cache on."""
    policy = POLICIES["plain"]()
    cached = HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=3)
    cuts = asked("loglikelihood", ("Thank", " you today"), ("Thank you", " today"))
    mine = HalignLM(policy).loglikelihood(cuts, disable_tqdm=True)
    other = cached.loglikelihood(cuts, disable_tqdm=True)
    assert mine[0][0] == pytest.approx(other[0][0], abs=1e-4)
    assert abs(mine[1][0] - other[1][0]) > 0.1
    encode = policy.tokenizer.encode
    assert mine[1] == pytest.approx(
        by_hand(policy, encode("Thank you"), encode("Thank you today")[len(encode("Thank you")) :]), abs=1e-4
    )
