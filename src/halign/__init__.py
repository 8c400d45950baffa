"""Halign: align language models, encoding every distinct token once."""

__version__ = "0.1.0"
