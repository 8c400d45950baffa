"""Language models that grade, as rewards: against expectations by hand, and against plain passes of the model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges import DirectScorer
from halign.judges.questions import CRITERIA, SCORE_TEMPLATE, filled, transcript
from halign.likelihood import make_renderer
from halign.llm import BudgetSpent, Client, Endpoint
from halign.models import Policy
from halign.rewards.language_model import LanguageModelReward, LocalLanguageModelReward
from halign.rewards.protocol import Reward
from tests.conftest import make_llama
from tests.llm.server import Fault, Server, completion, last

PROMPT = Dialogue.of([{"role": "user", "content": "Where is my order?"}], guardrails=("Be kind.",))
GRADES = {
    "good": {"8": math.log(0.5), "9": math.log(0.25), "The": math.log(0.25)},
    "worse": {"2": math.log(0.9), "3": math.log(0.1)},
}


def graded(body: dict[str, Any], before: int) -> Any:
    """A grader that gives known probabilities to the reply that it is shown."""
    top = next(top for reply, top in GRADES.items() if f"Reply:\n{reply}\n" in last(body))
    return completion(next(iter(top)), top=[top], usage=(300, 1))


def test_the_reward_is_the_expectation_over_the_score_tokens() -> None:
    with Server(graded) as server:
        reward: Reward = LanguageModelReward(Endpoint(server.url, "m"))
        found = reward.score([PROMPT] * 3, ["good", "worse", "good"])
        scaled = LanguageModelReward(Endpoint(server.url, "m"), scaled=True).score([PROMPT], ["worse"])
    good, worse = (8 * 0.5 + 9 * 0.25) / 0.75, 2 * 0.9 + 3 * 0.1
    assert found == pytest.approx([good, worse, good])
    assert scaled == pytest.approx([(worse - 5.5) / 4.5])


def test_a_reply_without_a_score_is_an_error_and_the_others_are_paid_once() -> None:
    broken = True

    def script(body: dict[str, Any], before: int) -> Any:
        if broken and "Reply:\nworse\n" in last(body):
            return Fault(400, body="not today")
        return graded(body, before)

    with Server(script) as server:
        reward = LanguageModelReward(Endpoint(server.url, "m"))
        with pytest.raises(HalignError, match=r"1 of 2 replies got no score; .*\n  prompt 1 \(reply 1\)"):
            reward.score([PROMPT] * 2, ["good", "worse"])
        asked_of_good = server.asked[questions("good")]
        broken = False
        assert reward.score([PROMPT] * 2, ["good", "worse"]) == pytest.approx([6.25 / 0.75, 2.1])
        assert server.asked[questions("good")] == asked_of_good == 1


def questions(reply: str) -> str:
    return filled(SCORE_TEMPLATE, criteria=CRITERIA, conversation=transcript(PROMPT), reply=reply)


def test_a_budget_stops_it_without_losing_what_was_answered() -> None:
    with Server(graded) as server:
        priced = Endpoint(server.url, "m", input_price=1.0, output_price=1.0, concurrency=1)
        bound = len(questions("good")) + 120  # of a prompt's tokens: bytes, and what surrounds them
        tight = LanguageModelReward(Client(priced, budget=1.2e-6 * bound))
        with pytest.raises(BudgetSpent):
            tight.score([PROMPT] * 2, ["good", "worse"])
        before = server.asked.total()
        assert before == 1
        LanguageModelReward(Client(priced)).score([PROMPT] * 2, ["good", "worse"])
        assert server.asked.total() == before + 1


def test_options_beside_a_finished_scorer_are_refused() -> None:
    scorer = DirectScorer(Endpoint("http://localhost:1/v1", "m"))
    with pytest.raises(HalignError, match="criteria would have no effect"):
        LanguageModelReward(scorer, criteria="brevity")
    with pytest.raises(HalignError, match="2 prompts and 1 replies"):
        LanguageModelReward(scorer).score([PROMPT] * 2, ["x"])


def plain_logps(policy: Policy, reply: str, prefix: str = "") -> torch.Tensor:
    """log P of "1<|im_end|>" ... "10<|im_end|>", one pass of the model each, text put together by hand."""
    text = f"<|im_start|>user\n{questions(reply)}<|im_end|>\n<|im_start|>assistant\n{prefix}"
    asked = policy.tokenizer(text)["input_ids"]
    found = []
    for score in range(1, 11):
        answer = policy.tokenizer(f"{score}<|im_end|>")["input_ids"]
        ids = torch.tensor([[*asked, *answer]])
        logps = policy.model(input_ids=ids).logits[0].log_softmax(-1)
        places = range(len(asked), len(asked) + len(answer))
        found.append(sum(logps[p - 1, ids[0, p]] for p in places))
    return torch.stack(found).detach()


@pytest.fixture
def grader(tokenizer: Any) -> Policy:
    """A model of no opinion that is worth having; one that can read the whole question."""
    return Policy(make_llama(tokenizer, max_position_embeddings=2048).eval(), tokenizer)


def test_a_local_model_is_read_as_plain_passes_would(grader: Policy) -> None:
    assert len(grader.tokenizer("10")["input_ids"]) == 2  # so that a 1 begins a 10
    reward = LocalLanguageModelReward(grader, least_mass=0)
    replies = ["It leaves tomorrow.", "No."]
    found = reward.score_logps([PROMPT] * 2, replies)
    expected = torch.stack([plain_logps(grader, r) for r in replies])
    assert torch.allclose(found, expected, atol=1e-4)
    weights = expected.double().exp()
    means = (weights * torch.arange(1, 11)).sum(1) / weights.sum(1)
    assert reward.score([PROMPT] * 2, replies) == pytest.approx(means.tolist(), abs=1e-3)
    scaled = LocalLanguageModelReward(grader, least_mass=0, scaled=True).score([PROMPT], ["No."])
    assert scaled == pytest.approx([(float(means[1]) - 5.5) / 4.5], abs=1e-3)
    assert abs(float(means[0] - means[1])) > 0.01  # or any constant would pass


def test_a_prefix_is_given_and_not_scored(grader: Policy) -> None:
    found = LocalLanguageModelReward(grader, prefix="Hello ", least_mass=0).score_logps([PROMPT], ["No."])
    assert torch.allclose(found[0], plain_logps(grader, "No.", "Hello "), atol=1e-4)


def test_a_local_grade_that_is_known_by_hand(tokenizer: Any) -> None:
    """A head that prefers tokens whatever it has read: P(4 and the end) against P(9 and the end)."""
    model = make_llama(tokenizer, max_position_embeddings=2048)
    four, nine = (tokenizer(n)["input_ids"][0] for n in "49")
    head = torch.full((len(tokenizer),), -60.0)
    head[four], head[nine], head[tokenizer.eos_token_id] = math.log(0.2), math.log(0.3), math.log(0.5)
    biased = torch.nn.Linear(model.config.hidden_size, len(tokenizer), bias=True)
    biased.weight.data.zero_()
    biased.bias.data.copy_(head)
    model.lm_head = biased
    reward = LocalLanguageModelReward(Policy(model.eval(), tokenizer))
    assert reward.score([PROMPT], ["No."]) == pytest.approx([(0.2 * 4 + 0.3 * 9) / 0.5], abs=1e-4)
    masses = reward.score_logps([PROMPT], ["No."]).exp()[0]
    assert masses[[3, 8]].tolist() == pytest.approx([0.1, 0.15], rel=1e-4)  # each times P(the end)


def test_a_model_that_does_not_grade_is_found_out(grader: Policy) -> None:
    with pytest.raises(HalignError, match=r"on reply 0 .* less than least_mass = 0.01 \(1 of 1"):
        LocalLanguageModelReward(grader).score([PROMPT], ["No."])
    with pytest.raises(HalignError, match="least_mass = 2 is out of range"):
        LocalLanguageModelReward(grader, least_mass=2)
    with pytest.raises(HalignError, match="1 prompts and 2 replies"):
        LocalLanguageModelReward(grader).score([PROMPT], ["a", "b"])
    assert LocalLanguageModelReward(grader).score([], []) == []


def test_replies_to_one_prompt_share_its_reading(grader: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    from halign import likelihood

    sizes: list[int] = []
    real = likelihood.tree_batch

    def counted(*args: Any, **kwargs: Any) -> Any:
        batch = real(*args, **kwargs)
        sizes.append(batch.distinct_tokens)
        return batch

    monkeypatch.setattr(likelihood, "tree_batch", counted)
    LocalLanguageModelReward(grader, least_mass=0).score([PROMPT] * 2, ["No.", "Yes."])
    alone = len(make_renderer(grader).prompt(Dialogue.of([{"role": "user", "content": questions("Yes.")}])))
    assert sum(sizes) < 2 * alone + 40  # twenty answers, two questions that begin alike
