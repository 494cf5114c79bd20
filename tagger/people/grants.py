"""Grants: who a request comes from, and what that role may do."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tagger.database.enums import Role

__all__ = ["USE_RECORDED_S", "Grant", "Role"]

USE_RECORDED_S = 60
"""The least time between two records of the last use."""


@dataclass(frozen=True)
class Grant:
    """What a request may do. `name`: the token or person, as in the audit log.

    `token_id` is None for a person and for the token of the settings, `session_id` for a request without a session.
    """

    name: str
    role: Role
    token_id: int | None = None
    user_id: int | None = None
    session_id: int | None = None
    last_used_at: datetime | None = None

    @property
    def may_change(self) -> bool:
        """Whether the request may change tags, verdicts and other facts of photos."""
        return self.role is not Role.VIEWER

    @property
    def needs_record(self) -> bool:
        """Whether the last use in the database is so old that it has to be recorded again."""
        if (self.token_id, self.user_id, self.session_id) == (None, None, None):
            return False
        return self.last_used_at is None or self.last_used_at < datetime.now(UTC) - timedelta(
            seconds=USE_RECORDED_S
        )
