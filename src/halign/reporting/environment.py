"""How templates of pages are filled in."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup


def environment() -> Environment:
    """Templates of this package: everything is escaped, and a name that is missing is an error."""
    return Environment(
        loader=PackageLoader("halign.reporting", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template(name: str) -> Markup:
    """A file of ``templates/`` as it stands: a style sheet or a script of ours."""
    return Markup(files("halign.reporting").joinpath("templates", name).read_text(encoding="utf-8"))


def policy(script: str, live: bool = False) -> str:
    """What a browser may do with the page: run exactly this script, if there is one, and fetch nothing.

    Args:
        live: it may ask the server that it came from.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    runs = f"'sha256-{digest}'" if script else "'none'"
    asks = "'self'" if live else "'none'"
    rules = ("default-src 'none'", "style-src 'unsafe-inline'", f"script-src {runs}", f"connect-src {asks}")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))
