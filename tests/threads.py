"""Runs things at once, for tests of races."""

import threading
from collections.abc import Callable, Sequence


def in_threads(works: Sequence[Callable[[], object]]) -> None:
    """Run each in a thread of its own, all at once; the first trouble of any is raised here."""
    troubles: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            troubles.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise troubles[0]
