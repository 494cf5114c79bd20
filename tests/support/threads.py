"""Concurrent calls, for tests of race conditions."""

import threading
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
