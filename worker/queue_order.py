"""The order in which a worker reads its queues: interactive first, but every fourth message may be a bulk one.

An interactive job overtakes bulk jobs at once, and a steady stream of interactive jobs does not stop them.
"""

import threading
from collections.abc import Iterable

from tagger.database.enums import Priority

IN_A_ROW = 3
"""Interactive messages that a worker takes before it reads the bulk queue first."""

database_unreachable = threading.Event()
"""While it is set, this process reads no queue of chunks. The sweeper sets it when this process does not reach the database, because it
would take chunks that others can process."""


class InteractiveFirst:
    """kombu's strategy for the order of queues, named in the settings. One per consuming connection."""

    def __init__(self) -> None:
        self._queues: list[str] = []
        self._in_a_row = 0

    def update(self, queues: Iterable[str]) -> None:
        """Set the queues, interactive first."""
        self._queues = list(queues)

    def consume(self, limit: int) -> list[str]:
        """The queues, in the order in which to read them now."""
        if database_unreachable.is_set():
            return [queue for queue in self._queues if not queue.endswith(tuple(Priority))]
        if self._in_a_row < IN_A_ROW:
            return self._queues[:limit]
        return sorted(self._queues, key=lambda queue: queue.endswith(Priority.INTERACTIVE))[:limit]

    def rotate(self, queue: str) -> str:
        """Record that a message came from this queue."""
        interactive = queue.endswith(Priority.INTERACTIVE)
        self._in_a_row = self._in_a_row + 1 if interactive else 0
        return queue
