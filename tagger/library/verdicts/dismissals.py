"""Dismissals as rows. Knows nothing of who gives them or why (see dismissing and importing)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from tagger.database.statements import upsert
from tagger.database.tables import dismissals, verdicts
from tagger.library.catalog.position_changes import record_contents


@dataclass(frozen=True)
class NewDismissal:
    """A dismissal to write, of an image that has a row."""

    content_id: int
    by: str | None
    at: datetime


def stored_dismissals(connection: Connection, content_ids: Collection[int]) -> dict[int, datetime]:
    """When those of the images that are dismissed were."""
    rows = connection.execute(select(dismissals).where(dismissals.c.content_id.in_(content_ids)))
    return {row.content_id: row.given_at for row in rows}


def confirmed_contents(connection: Connection, content_ids: Collection[int]) -> set[int]:
    """Those of the images on which a landmark is confirmed."""
    is_confirmed = verdicts.c.content_id.in_(content_ids), verdicts.c.verdict == "confirmed"
    return set(connection.scalars(select(verdicts.c.content_id).where(*is_confirmed)))


def write_dismissals(connection: Connection, new: Iterable[NewDismissal]) -> None:
    """Write dismissals over older ones, except for images on which a landmark is confirmed."""
    latest = {each.content_id: each for each in sorted(new, key=lambda each: each.at)}
    written = sorted(latest.keys() - confirmed_contents(connection, latest))  # in one order: no deadlocks
    if not written:
        return
    statement = upsert(connection, dismissals)
    values = {name: statement.excluded[name] for name in ("given_by", "given_at")}
    is_older = dismissals.c.given_at < statement.excluded.given_at
    rows = [
        {"content_id": content_id, "given_by": latest[content_id].by, "given_at": latest[content_id].at}
        for content_id in written
    ]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[dismissals.c.content_id], set_=values, where=is_older
        ),
        rows,
    )
    record_contents(connection, written)
