"""Lint, format and types, as CONTRIBUTING.md says."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("tool", ["ruff check .", "ruff format --check .", "mypy"])
def test_it_has_nothing_to_say(tool):
    done = subprocess.run([sys.executable, "-m", *tool.split()], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"python -m {tool}\n{done.stdout}{done.stderr}", pytrace=False)
