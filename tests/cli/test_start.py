"""The command answers before torch is loaded."""

import subprocess
import sys


def test_help_does_not_wait_for_torch():
    code = "import sys, halign.cli.main; print({'torch', 'transformers', 'scipy'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
