"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0, every_s: float = 0.01) -> None:
    """Wait until the condition holds; fail if it does not within the time."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"the condition did not hold within {timeout_s:g} s"
        time.sleep(every_s)
