"""Events that webhooks report, recorded in the transaction in which they happen.

Their facts name jobs, photos and landmarks by number and name, never by path: these can be private.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection

from tagger.database.connection import subscriptions_of
from tagger.database.statements import insert_missing
from tagger.database.tables import webhook_messages
from tagger.webhook_receivers import Event


def has_receivers(connection: Connection, *events: Event) -> bool:
    """Whether anybody receives one of these events."""
    return any(map(subscriptions_of(connection).to, events))


def record_event(connection: Connection, event: Event, subject: object, data: Mapping[str, object]) -> None:
    """Record an event, once for each of its receivers. The same event of the same subject is recorded once.

    PostgreSQL lets a transaction wait for another that records the same event: record several in order of their subjects.
    """
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
        for receiver in subscriptions_of(connection).to(event)
    ]
    insert_missing(connection, webhook_messages, rows)


def new_message_id() -> str:
    return f"msg_{secrets.token_hex(12)}"
