"""What a sampler's replies come from, so that a folder of replies is gone on with by the same model only."""

from __future__ import annotations

from typing import Any


def version_of(sampler: Any) -> str | None:
    """What tells a sampler's model from others of the same name: of a model in this process its fingerprint and the words that
    replies begin with, of one behind an endpoint its name and address. None where there is nothing to tell it by.
    """
    model = getattr(getattr(sampler, "policy", None), "model", None)
    if model is not None:
        from halign.models import fingerprint

        return f"{fingerprint(model)} {getattr(getattr(sampler, 'renderer', None), 'response_prefix', '')}"
    client = getattr(sampler, "client", None)
    return None if client is None else str(client.endpoint)
