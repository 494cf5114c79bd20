"""Events of jobs and landmarks, for the rooms and installed packages that receive them.

An event is recorded in the transaction in which it happens. Its facts name jobs, photos and landmarks by number and name, never by
path: these can be private.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection

RECEIVERS = "tagger_receivers"
"""The option of a connection with the receivers of events."""


class Event(StrEnum):
    """Types of events. Webhooks add `job.failures` to `job.finished` if more photos failed than the settings expect."""

    JOB_FINISHED = "job.finished"
    JOB_FAILURES = "job.failures"
    LANDMARK_FOUND = "landmark.found"


class EventReceiver(Protocol):
    """Receives events of one process. Threads share it."""

    def wants(self, event: Event) -> bool:
        """Whether it does anything about this event."""
        ...

    def record(self, connection: Connection, event: Event, subject: object, data: Mapping[str, Any]) -> None:
        """Receive an event in its transaction, which rolls back if this raises. The same event may come again.

        `subject`: what the event is about, the number of a job or the slug of a landmark.
        """
        ...


Receivers = Callable[[], Sequence[EventReceiver]]
"""Returns the receivers; called only when something happens that can be an event."""


def has_receivers(connection: Connection, event: Event) -> bool:
    """Whether anybody receives this event."""
    return any(receiver.wants(event) for receiver in _receivers(connection))


def record_event(connection: Connection, event: Event, subject: object, data: Mapping[str, Any]) -> None:
    """Give an event to all that receive it."""
    for receiver in _receivers(connection):
        if receiver.wants(event):
            receiver.record(connection, event, subject, data)


def _receivers(connection: Connection) -> Sequence[EventReceiver]:
    receivers: Receivers = connection.get_execution_options().get(RECEIVERS, tuple)
    return receivers()
