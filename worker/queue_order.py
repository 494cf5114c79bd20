"""Which queue a worker asks first: interactive, but for every fourth message, which may be a bulk one.

So an interactive job overtakes at once, and a steady stream of them does not keep bulk jobs from moving.
"""

from collections.abc import Iterable

from tagger.tables import Priority

IN_A_ROW = 3
"""Interactive messages that a worker takes before it asks for a bulk one."""


class InteractiveFirst:
    """kombu's order of queues, made by its name in the settings; one for each connection that takes messages."""

    def __init__(self) -> None:
        self._queues: list[str] = []
        self._in_a_row = 0

    def update(self, queues: Iterable[str]) -> None:
        """These are there to take from, interactive first."""
        self._queues = list(queues)

    def consume(self, most: int) -> list[str]:
        """The queues in the order to ask them now."""
        if self._in_a_row < IN_A_ROW:
            return self._queues[:most]
        return sorted(self._queues, key=lambda queue: queue.endswith(Priority.INTERACTIVE))[:most]

    def rotate(self, taken_from: str) -> str:
        """A message came from this queue."""
        urgent = taken_from.endswith(Priority.INTERACTIVE)
        self._in_a_row = self._in_a_row + 1 if urgent else 0
        return taken_from
