"""What a request may do: who it comes from, and with which role."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

USE_RECORDED_S = 60
"""How often the last use is written."""


class Role(StrEnum):
    """What somebody may do. Each role may do what those before it may."""

    VIEWER = "viewer"
    """Look, search, and classify uploads, of which nothing is stored."""
    EDITOR = "editor"
    """Change what is known of photos, and start and control jobs."""
    ADMIN = "admin"
    """Change who has access, and read the audit log."""


@dataclass(frozen=True)
class Grant:
    """What a request may do. `name`: of the token or person, as in the audit log.

    `token_id` is None for the token of the settings, `session_id` for a request with the token itself.
    """

    name: str
    role: Role
    token_id: int | None = None
    session_id: int | None = None
    last_used_at: datetime | None = None

    @property
    def may_change(self) -> bool:
        """Whether it may change what is known of photos."""
        return self.role is not Role.VIEWER

    @property
    def needs_record(self) -> bool:
        """Whether the last use in the database is old."""
        if self.token_id is None and self.session_id is None:
            return False
        return self.last_used_at is None or self.last_used_at < datetime.now(UTC) - timedelta(
            seconds=USE_RECORDED_S
        )
