"""Calls in threads, and conditions that others bring about."""

import threading
import time
from collections.abc import Callable, Sequence


def in_threads(calls: Sequence[Callable[[], object]]) -> None:
    """Run each call in its own thread, concurrently; raise the first error of any."""
    errors: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0, every_s: float = 0.01) -> None:
    """Wait until the condition holds; fail if it does not within the time."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"the condition did not hold within {timeout_s:g} s"
        time.sleep(every_s)
