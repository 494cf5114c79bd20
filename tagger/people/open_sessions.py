"""The open sessions, as people see them: whose each is, where it began, and ending it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.tables import access_tokens, page_sessions, users
from tagger.people.names import recorded_name
from tagger.people.tokens import SETTINGS_TOKEN


@dataclass(frozen=True)
class OpenSession:
    """A browser that is signed in. `name`: of the person or token, `network` and `browser`: None if they are not known."""

    id: int
    name: str
    network: str | None
    browser: str | None
    created_at: datetime
    last_used_at: datetime


def list_sessions(database: Database, user_id: int | None = None) -> Sequence[OpenSession]:
    """The open sessions of a person, or of everybody; those that were used last first."""
    query = (
        select(
            page_sessions.c.id,
            func.coalesce(access_tokens.c.name, users.c.name, SETTINGS_TOKEN).label("name"),
            page_sessions.c.network,
            page_sessions.c.browser,
            page_sessions.c.created_at,
            page_sessions.c.last_used_at,
        )
        .outerjoin(access_tokens, access_tokens.c.id == page_sessions.c.token_id)
        .outerjoin(users, users.c.id == page_sessions.c.user_id)
        .where(page_sessions.c.expires_at > datetime.now(UTC))
        .order_by(page_sessions.c.last_used_at.desc(), page_sessions.c.id.desc())
    )
    if user_id is not None:
        query = query.where(page_sessions.c.user_id == user_id)
    with database.read() as connection:
        return [OpenSession(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its public name


def end_open_session(database: Database, session_id: int, user_id: int | None = None) -> bool:
    """End a session; with `user_id`, only one of that person. Returns whether there was one."""
    of_person = () if user_id is None else (page_sessions.c.user_id == user_id,)
    with database.write() as connection:
        row = connection.execute(
            select(
                func.coalesce(access_tokens.c.name, users.c.name, SETTINGS_TOKEN).label("name"),
                func.coalesce(access_tokens.c.name_number, users.c.name_number, 1).label("number"),
            )
            .select_from(page_sessions)
            .outerjoin(access_tokens, access_tokens.c.id == page_sessions.c.token_id)
            .outerjoin(users, users.c.id == page_sessions.c.user_id)
            .where(page_sessions.c.id == session_id)
        ).one_or_none()
        ended = connection.execute(delete(page_sessions).where(page_sessions.c.id == session_id, *of_person))
        if ended.rowcount and row is not None:
            record_action(connection, AuditAction.SESSION_END, recorded_name(row.name, row.number))
    return bool(ended.rowcount)
