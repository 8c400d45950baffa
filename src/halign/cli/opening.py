"""Opens a page in the browser of whoever sits there."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

Open = Annotated[
    bool | None,
    typer.Option(
        "--open/--no-open",
        help="Open the report in a browser. Default: at a terminal of a desktop.",
        show_default=False,
    ),
]


def open_page(page: Path, wanted: bool | None) -> bool:
    """Open a page if it is wanted, or, unsaid, if somebody sits at a terminal of a desktop. True if a browser took it.

    Without a desktop the standard library would start a text browser in the terminal.
    """
    if wanted is None:
        wanted = sys.stdout.isatty() and has_desktop() and "CI" not in os.environ
    return wanted and webbrowser.open(page.resolve().as_uri())


def has_desktop() -> bool:
    """Whether a window can be shown: not over ssh, and on Linux with a display."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
