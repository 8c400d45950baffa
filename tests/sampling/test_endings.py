"""Stop strings and streams, on a model that writes whatever it likes."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.models import Policy
from halign.sampling import TransformersSampler
from halign.sampling.endings import Reader, cut
from tests.conftest import make_llama, make_tokenizer

ASKED = [Dialogue.of([{"role": "user", "content": text}]) for text in ("Hello", "My order, please")]


@pytest.fixture(scope="module")
def sampler() -> TransformersSampler:
    tokenizer = make_tokenizer()
    return TransformersSampler(Policy(make_llama(tokenizer).eval(), tokenizer))


def test_a_reply_ends_at_a_stop_string_and_keeps_the_token_that_completed_it(
    sampler: TransformersSampler,
) -> None:
    plain = sampler.sample(ASKED, n=4, max_new_tokens=40, seed=3, logps=True)
    decode = sampler.renderer.decode_response
    stop = next(  # two characters that some reply has in its middle, of two tokens
        text[k : k + 2]
        for row in plain
        for text in (decode(s.ids) for s in row)
        for k in range(10, len(text) - 5)
        if text[k : k + 2].isalpha() and text[k : k + 2].isascii()
    )
    stopped = sampler.sample(ASKED, n=4, max_new_tokens=40, seed=3, logps=True, stop=[stop, "never there"])
    cut_short = 0
    for whole, short in zip(chain(*plain), chain(*stopped), strict=True):
        text = decode(whole.ids)
        if stop not in text:
            assert short.ids.tolist() == whole.ids.tolist()
            assert (short.text, short.finished) == (whole.text, whole.finished)
            continue
        cut_short += 1
        needed = next(k for k in range(1, len(whole.ids) + 1) if stop in decode(whole.ids[:k]))
        assert short.ids.tolist() == whole.ids[:needed].tolist()
        assert short.text == text[: text.index(stop)].strip()
        assert short.finished
        assert short.logps.tolist() == pytest.approx(whole.logps[:needed].tolist(), abs=1e-5)
    assert cut_short


@pytest.mark.parametrize("stop", ["##", [""]])
def test_wrong_stop_strings_are_refused(sampler: TransformersSampler, stop: Any) -> None:
    with pytest.raises(HalignError, match="stop"):
        sampler.sample(ASKED, stop=stop)


@pytest.mark.parametrize("stop", [(), ("e", "or", "the ")])
def test_a_stream_is_the_reply_in_pieces(sampler: TransformersSampler, stop: tuple[str, ...]) -> None:
    several = 0
    for seed in range(6):
        settings: dict[str, Any] = {"seed": seed, "max_new_tokens": 30, "stop": stop, "temperature": 0.9}
        pieces = list(sampler.stream(ASKED[1], **settings))
        ((whole,),) = sampler.sample([ASKED[1]], **settings)
        assert "".join(pieces) == whole.text
        several += len(pieces) > 3
    assert stop or several >= 4  # it comes as it is written


def test_what_is_sure_of_a_reply() -> None:
    """Letters as tokens; a space before a full stop goes, as some tokenizers clean up."""
    words = ["wait", " ", "#", "#", " on", " ", ".", "\ufffd"]

    def decode(ids: Any) -> str:
        return "".join(words[i] for i in ids).replace(" .", ".")

    reader = Reader(decode, ["##"])
    assert reader.sure([0]) == ""  # the last token may change with the next
    assert reader.sure([0, 1]) == "wait"
    assert reader.sure([0, 1, 2]) == "wait"  # space at the end may be stripped
    assert reader.sure([0, 2, 4]) == "wait"  # '#' may become '##' if ' on' changes
    assert reader.sure([0, 2, 4, 5]) == "wait# on"
    assert reader.sure([0, 2, 1]) == "wait"  # '#' may become '##'
    assert reader.sure([0, 4, 5, 6]) == "wait on"
    assert reader.sure([0, 7, 1]) == "wait"
    assert reader.ends([0, 2, 3])
    assert reader.text([0, 1, 2, 3]) == "wait"
    assert cut("abc", ["c", "b"]) == "a"
