"""What a path teaches, as text: for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from halign.convert import Converted
from halign.examples import Demonstration
from halign.items import Item, Path
from halign.render import Renderer


def shown(path: Path, tokenizer: Any) -> str:
    """The whole path, with what is supervised in ⟦ ⟧."""
    mask = np.ones(len(path.response), dtype=bool) if path.loss_mask is None else path.loss_mask
    text, cuts = tokenizer.decode(path.prompt), np.flatnonzero(np.diff(mask.astype(int))) + 1
    for ids, kept in zip(np.split(path.response, cuts), np.split(mask, cuts), strict=True):
        text += f"⟦{tokenizer.decode(ids)}⟧" if kept[0] else tokenizer.decode(ids)
    return text


def rendered(made: Converted[Demonstration], tokenizer: Any, **settings: Any) -> list[Item]:
    """The items of a text method's demonstrations."""
    return Renderer(tokenizer, **settings).render(made.examples, "tokens")


def all_shown(made: Converted[Demonstration], tokenizer: Any, **settings: Any) -> Sequence[str]:
    """Every item's path as text."""
    return [shown(item.paths[0], tokenizer) for item in rendered(made, tokenizer, **settings)]
