"""What is known about a model, whatever it is read on."""

import pytest
import torch

from halign.models import fingerprint


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
