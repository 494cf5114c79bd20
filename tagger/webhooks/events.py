"""Events that webhooks report, recorded in the transaction in which they happen.

Their facts name jobs, photos and landmarks by number and name, never by path: these can be private.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Connection

from tagger.database.connection import records_events
from tagger.database.statements import insert_missing
from tagger.database.tables import webhook_messages


class Event(StrEnum):
    """`job.failures` follows `job.finished` if more photos failed than the settings expect. `test` is sent by a command."""

    JOB_FINISHED = "job.finished"
    JOB_FAILURES = "job.failures"
    LANDMARK_FOUND = "landmark.found"
    TEST = "test"


def record_event(connection: Connection, event: Event, subject: object, data: Mapping[str, object]) -> None:
    """Record an event for the receiver, if there is one. The same event of the same subject is recorded once.

    PostgreSQL lets a transaction wait for another that records the same event: record several in order of their subjects.
    """
    if not records_events(connection):
        return
    row = {
        "message_id": new_message_id(),
        "subject": f"{event}/{subject}",
        "event": event,
        "data": dict(data),
        "created_at": datetime.now(UTC),
        "next_attempt_at": 0.0,
    }
    insert_missing(connection, webhook_messages, [row])


def new_message_id() -> str:
    return f"msg_{secrets.token_hex(12)}"
