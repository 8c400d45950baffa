"""Nothing that opens an account goes into a page that is passed on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

SECRET = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSPHRASE|CREDENTIALS?)$")
SHORTEST = 8
"""Values that are shorter are words such as "none", which a page may say."""


def without_secrets(text: str, variables: Mapping[str, str] | None = None) -> str:
    """The text with the values of variables that are called KEY, TOKEN, SECRET ... replaced by their names.

    Args:
        variables: the environment's if not given.

    >>> without_secrets("key=sk-123456789", {"LAB_API_KEY": "sk-123456789", "HOME": "key="})
    'key=[LAB_API_KEY]'
    """
    held = os.environ if variables is None else variables
    for name, value in held.items():
        if SECRET.search(name.upper()) and len(value) >= SHORTEST and value in text:
            text = text.replace(value, f"[{name}]")
    return text
