"""Verdicts as rows, written page by page. Knows nothing of who gives them or why (see service and importing)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, delete, select, text, tuple_

from tagger.database.statements import upsert
from tagger.database.tables import contents, photos, verdicts
from tagger.library.catalog.dismissals import delete_dismissals, has_verdict
from tagger.library.catalog.position_changes import record_contents


class VerdictKind(StrEnum):
    """Whether the landmark is in the image (confirmed) or not (rejected)."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"


NOT_A_LANDMARK = "not-a-landmark"
"""The verdict on an image as a whole (see dismissals). It is no kind: it is about no landmark."""


@dataclass(frozen=True)
class NewVerdict:
    """A verdict to write, on an image and a landmark that have rows."""

    content_id: int
    landmark_id: int
    kind: VerdictKind
    by: str | None
    at: datetime

    @property
    def key(self) -> tuple[int, int]:
        return self.content_id, self.landmark_id


def hold_landmarks(connection: Connection) -> None:
    """Let landmarks stay until the transaction ends: merges and removals wait for it, and it waits for one that has begun.

    The lock is the one that writing a verdict takes anyway, taken before landmarks are looked up.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE verdicts IN ROW EXCLUSIVE MODE"))


def stored_verdicts(
    connection: Connection, keys: Collection[tuple[int, int]]
) -> dict[tuple[int, int], tuple[VerdictKind, datetime]]:
    """Kind and time of the stored verdicts among `keys` (content id, landmark id)."""
    if not keys:
        return {}
    key = tuple_(verdicts.c.content_id, verdicts.c.landmark_id)
    rows = connection.execute(select(verdicts).where(key.in_(keys)))
    return {(row.content_id, row.landmark_id): (VerdictKind(row.verdict), row.given_at) for row in rows}


def write_verdicts(connection: Connection, new: Iterable[NewVerdict], *, newer_only: bool = False) -> None:
    """Write verdicts over stored ones; with `newer_only`, not over those of the same time or later.

    An image with a confirmed landmark is no longer put away as not a landmark.
    """
    latest = {verdict.key: verdict for verdict in sorted(new, key=lambda verdict: verdict.at)}
    rows = [
        {
            "content_id": verdict.content_id,
            "landmark_id": verdict.landmark_id,
            "verdict": verdict.kind,
            "given_by": verdict.by,
            "given_at": verdict.at,
        }
        for _, verdict in sorted(latest.items())  # always in the same order, which prevents deadlocks
    ]
    if not rows:
        return
    statement = upsert(connection, verdicts)
    values = {name: statement.excluded[name] for name in ("verdict", "given_by", "given_at")}
    older = verdicts.c.given_at < statement.excluded.given_at if newer_only else None
    key = [verdicts.c.content_id, verdicts.c.landmark_id]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=values, where=older), rows)
    confirmed = {verdict.content_id for verdict in latest.values() if verdict.kind is VerdictKind.CONFIRMED}
    delete_dismissals(connection, sorted(confirmed))
    record_contents(connection, [content_id for content_id, _ in latest])


def delete_verdicts(connection: Connection, keys: Sequence[tuple[int, int]], kind: VerdictKind) -> int:
    """Delete these verdicts if they are of `kind`, and images that have no photo and no verdict left; returns how many verdicts."""
    if not keys:
        return 0
    content_ids = sorted({content_id for content_id, _ in keys})
    if connection.dialect.name == "postgresql":
        rows = select(contents.c.id).where(contents.c.id.in_(content_ids)).order_by(contents.c.id)
        connection.execute(rows.with_for_update())
    key = tuple_(verdicts.c.content_id, verdicts.c.landmark_id)
    deleted = connection.execute(delete(verdicts).where(key.in_(keys), verdicts.c.verdict == kind)).rowcount
    record_contents(connection, content_ids)
    has_photo = select(photos.c.id).where(photos.c.content_id == contents.c.id).exists()
    connection.execute(delete(contents).where(contents.c.id.in_(content_ids), ~has_photo, ~has_verdict()))
    return deleted
