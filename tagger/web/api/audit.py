"""The audit log, as `tagger people audit`. Where people sign in, for admins: the path is below /api/admin/."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

from tagger.database.audit_log import AuditAction, AuditEntry, AuditFilter, list_entries
from tagger.web.api.routes import api_router
from tagger.web.state import State

router = api_router("audit log", "/admin")


@dataclass(frozen=True)
class AuditPage:
    """Entries of the audit log, newest first; `next` is null on the last page."""

    entries: Sequence[AuditEntry]
    next: int | None


@router.get("/audit")
def audit(
    state: State,
    action: Annotated[list[AuditAction] | None, Query(description="Only these actions.")] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only entries from this time on, like 2026-06-01T00:00:00Z.")
    ] = None,
    by: Annotated[
        str | None, Query(max_length=200, description="Only what this person or token did on the page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="`next` of the previous page.")] = None,
) -> AuditPage:
    """List who did what, newest first."""
    entry_filter = AuditFilter(tuple(action or ()), since, by or None)
    entries = list_entries(state.database, entry_filter, limit + 1, before)
    shown = entries[:limit]
    following = shown[-1].id if len(entries) > limit else None
    return AuditPage(shown, following)
