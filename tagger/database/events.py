"""Events of jobs and landmarks, recorded in the transaction in which they happen: by the receivers that extensions add, and as messages of webhooks.

A message is for one receiver of webhooks, so that a receiver that is away does not delay the others. It is recorded, claimed for an
attempt, delivered, tried again, given up and removed. All pauses are by the database's clock, so that several senders agree. A claim
is a pause that is longer than an attempt: if its sender dies, another one sends the message again. So a receiver may get a message
twice, and knows it by its id.
"""

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, select, update

from tagger.database.statements import db_now, insert_missing
from tagger.database.tables import webhook_messages
from tagger.extensions import EVENT_RECEIVERS, Event, EventReceiver, extensions
from tagger.system.documents import document_of

if TYPE_CHECKING:
    from tagger.database.connection import Database
    from tagger.settings import Settings

RECEIVERS = "tagger_receivers"
"""The option of a connection with the receivers of events."""
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


def event_receivers(settings: "Settings") -> Sequence[EventReceiver]:
    """The receivers of a process: the messages of webhooks, and those that extensions add."""
    added = extensions(EVENT_RECEIVERS).values()
    return [MessageRecorder(settings), *(receiver(settings) for receiver in added)]


def _receivers(connection: Connection) -> Sequence[EventReceiver]:
    receivers: Receivers = connection.get_execution_options().get(RECEIVERS, tuple)
    return receivers()


FAILURE_SHARE = 0.1
"""Share of failed photos above which a finished job is reported as `job.failures`, too."""


class MessageRecorder:
    """The `EventReceiver` of webhooks: stores a message for each receiver of the settings that gets the event."""

    def __init__(self, settings: "Settings") -> None:
        # Transactions that record the same event wait for each other in this order.
        receivers = sorted(settings.webhooks.items())
        self._receivers = {
            event: [name for name, receiver in receivers if event in receiver.events] for event in Event
        }

    def wants(self, event: Event) -> bool:
        failures = self._receivers[Event.JOB_FAILURES] if event is Event.JOB_FINISHED else ()
        return bool(self._receivers[event] or failures)

    def record(self, connection: Connection, event: Event, subject: object, data: Mapping[str, Any]) -> None:
        """Record an event once for each of its receivers, and a finished job with many failures as two events.

        The same event of the same subject is recorded once. PostgreSQL lets a transaction wait for another that records the same
        event: record several in order of their subjects.
        """
        self._record(connection, event, subject, data)
        if event is Event.JOB_FINISHED and data["failed"] > FAILURE_SHARE * data["total"]:
            self._record(connection, Event.JOB_FAILURES, subject, data)

    def _record(self, connection: Connection, event: Event, subject: object, data: Mapping[str, Any]) -> None:
        now = datetime.now(UTC)
        rows = [
            {
                "message_id": new_message_id(),
                "receiver": receiver,
                "subject": f"{event}/{subject}",
                "event": event,
                "data": dict(data),
                "created_at": now,
                "next_attempt_at": 0.0,
            }
            for receiver in self._receivers[event]
        ]
        insert_missing(connection, webhook_messages, rows)


def new_message_id() -> str:
    return f"msg_{secrets.token_hex(12)}"


PAUSES_S = (5, 60, 300, 1800, 7200, 18_000, 36_000, 50_400)
"""Pauses after failed attempts. After the last one the message is given up: some 33 hours after the event."""
CLAIM_S = 120.0
"""Longer than an attempt may take."""
KEPT_DAYS = 30
MAX_REMOVED = 100

_IS_PENDING = webhook_messages.c.next_attempt_at.is_not(None)
_IS_GIVEN_UP = and_(webhook_messages.c.next_attempt_at.is_(None), webhook_messages.c.delivered_at.is_(None))


@dataclass(frozen=True)
class Message:
    """An event to send. `attempts` includes the one that is being made."""

    id: str
    event: str
    at: datetime
    data: dict[str, Any]
    attempts: int = 1


@dataclass(frozen=True)
class StoredMessage:
    """A message that is not delivered.

    `receiver`: its name. `subject`: the event and what it is about. `next_attempt_at`: None if it was given up. `problem`: why the last attempt failed.
    """

    id: str
    receiver: str
    subject: str
    at: datetime
    attempts: int
    next_attempt_at: datetime | None
    problem: str | None


@dataclass(frozen=True)
class MessageCounts:
    """How many messages to one receiver wait for an attempt, and how many were given up. `problem`: of the last failed attempt."""

    pending: int = 0
    given_up: int = 0
    problem: str | None = None


def claim_due(database: "Database", receiver: str) -> Message | None:
    """Claim the message to this receiver that is due longest; None if none is."""
    is_due = and_(_IS_PENDING, webhook_messages.c.next_attempt_at <= db_now(), ~_is_old())
    due = and_(webhook_messages.c.receiver == receiver, is_due)
    oldest = (
        select(webhook_messages.c.id)
        .where(due)
        .order_by(webhook_messages.c.next_attempt_at, webhook_messages.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    with database.read() as connection:  # most often there is none, and SQLite has one writer
        if connection.scalar(select(webhook_messages.c.id).where(due).limit(1)) is None:
            return None
    with database.write() as connection:
        claim = (
            update(webhook_messages)
            .where(webhook_messages.c.id == oldest.scalar_subquery(), due)
            .values(next_attempt_at=db_now() + CLAIM_S, attempts=webhook_messages.c.attempts + 1)
            .returning(*webhook_messages.c)
        )
        row = connection.execute(claim).one_or_none()
    if row is None:
        return None
    return Message(row.message_id, row.event, row.created_at, row.data, row.attempts)


def store_delivery(database: "Database", message: Message) -> None:
    """Record that the receiver accepted the message."""
    values = {"next_attempt_at": None, "delivered_at": datetime.now(UTC), "problem": None}
    _update(database, message, values)


def store_failure(database: "Database", message: Message, problem: str, *, final: bool = False) -> None:
    """Record a failed attempt. The message is tried again after a pause, unless it was the last attempt, or is `final`."""
    is_last = final or message.attempts > len(PAUSES_S)
    pause = None if is_last else db_now() + PAUSES_S[message.attempts - 1]
    _update(database, message, {"next_attempt_at": pause, "problem": problem})


def _update(database: "Database", message: Message, values: dict[str, Any]) -> None:
    """Store the result of an attempt, unless another sender has claimed the message since."""
    is_claimed = and_(
        webhook_messages.c.message_id == message.id,
        webhook_messages.c.attempts == message.attempts,
        webhook_messages.c.delivered_at.is_(None),
    )
    with database.write() as connection:
        connection.execute(update(webhook_messages).where(is_claimed).values(values))


def retry_messages(database: "Database", receivers: Collection[str]) -> int:
    """Make all undelivered messages to these receivers due now, with all attempts ahead. Returns how many these are."""
    with database.write() as connection:
        return connection.execute(
            update(webhook_messages)
            .where(webhook_messages.c.receiver.in_(receivers), webhook_messages.c.delivered_at.is_(None))
            .values(next_attempt_at=db_now(), attempts=0)
        ).rowcount


def undelivered_messages(database: "Database") -> Iterator[StoredMessage]:
    """The messages that are not delivered, oldest first."""
    query = (
        select(webhook_messages)
        .where(webhook_messages.c.delivered_at.is_(None))
        .order_by(webhook_messages.c.id)
    )
    with database.read() as connection:
        for row in connection.execute(query):
            times = {"at": row.created_at, "next_attempt_at": _next_attempt_at(row)}
            yield document_of(StoredMessage, row, id=row.message_id, **times)


def count_messages(database: "Database") -> dict[str, MessageCounts]:
    """How many messages are not delivered, by receiver, in order of their names. Receivers that have got all are left out."""
    message = webhook_messages.c
    columns = (
        func.count().filter(_IS_PENDING).label("pending"),
        func.count().filter(_IS_GIVEN_UP).label("given_up"),
        func.max(message.id).filter(message.problem.is_not(None)).label("last_failed"),
    )
    counts = (
        select(message.receiver, *columns)
        .where(message.delivered_at.is_(None))
        .group_by(message.receiver)
        .subquery()
    )
    last_failed = counts.outerjoin(webhook_messages, message.id == counts.c.last_failed)
    query = select(counts, message.problem).select_from(last_failed).order_by(counts.c.receiver)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return {row.receiver: MessageCounts(row.pending, row.given_up, row.problem) for row in rows}


def remove_old_messages(database: "Database") -> None:
    """Remove some of the messages that are KEPT_DAYS old. One that still waits had no receiver in the settings for so long."""
    old = select(webhook_messages.c.id).where(_is_old()).limit(MAX_REMOVED)
    with database.read() as connection:
        ids = connection.scalars(old).all()
    if ids:
        with database.write() as connection:
            connection.execute(delete(webhook_messages).where(webhook_messages.c.id.in_(ids)))


def _next_attempt_at(row: Row[Any]) -> datetime | None:
    """When it is sent. A new message, and one that is retried, is due at once."""
    if row.next_attempt_at is None:
        return None
    created_at: datetime = row.created_at
    return max(created_at, datetime.fromtimestamp(row.next_attempt_at, UTC))


def _is_old() -> ColumnElement[bool]:
    return webhook_messages.c.created_at < datetime.now(UTC) - timedelta(days=KEPT_DAYS)
