"""What is known about a model, whatever it is read on."""

import pytest
import torch

from halign.errors import HalignError
from halign.models import fingerprint, load
from halign.rewards.loading import load_reward


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_fingerprint_is_the_same_on_any_number_of_threads(threads, dtype):
    torch.manual_seed(0)
    model = torch.nn.Linear(3000, 1000, dtype=dtype)
    seen = set()
    for number in (1, 2, 3):
        threads(number)
        seen.add(fingerprint(model))
    assert len(seen) == 1


def test_a_fingerprint_sees_one_changed_weight():
    torch.manual_seed(0)
    model = torch.nn.Linear(3000, 1000)
    before = fingerprint(model)
    with torch.no_grad():
        model.weight[7, 11] = torch.nextafter(model.weight[7, 11], torch.tensor(9.0))
    assert fingerprint(model) != before


@pytest.mark.parametrize("loading", [load, load_reward])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("~/runs/dpo", "there is no folder ~/runs/dpo"),
        ("a/b/c", "no folder a/b/c"),
        ("/no/where", "no folder /no/where"),
    ],
)
def test_what_can_be_no_name_on_the_hub_is_a_missing_folder(loading, name, says):
    with pytest.raises(HalignError, match=says):
        loading(name)


def test_a_name_that_may_be_either_says_both(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        HalignError, match="there is no folder 'runs/dpo' here, and as a name on the hub it could not"
    ):
        load("runs/dpo")
