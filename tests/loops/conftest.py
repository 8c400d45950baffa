"""Fixtures of the loops' tests."""

from tests.loops.answering import answering

__all__ = ["answering"]
