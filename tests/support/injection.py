"""Faults injected into processes that tests start (see faults/injected/sitecustomize.py)."""

import os
from pathlib import Path

_INJECTED = Path(__file__).parents[1] / "faults" / "injected"


def injecting_path(python_path: str | None) -> str:
    """PYTHONPATH of a process that loads the faults, and otherwise imports as with `python_path`."""
    return os.pathsep.join([str(_INJECTED), *filter(None, [python_path])])
