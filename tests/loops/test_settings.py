"""Settings of the loops that there are."""

from __future__ import annotations

import pytest

from halign.errors import HalignError
from halign.loops.registry import find, names, resolve


@pytest.mark.parametrize(("name", "given"), [*((n, {}) for n in names()), ("ppo", {"critic": "separate"})])
def test_recorded_settings_are_settings(name: str, given: dict[str, str]) -> None:
    """A run's config.yaml spells every default out, and can be given as --config."""
    loop = find(name)
    recorded = resolve(loop, given).model_dump(mode="json")
    assert resolve(loop, recorded) == resolve(loop, given)


def test_a_mistake_in_two_settings_names_them_and_no_others() -> None:
    with pytest.raises(HalignError) as caught:
        resolve(find("ppo"), {"target_kl": 6.0, "beta": 0.0})
    assert (
        str(caught.value)
        == "ppo: target_kl would have no effect: beta=0 stays 0, whatever it is multiplied by"
    )
