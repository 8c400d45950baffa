"""Halign: align language models, encoding every distinct token once."""

from halign.errors import DataError, HalignError
from halign.models import Policy, load
from halign.readers import read
from halign.training import Run, train

__version__ = "0.1.0"

__all__ = ["DataError", "HalignError", "Policy", "Run", "load", "read", "train"]
