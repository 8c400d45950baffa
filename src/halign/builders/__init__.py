"""Builders: rows of a file -> new examples, by rules, by a model in this process, or by one behind an endpoint."""

from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.driver import Report, build
from halign.builders.registry import find, names, resolve
from halign.builders.tools import Tools

__all__ = [
    "Builder",
    "BuilderSettings",
    "Built",
    "Made",
    "Report",
    "Tools",
    "build",
    "find",
    "names",
    "resolve",
]
