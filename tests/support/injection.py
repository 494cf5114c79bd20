"""Faults injected into processes that tests start (see faults/injected/sitecustomize.py)."""

import os
from collections.abc import Mapping
from pathlib import Path

_INJECTED = Path(__file__).parents[1] / "faults" / "injected"


def injecting_path(python_path: str | None) -> str:
    """PYTHONPATH of a process that loads the faults, and otherwise imports as with `python_path`."""
    return os.pathsep.join([str(_INJECTED), *filter(None, [python_path])])


def injecting_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment with the faults of this process's own that concern reading and decoding."""
    names = [name for name in os.environ if name.endswith(("_ON_OPEN", "_ON_DECODE", "_WITHOUT_LAYERS"))]
    faults = {name: os.environ[name] for name in names}
    return {**environment, **faults, "PYTHONPATH": injecting_path(environment.get("PYTHONPATH"))}
