"""Events of jobs and landmarks: receivers of extensions get them in the transaction in which they happen."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from tagger.extensions import EVENT_RECEIVERS, Event, EventReceiver, extensions

if TYPE_CHECKING:
    from tagger.settings import Settings

# The option of a connection with the receivers of events.
RECEIVERS = "tagger_receivers"
# Returns the receivers; called only when something happens that can be an event.
Receivers = Callable[[], Sequence[EventReceiver]]


def has_receivers(connection: Connection, event: Event) -> bool:
    """Whether anybody receives this event."""
    return any(receiver.wants(event) for receiver in _receivers(connection))


def record_event(connection: Connection, event: Event, subject: object, data: Mapping[str, Any]) -> None:
    """Give an event to all that receive it."""
    for receiver in _receivers(connection):
        if receiver.wants(event):
            receiver.record(connection, event, subject, data)


def event_receivers(settings: "Settings") -> Sequence[EventReceiver]:
    """The receivers of a process, which extensions add."""
    return [receiver(settings) for receiver in extensions(EVENT_RECEIVERS).values()]


def _receivers(connection: Connection) -> Sequence[EventReceiver]:
    receivers: Receivers = connection.get_execution_options().get(RECEIVERS, tuple)
    return receivers()
