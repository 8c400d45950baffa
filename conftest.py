"""What pytest leaves out where an optional package is missing: doctests import every module."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("lm_eval") else ["src/halign/harness/lm.py"]
