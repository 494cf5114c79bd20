"""Documents of shares and of the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tagger.database.audit_log import AuditEntry


@dataclass
class Share:
    """A share without its link. `options` are those of its query, `description` says them in words.

    `photos`: the number of photos of a fixed selection; of a query, that of now if one share is asked for, else null. `author`: who
    made it, as in the audit log.
    """

    id: int
    name: str
    state: Literal["active", "expired", "revoked"]
    options: dict[str, Any] | None
    description: str
    photos: int | None
    with_positions: bool
    author: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass
class NewShare(Share):
    """A new share. `link`: its path, or whole address if the server knows its own, which cannot be read again."""

    link: str


@dataclass
class AuditPage:
    """Entries of the audit log, newest first; `next` is null on the last page."""

    entries: list[AuditEntry]
    next: int | None
