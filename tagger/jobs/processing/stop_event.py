"""The event that stops a process's chunks, and those of single chunks that are set with it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StopEvent(threading.Event):
    """Set, it stops all chunks, now and later. `stop_chunks` stops those in progress alone."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: set[threading.Event] = set()

    @contextmanager
    def chunk(self) -> Iterator[threading.Event]:
        """The event of one chunk, which is in progress inside the context."""
        event = threading.Event()
        self._chunks.add(event)
        if self.is_set():
            event.set()
        try:
            yield event
        finally:
            self._chunks.remove(event)

    def set(self) -> None:
        super().set()
        self.stop_chunks()

    def stop_chunks(self) -> None:
        """Set the events of the chunks in progress."""
        for event in self._chunks.copy():
            event.set()
