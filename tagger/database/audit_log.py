"""The audit log: who makes changes, and what they did, written in the transaction of the change."""

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from tagger.database.tables import audit_log
from tagger.texts.text_format import gettext

KEPT_DAYS = 400
MAX_ENTRIES = 1_000_000
# Old entries that are removed with each new one, so that no change has to wait for many.
MAX_REMOVED = 100


class AuditAction(StrEnum):
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    JOB_CREATE = "job-create"
    JOB_PAUSE = "job-pause"
    JOB_RESUME = "job-resume"
    JOB_CANCEL = "job-cancel"
    VERDICTS_IMPORT = "verdicts-import"
    VERDICTS_WITHDRAW = "verdicts-withdraw"
    QUESTION_ANSWER = "question-answer"
    QUESTION_WITHDRAW = "question-withdraw"
    LANDMARK_ADD = "landmark-add"
    LANDMARK_EDIT = "landmark-edit"
    LANDMARK_MERGE = "landmark-merge"
    LANDMARK_REMOVE = "landmark-remove"
    MODEL_ADD = "model-add"
    MODEL_USE = "model-use"
    MODEL_REMOVE = "model-remove"
    TRACK_ADD = "track-add"
    TRACK_REMOVE = "track-remove"
    TRIP_EDIT = "trip-edit"
    SCHEDULE_ADD = "schedule-add"
    SCHEDULE_REMOVE = "schedule-remove"
    SCHEDULE_PAUSE = "schedule-pause"
    SCHEDULE_RESUME = "schedule-resume"
    PHOTOS_FORGET = "photos-forget"
    PHOTOS_MOVE = "photos-move"


def record_action(
    connection: Connection,
    action: AuditAction,
    subject: object = None,
    **details: object,
) -> int:
    """Returns the entry's number. No secrets in `details`."""
    now = datetime.now(UTC)
    row = {
        "at": now,
        "actor": actor_of(connection).name,
        "action": action,
        # The name of a file may have bytes that are not UTF-8, which PostgreSQL does not store.
        "subject": None
        if subject is None
        else str(subject).encode(errors="backslashreplace").decode(),
        "details": _stored_details(connection, details),
    }
    entry = int(
        connection.execute(
            insert(audit_log).values(row).returning(audit_log.c.id)
        ).scalar_one()
    )
    _remove(connection, audit_log.c.at < now - timedelta(days=KEPT_DAYS))
    if entry > MAX_ENTRIES:
        _remove(connection, audit_log.c.id <= entry - MAX_ENTRIES)
    return entry


def withdraw_action(
    connection: Connection, action: AuditAction, subject: object
) -> None:
    is_of_it = (audit_log.c.action == action, audit_log.c.subject == str(subject))
    newest = select(func.max(audit_log.c.id)).where(*is_of_it).scalar_subquery()
    connection.execute(delete(audit_log).where(audit_log.c.id == newest))


def update_details(connection: Connection, entry: int, **details: object) -> None:
    """Replace the details of an action that takes several transactions."""
    values = {"details": _stored_details(connection, details)}
    connection.execute(update(audit_log).where(audit_log.c.id == entry).values(values))


def _stored_details(
    connection: Connection, details: dict[str, object]
) -> dict[str, object]:
    # The details that are not None, with the actor's address.
    details = {"address": actor_of(connection).address} | details
    return {name: value for name, value in details.items() if value is not None}


def _remove(connection: Connection, is_old: ColumnElement[bool]) -> None:
    # Rows that another transaction is removing are skipped: waiting for them could end in a deadlock.
    old = (
        select(audit_log.c.id)
        .where(is_old)
        .limit(MAX_REMOVED)
        .with_for_update(skip_locked=True)
    )
    connection.execute(delete(audit_log).where(audit_log.c.id.in_(old)))


# Who makes changes: the user, token or machine, which the audit log records.


@dataclass(frozen=True)
class Actor:
    """Who makes a change. `name`: the door and the user, token or machine, like `cli ada@laptop`.

    `address`: the address of the page's client.
    """

    name: str
    address: str | None = None


def actor_of(connection: Connection) -> Actor:
    actor: Actor = connection.get_execution_options()["tagger_actor"]
    return actor


def author_text(author: str | None) -> str:
    door, _, name = (author or "").partition(" ")
    if not name:
        return ""
    if door == "web":
        return name
    return (
        gettext("%(name)s (command)", name=name) if door == "cli" else f"{door} {name}"
    )


def login_name() -> str | None:
    """Who gives a verdict, unless another name is given; None if the user has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def command_line_actor() -> Actor:
    return Actor(f"cli {_system_user()}@{socket.gethostname()}")


def _system_user() -> str:
    # The name in the system's accounts. The environment, which getpass reads, could contain any.
    try:
        import pwd
    except ImportError:  # Windows
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        return str(os.getuid())
