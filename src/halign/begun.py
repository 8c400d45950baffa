"""What a folder that is gone on with was begun with, so that nothing else is mixed into it.

FOLDER/settings.json says what the results depend on, by name: models with their fingerprints, judges, settings, questions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halign.alone import LOCK
from halign.errors import HalignError

SETTINGS = "settings.json"


def begin(folder: Path, own: Mapping[str, Any], *, overwrite: bool, kind: str) -> None:
    """Say what a folder is for, or see that it is for the same; what is there is kept if it is.

    Args:
        own: name -> what the results depend on, JSON or what ``str`` tells apart.
        overwrite: empty the folder where it was begun before.
        kind: what such a folder holds ("evaluation"), for errors.

    Raises:
        HalignError: it was begun with something else, which is named, or holds something that is not of this kind.
    """
    file = folder / SETTINGS
    if file.exists() and not overwrite:
        refuse_other(folder, own)
        return
    held = [f for f in folder.iterdir() if f.name != LOCK]
    if held and not file.exists():
        raise HalignError(f"{folder} holds something that is no {kind}: name another --output")
    # the settings go last, so that a kill leaves what can be begun again
    for old in sorted(held, key=lambda f: f == file):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
    file.write_text(json.dumps(own, indent=2, ensure_ascii=False, default=str) + "\n")


def refuse_other(folder: Path, own: Mapping[str, Any]) -> None:
    """See that a folder is for the same, if it was begun; nothing is written.

    Raises:
        HalignError: it was begun with something else, which is named.
    """
    file = folder / SETTINGS
    if not file.exists():
        return
    there, here = json.loads(file.read_text()), json.loads(json.dumps(own, default=str))
    other = [k for k in {**here, **there} if there.get(k) != here.get(k)]
    if other:
        raise HalignError(
            f"{folder} was begun with other {', '.join(other)}: name another --output, or --overwrite to begin again"
        )
