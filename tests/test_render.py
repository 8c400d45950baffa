"""Rendering against independent paths: ``apply_chat_template(tokenize=True)`` and hand-made token lists."""

from __future__ import annotations

import copy
import random
from array import array
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import regex

from halign.dialogue import Dialogue, Message
from halign.encoding import Encoder
from halign.errors import HalignError
from halign.examples import Alternative, Conversation, Demonstration, Preference, Ranking, Rating
from halign.render import Renderer
from halign.template import ChatTemplate
from halign.words import PIECES, WORD_PATTERNS, Words
from tests.templates import FAMILIES, TEXT, tokenizer

KINDS = ("gpt2", "qwen", "metaspace", "legacy")

USER1 = {"role": "user", "content": "Hello, I'd like to return it."}
AGENT1 = {"role": "assistant", "content": "Of course!  When did you order it?\n"}
USER2 = {"role": "user", "content": "On Monday – “really”.\n\n 12345"}
AGENT2 = {"role": "assistant", "content": "It's fine, thanks."}
PROMPT = [USER1, AGENT1, USER2]


def encoded(tok, messages, **arguments):
    return tok.apply_chat_template(messages, tokenize=True, return_dict=False, **arguments)


def turns(n: int) -> list[dict[str, str]]:
    """n exchanges, all different."""
    return [
        m
        for i in range(n)
        for m in (
            {"role": "user", "content": f"Where is order {i}?"},
            {"role": "assistant", "content": f"Order {i} is on its way to you."},
        )
    ]


# -- prompt and response


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_is_what_apply_chat_template_gives(family, kind):
    tok = tokenizer(family, kind)
    renderer = Renderer(tok, response_body=True)
    for messages in ([USER1], PROMPT, turns(6)[:-1]):
        expected = encoded(tok, messages, add_generation_prompt=True)
        assert renderer.prompt(Dialogue.of(messages)).tolist() == expected
        path = renderer.path(Dialogue.of(messages), Message.of(AGENT2))
        assert path.prompt.tolist() == expected
    assert path.prompt.dtype == path.response.dtype == np.int32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"r1", "no_end"}))
def test_prompt_and_response_make_the_whole_up_to_its_end_of_turn(family, kind):
    """With a token boundary between the two, separate encoding gives the tokens of the whole rendering."""
    tok = tokenizer(family, kind)
    path = Renderer(tok).path(Dialogue.of(PROMPT), Message.of(AGENT2))
    whole = encoded(tok, [*PROMPT, AGENT2])
    n = len(path.ids)
    assert path.ids.tolist() == whole[:n]
    assert whole[n - 1] == tok.eos_token_id
    assert tok.decode(whole[n:]).strip() == ""  # what was cut is white space
    assert tok.eos_token_id not in path.response[:-1]


def test_chatml_by_hand():
    """<|im_start|>user⏎Hello<|im_end|>⏎<|im_start|>assistant⏎ | Hi there<|im_end|>, and no ⏎ after it."""
    tok = tokenizer("chatml")
    start, end = tok.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])

    def plain(text):
        return tok.backend_tokenizer.encode(text, add_special_tokens=False).ids

    path = Renderer(tok).path(
        Dialogue.of([{"role": "user", "content": "Hello"}]), Message("assistant", "Hi there")
    )
    assert path.prompt.tolist() == [
        start, *plain("user\nHello"), end, *plain("\n"), start, *plain("assistant\n")
    ]  # fmt: skip
    assert path.response.tolist() == [*plain("Hi there"), end]
    assert path.loss_mask is None


def test_response_is_cut_after_its_last_stop_token():
    tok = tokenizer("chatml")
    end = tok.eos_token_id
    path = Renderer(tok).path(Dialogue.of([USER1]), Message("assistant", "one<|im_end|>two"))
    assert [i for i, t in enumerate(path.response) if t == end][-1] == len(path.response) - 1
    assert (path.response == end).sum() == 2
    other = Renderer(tok, stop_ids={tok.pad_token_id}).path(Dialogue.of([USER1]), Message("assistant", "one"))
    assert (
        tok.decode(other.response) == "one<|im_end|>\n"
    )  # no stop token: nothing is cut, the preflight speaks


def test_qwen3_drops_old_reasoning_and_keeps_the_last():
    tok = tokenizer("qwen3", "qwen")
    old = {"role": "assistant", "content": "<think>\nold thoughts\n</think>\n\nWhen?"}
    new = Message("assistant", "<think>\nnew thoughts\n</think>\n\nFine.")
    renderer = Renderer(tok)
    path = renderer.path(Dialogue.of([USER1, old, USER2]), new)
    assert "old thoughts" not in tok.decode(path.prompt)
    assert tok.decode(path.response) == "<think>\nnew thoughts\n</think>\n\nFine.<|im_end|>"
    # As a demonstration, each turn is rendered as when it was the last one.
    first, second = renderer.items(Demonstration(Dialogue.of([USER1, old, USER2]) + new, "c"), "tokens")
    assert "old thoughts" in tok.decode(first.paths[0].response)
    assert second.paths[0].ids.tolist() == path.ids.tolist()
    quiet = Renderer(tok, template_args={"enable_thinking": False})
    path = quiet.path(Dialogue.of([USER1]), Message("assistant", "Fine."))
    assert tok.decode(path.prompt).endswith("<think>\n\n</think>\n\n")
    assert tok.decode(path.response) == "Fine.<|im_end|>"
    assert quiet.prompt(Dialogue.of([USER1])).tolist() == path.prompt.tolist()


def test_r1_stops_and_shows_the_difference():
    tok = tokenizer("r1")
    with pytest.raises(HalignError) as caught:
        Renderer(tok).path(Dialogue.of([USER1]), Message("assistant", "Fine."))
    message = str(caught.value)
    assert "do not meet" in message
    assert "response_body=true" in message
    assert "'<think>\\n'" in message  # what the prompt has
    assert "'Fine.<|end_of_sentence|>'" in message  # what the answered dialogue has there


def test_r1_with_the_response_body():
    tok = tokenizer("r1")
    renderer = Renderer(tok, response_body=True)
    path = renderer.path(Dialogue.of([USER1]), Message("assistant", "Fine."))
    assert tok.decode(path.prompt).endswith("<|Assistant|><think>\n")
    assert tok.decode(path.response) == "Fine.<|end_of_sentence|>"
    path = renderer.path(Dialogue.of([USER1]), Message("assistant", "thoughts</think>Fine."))
    assert tok.decode(path.response) == "Fine.<|end_of_sentence|>"  # the body as this template renders it


@pytest.mark.parametrize("adds_bos", [False, True])
def test_at_most_one_bos(adds_bos):
    tok = tokenizer("bos_chatml", adds_bos=adds_bos)
    path = Renderer(tok).path(Dialogue.of(PROMPT), Message.of(AGENT2))
    assert (path.ids == tok.bos_token_id).sum() == 1
    assert path.prompt[0] == tok.bos_token_id


@pytest.mark.parametrize("family", ["chatml", "mistral", "gpt_oss", "qwen3", "llama3"])
def test_decode_response_gives_back_what_was_said(family):
    tok = tokenizer(family)
    renderer = Renderer(tok)
    path = renderer.path(Dialogue.of([USER1]), Message.of(AGENT2))
    assert renderer.decode_response(path.response) == AGENT2["content"]
    padded = [*path.response.tolist(), tok.pad_token_id, tok.pad_token_id]
    assert renderer.decode_response(padded) == AGENT2["content"]
    assert renderer.decode_response(path.response[:-1]) == AGENT2["content"]  # cut off before its end


# -- other roles, raw text


def test_user_turns_teach_body_and_end_of_turn():
    tok = tokenizer("chatml")
    items = Renderer(tok, roles=("user", "assistant")).items(
        Demonstration(Dialogue.of(PROMPT), "c"), "tokens"
    )
    assert [i.turn for i in items] == [0, 1, 2]
    responses = [tok.decode(i.paths[0].response) for i in items]
    assert responses == [m["content"] + "<|im_end|>" for m in PROMPT]
    assert tok.decode(items[0].paths[0].prompt) == "<|im_start|>user\n"
    assert items[2].paths[0].ids.tolist() == encoded(tok, PROMPT)[:-1]  # all but the last ⏎


def test_a_dialogue_may_begin_with_the_agent():
    tok = tokenizer("chatml")
    (item,) = Renderer(tok).items(Demonstration(Dialogue.of([AGENT1]), "c"), "tokens")
    assert tok.decode(item.paths[0].prompt) == "<|im_start|>assistant\n"
    assert tok.decode(item.paths[0].response) == AGENT1["content"] + "<|im_end|>"


@pytest.mark.parametrize("kind", KINDS)
def test_raw_text(kind):
    tok = tokenizer("bos_chatml", kind, adds_bos=True)
    bos, eos = tok.bos_token_id, tok.eos_token_id
    path = Renderer(tok).path(Dialogue.of("Hello, how"), Message("raw", " can I help"))
    assert path.prompt.tolist() == tok("Hello, how")["input_ids"]
    if kind == "legacy":  # this one's tokens span words; what matters is that no second space appears
        assert "".join(tok.convert_ids_to_tokens(path.ids[1:-1])) == "▁Hello,▁how▁can▁I▁help"
    else:
        assert path.ids.tolist() == [*tok("Hello, how can I help")["input_ids"], eos]
    (item,) = Renderer(tok).items(Demonstration(Dialogue.of("Hello, how can I"), "c"), "tokens")
    assert item.paths[0].prompt.tolist() == [bos]
    assert item.paths[0].ids.tolist() == [*tok("Hello, how can I")["input_ids"], eos]


def test_raw_text_without_bos_begins_after_its_first_token():
    tok = tokenizer("chatml")
    (item,) = Renderer(tok).items(Demonstration(Dialogue.of("Hello, how can I"), "c"), "tokens")
    ids = [*tok("Hello, how can I")["input_ids"], tok.eos_token_id]
    assert (item.paths[0].prompt.tolist(), item.paths[0].response.tolist()) == (ids[:1], ids[1:])


# -- examples -> items


def test_items_carry_what_examples_know():
    renderer = Renderer(tokenizer("chatml"))
    prompt, a, b, c = Dialogue.of(PROMPT), *(Message("assistant", t) for t in ("Yes.", "No.", "Maybe."))
    (pair,) = renderer.items(
        Preference(prompt, a, b, "x", preference=0.8, chosen_win_rate=0.6, weight=2.0), "pairs"
    )
    assert pair.values == {"preference": 0.8, "chosen_win_rate": 0.6}
    assert (pair.kind, pair.conversation, pair.weight, pair.turn, len(pair.paths)) == (
        "pairs",
        "x",
        2.0,
        3,
        2,
    )
    assert pair.paths[0].prompt is pair.paths[1].prompt
    assert [renderer.decode_response(p.response) for p in pair.paths] == ["Yes.", "No."]
    (chosen,) = renderer.items(Preference(prompt, a, b, "x"), "tokens")
    assert [renderer.decode_response(p.response) for p in chosen.paths] == ["Yes."]
    (ranking,) = renderer.items(Ranking(prompt, (a, b, c), (1, 2, 2), "x", scores=(0.9, 0.1, 0.1)), "lists")
    assert ranking.values == {"ranks": (1.0, 2.0, 2.0), "rewards": (0.9, 0.1, 0.1)}
    assert len(ranking.paths) == 3
    (single,) = renderer.items(Rating(prompt, b, False, "x", score=2.0), "singles")
    assert single.values == {"desirable": False, "rewards": (2.0,)}
    with pytest.raises(HalignError, match="Rating cannot become pairs"):
        renderer.items(Rating(prompt, b, False, "x"), "pairs")
    assert (renderer.report.items, renderer.report.paths) == (4, 7)


def test_demonstrations_and_conversations_give_one_item_per_agent_turn():
    renderer = Renderer(tokenizer("chatml"))
    dialogue = Dialogue.of([*PROMPT, AGENT2])
    items = renderer.items(Demonstration(dialogue, "x"), "tokens")
    assert [i.turn for i in items] == [1, 3]
    said = Conversation(dialogue, "x", {3: (Alternative(Message("assistant", "No!"), rank=2),)})
    assert [i.paths[0].ids.tolist() for i in renderer.items(said, "tokens")] == [
        i.paths[0].ids.tolist() for i in items
    ]
    assert [i.turn for i in renderer.items(Demonstration(dialogue, "x", turns=(3,)), "tokens")] == [3]


# -- guardrails, system messages, tools


def test_guardrails_enter_the_system_message():
    tok = tokenizer("chatml")
    rules = ("Never promise a refund.", "Be brief.")
    system = {"role": "system", "content": "You sell shoes."}
    text = "Follow these guardrails:\n- Never promise a refund.\n- Be brief."
    renderer = Renderer(tok)
    for messages, content in (([USER1], text), ([system, USER1], "You sell shoes.\n\n" + text)):
        expected = [{"role": "system", "content": content}, USER1]
        dialogue = Dialogue.of(messages, guardrails=rules)
        assert renderer.prompt(dialogue).tolist() == encoded(tok, expected, add_generation_prompt=True)
        assert (
            renderer.path(dialogue, Message.of(AGENT2)).prompt.tolist() == renderer.prompt(dialogue).tolist()
        )
    own = Renderer(tok, guardrail_template="{% for g in guardrails %}[{{ g }}]{% endfor %}")
    assert "[Never promise a refund.][Be brief.]" in tok.decode(
        own.prompt(Dialogue.of([USER1], guardrails=rules))
    )
    assert own.settings["guardrail_template"].startswith("{% for g")


def test_template_without_system_role():
    tok = tokenizer("gemma")
    dialogue = Dialogue.of(PROMPT, guardrails=("Be brief.",))
    with pytest.raises(HalignError, match="System role not supported"):
        Renderer(tok).prompt(dialogue)
    renderer = Renderer(tok, system_role="user")
    first = {"role": "user", "content": "Follow these guardrails:\n- Be brief.\n\n" + USER1["content"]}
    expected = encoded(tok, [first, AGENT1, USER2], add_generation_prompt=True)
    assert renderer.prompt(dialogue).tolist() == expected


def test_refused_dialogues_are_left_out_and_counted():
    renderer = Renderer(tokenizer("gemma"))
    assert (
        renderer.items(
            Preference(Dialogue.of([USER1, USER2]), Message.of(AGENT1), Message.of(AGENT2), "c7"), "pairs"
        )
        == []
    )
    assert renderer.report.left_out == {"refused by the template": 1}
    assert "c7" in str(renderer.report.errors[0])
    assert "roles must alternate" in str(renderer.report.errors[0])


def test_tools_and_arguments_reach_the_template():
    tok = tokenizer("extras")
    tools = ({"type": "function", "function": {"name": "look<up>", "description": "é", "parameters": {}}},)
    expected = encoded(tok, PROMPT, tools=list(tools), add_generation_prompt=True)
    dialogue = Dialogue.of(PROMPT, tools=tools)
    assert Renderer(tok).prompt(dialogue).tolist() == expected
    assert "look<up>" in tok.decode(Renderer(tok).path(dialogue, Message.of(AGENT2)).prompt)


def test_extra_message_fields_reach_the_template():
    tok = tokenizer("gpt_oss")
    reply = Message("assistant", "Fine.", {"thinking": "hm"})
    path = Renderer(tok).path(Dialogue.of([USER1]), reply)
    assert tok.decode(path.response) == (
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Fine.<|return|>"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_rendered_text_equals_apply_chat_template(family):
    """The fast way, beyond its first texts, where it no longer compares itself."""
    tok = tokenizer(family)
    template = ChatTemplate(tok, {"custom": "x"})
    rng = random.Random(0)
    for _ in range(20):
        messages = [
            {**m, "content": rng.choice(TEXT)} for m in turns(rng.randint(1, 4))[: rng.choice([None, -1])]
        ]
        for generate in (False, True):
            expected = tok.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generate, custom="x"
            )
            assert template.render([Message.of(m) for m in messages], generate=generate) == expected
    assert template._compiled is not None
    assert template._compared == 8


TWO_TURNS = [Message("user", "hi"), Message("assistant", "ho")]


@pytest.mark.parametrize(
    "body",
    [
        "{{ loop.__init__ }}|{{ loop.__init__.__globals__ }}",
        "{{ m.__class__ }}|{{ m.__class__.__mro__ }}",
        "{{ m.update({'role': 'x'}) }}",
        "{{ messages.append(1) }}",
        "{{ loop.first }} {{ loop.last }} {{ loop.index }} {{ loop.index0 }} {{ loop.length }}",
        "{{ m.role }} {{ m.nothing is defined }} {{ m.get('role') }} {{ m.items()|list|length }}",
    ],
)
def test_quick_attributes_give_and_refuse_what_the_sandbox_does(body):
    model = copy.deepcopy(tokenizer("chatml"))  # the family's is shared
    model.chat_template = "{% for m in messages %}" + body + ";{% endfor %}"
    template = ChatTemplate(model, {})
    outcomes = []
    for render in (lambda: template._fast(TWO_TURNS, False), lambda: template._slow(TWO_TURNS, (), False)):
        try:
            outcomes.append(render())
        except Exception as error:
            outcomes.append(f"{type(error).__name__}: {error}")
    assert outcomes[0] == outcomes[1]
    if "role }" in body:
        assert outcomes[0] == "user False user 2;assistant False assistant 2;"
    if "__" in body or "update" in body or "append" in body:
        assert outcomes[0].strip("|;") == "" or "SecurityError" in outcomes[0]


def test_template_errors_name_the_roles():
    template = ChatTemplate(tokenizer("extras"), {})
    with pytest.raises(HalignError, match=r"\(user, nobody\): nobody speaks"):
        template.render([Message("user", "x"), Message("nobody", "y")])


# -- truncation


def test_truncation_drops_whole_old_turns_and_keeps_guardrails():
    tok = tokenizer("chatml")
    messages = turns(12)
    dialogue = Dialogue.of(messages, guardrails=("Be brief.",))
    full = Renderer(tok).prompt(dialogue[:23])
    renderer = Renderer(tok, max_length=len(full) // 2)
    path = renderer.path(dialogue[:23], Message.of(messages[23]))
    assert len(path) <= renderer.max_length
    system = {"role": "system", "content": "Follow these guardrails:\n- Be brief."}
    kept = [
        i
        for i in range(0, 23, 2)
        if encoded(tok, [system, *messages[i:23]], add_generation_prompt=True) == path.prompt.tolist()
    ]
    assert len(kept) == 1
    assert renderer.report.dropped_turns == kept[0] > 0
    assert renderer.report.truncated == 1
    assert tok.decode(path.response) == messages[23]["content"] + "<|im_end|>"
    assert renderer.prompt(dialogue[:23]).tolist() == path.prompt.tolist()


def test_the_cut_moves_in_blocks_so_that_neighbours_share():
    tok = tokenizer("chatml")
    dialogue = Dialogue.of(turns(40))
    limit = 300
    renderer = Renderer(tok, max_length=limit)
    items = renderer.items(Demonstration(dialogue, "c"), "tokens")
    starts = []
    for item in items:
        text = tok.decode(item.paths[0].prompt)
        starts.append(int(regex.search(r"Where is order (\d+)", text)[1]))
        assert item.tokens <= limit
    assert starts == sorted(starts)
    assert starts[-1] > 0
    steps = sorted(set(starts))
    assert len(steps) < len(starts) / 3  # a staircase, not a slope
    for a, b in pairwise(steps[1:]):  # each step drops about half a window
        dropped = sum(len(tok(m["content"])["input_ids"]) + 4 for m in turns(40)[2 * a : 2 * b])
        assert limit // 2 - 40 <= dropped <= limit // 2 + 40
    assert len(items) == 40


def test_all_responses_of_an_item_share_one_cut():
    tok = tokenizer("chatml")
    prompt = Dialogue.of(turns(6)[:-1])
    n = len(Renderer(tok).prompt(prompt))
    renderer = Renderer(tok, max_length=n + 10)
    short, long = (
        Message("assistant", "Ok."),
        Message("assistant", "This is a rather long reply, is it not? " * 2),
    )
    (item,) = renderer.items(Preference(prompt, short, long, "c"), "pairs")
    assert item.paths[0].prompt is item.paths[1].prompt
    assert len(item.paths[0].prompt) < n
    assert max(map(len, item.paths)) <= n + 10
    assert len(renderer.path(prompt, short).prompt) == n
    roomy = Renderer(tok, max_length=n + 10, response_room=60)
    assert len(roomy.prompt(prompt)) + 60 <= n + 10
    assert roomy.prompt(prompt).tolist() == roomy.path(prompt, short).prompt.tolist()


def test_what_does_not_fit_is_left_out_and_named():
    tok = tokenizer("chatml")
    prompt = Dialogue.of([USER1])
    exact = len(Renderer(tok).path(prompt, Message.of(AGENT2)))
    assert Renderer(tok, max_length=exact).path(prompt, Message.of(AGENT2)) is not None
    renderer = Renderer(tok, max_length=exact - 1)
    assert renderer.path(prompt, Message.of(AGENT2)) is None
    assert (
        renderer.items(Preference(prompt, Message.of(AGENT2), Message("assistant", "No."), "c9"), "pairs")
        == []
    )
    assert renderer.report.left_out == {"too long": 1}
    assert "c9" in str(renderer.report.errors[0])
    with pytest.raises(HalignError, match="max_length is 5"):
        Renderer(tok, max_length=5).prompt(prompt)


# -- encoding

# fmt: off
ODD = ["<|im_end|>", "<|im_start|>", " ", "  ", "\n", "\t", "\u00e9", "e\u0301", "\u00a0", "\u017f",
       "\u2019s", "'S", "ab", "B", "9", "123", ".", "!", "\u540d", "\u200d", "\U0001f642"]
# fmt: on


@pytest.mark.parametrize("kind", KINDS)
def test_segments_and_words_encode_as_the_whole(kind, monkeypatch):
    """Random strings of awkward characters; the encoder's own comparison is switched off."""
    monkeypatch.setattr("halign.encoding.CHECKED_FIRST", 0)
    monkeypatch.setattr("halign.encoding.CHECKED_EVERY", 10**9)
    tok = tokenizer("chatml", kind)
    encoder = Encoder(tok)
    assert encoder.segmented
    assert encoder.wordwise == (kind in ("gpt2", "qwen"))
    rng = random.Random(1)
    for _ in range(1500):
        text = "".join(rng.choice(ODD) for _ in range(rng.randint(0, 14)))
        assert encoder.encode(text).tolist() == tok(text, add_special_tokens=False)["input_ids"], repr(text)


@pytest.mark.parametrize("pattern", WORD_PATTERNS)
def test_words_are_cut_only_where_the_pre_tokenizers_cut(pattern):
    rng, pre = random.Random(2), regex.compile(pattern)
    for _ in range(5000):
        text = "".join(rng.choice([*ODD, "\r", "'", "\x1c", "\u0301"]) for _ in range(rng.randint(0, 10)))
        words = PIECES.findall(text)
        assert "".join(words) == text
        assert [t for w in words for t in pre.findall(w)] == pre.findall(text), repr(text)


@pytest.mark.parametrize("pattern", WORD_PATTERNS)
def test_words_join_to_the_pre_tokens_of_the_whole(pattern):
    """With pre-tokens for ids: what is looked up word by word is what the pattern finds in the whole text."""
    rng, pre, known = random.Random(3), regex.compile(pattern), {}

    def fresh(text):
        return b"".join(array("i", [known.setdefault(t, len(known))]).tobytes() for t in pre.findall(text))

    class Model:
        def tokenize(self, text):
            return [
                SimpleNamespace(id=known.setdefault(t, len(known)))
                for t in pre.findall(text.replace("Ġ", " "))
            ]

    words = Words(Model(), fresh)
    for _ in range(5000):
        text = "".join(
            rng.choice([*ODD, " ", " ", "\r", "'", "\x1c", "\u0301"]) for _ in range(rng.randint(1, 12))
        )
        assert words.encode(text) == fresh(text), repr(text)


def test_a_tokenizer_that_breaks_the_rule_is_encoded_whole(monkeypatch):
    tok = tokenizer("chatml")
    encoder = Encoder(tok)
    honest = encoder.encode("Hello <|im_end|> there")
    monkeypatch.setattr(
        encoder._words.pieces, "function", lambda text: np.array([7], dtype=np.int32).tobytes()
    )
    assert (
        encoder.encode("Never seen <|im_end|> before").tolist()
        == tok("Never seen <|im_end|> before")["input_ids"]
    )
    assert not encoder.segmented
    assert encoder.encode("Hello <|im_end|> there").tolist() == honest.tolist()


def test_left_over_truncation_of_the_tokenizer_does_no_harm():
    tok = tokenizer("chatml")
    encoder = Encoder(tok)
    tok("some text that is long enough", truncation=True, max_length=2)
    text = "Where?? is_it, the 4417th <|im_end|> order-number"
    assert encoder.encode(text).tolist() == tok(text)["input_ids"]


def test_a_conversation_is_encoded_once_not_once_per_turn(monkeypatch):
    """Forty turns: 40 renderings of the trunk, but every segment meets the tokenizer at most once."""
    tok = tokenizer("chatml")
    renderer = Renderer(tok)
    made = []
    segment = renderer.encoder._segments.function
    monkeypatch.setattr(renderer.encoder._segments, "function", lambda key: made.append(key) or segment(key))
    items = renderer.items(Demonstration(Dialogue.of(turns(40)), "c"), "tokens")
    assert len(items) == 40
    assert len(made) == len(set(made))
    distinct = {t for _, t, _ in made}
    assert (
        len(distinct) <= 2 * 80 + 4
    )  # a message's text as a prompt's turn and as a response, and what joins them
