"""Entries of the audit log, as people read them in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from tagger.database.audit_log import AuditAction
from tagger.database.connection import Database
from tagger.database.tables import audit_log


def audit_entries(database: Database, *actions: AuditAction) -> Sequence[Row[Any]]:
    """The entries of these actions (none: of all), newest first."""
    query = select(audit_log).order_by(audit_log.c.id.desc())
    if actions:
        query = query.where(audit_log.c.action.in_(actions))
    with database.read() as connection:
        return connection.execute(query).all()
