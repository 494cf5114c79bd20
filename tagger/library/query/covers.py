"""Cover photos: for each landmark with photos, one of those with the best scores."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, select, true

from tagger.database.connection import Database
from tagger.database.tables import contents, effective_tags, landmarks, photos, tags, taught_tags, verdicts

COVER_CANDIDATES = 200
"""A cover is the best of this many photos, so that its cost does not grow with the library."""
_TOP_CANDIDATES = 8
"""The best candidates: some may be gone, or a person may have rejected the landmark on them."""


@dataclass(frozen=True)
class Cover:
    """The photo that represents a landmark, and its image digest."""

    photo_id: int
    digest: str


def find_covers(database: Database) -> dict[str, Cover]:
    """Return covers by landmark slug; a landmark without photos has none."""
    with database.read() as connection:
        rows = connection.execute(select(landmarks.c.id, landmarks.c.slug)).all()
        covers = {row.slug: _cover(connection, row.id) for row in rows}
    return {slug: cover for slug, cover in covers.items() if cover is not None}


def find_examples(connection: Connection, landmark_id: int) -> list[Cover]:
    """Return some photos of a landmark: those that people confirmed, then those with the best scores."""
    confirmed = _confirmed(landmark_id)
    return _first_existing(
        connection, landmark_id, confirmed, _best(tags, landmark_id), _best(taught_tags, landmark_id)
    )


def _cover(connection: Connection, landmark_id: int) -> Cover | None:
    queries = (_best(tags, landmark_id), _best(taught_tags, landmark_id), _confirmed(landmark_id))
    return next(iter(_first_existing(connection, landmark_id, *queries)), None)


def _first_existing(connection: Connection, landmark_id: int, *queries: Select[Any]) -> list[Cover]:
    """The photos of the contents that the queries find, in their order."""
    content_ids = [content_id for query in queries for content_id in connection.scalars(query)]
    covers = _existing_covers(connection, content_ids, landmark_id)
    return [covers[content_id] for content_id in dict.fromkeys(content_ids) if content_id in covers]


def _confirmed(landmark_id: int) -> Select[tuple[int]]:
    """The first contents on which the landmark is confirmed."""
    return (
        select(verdicts.c.content_id)
        .where(verdicts.c.landmark_id == landmark_id, verdicts.c.verdict == "confirmed")
        .order_by(verdicts.c.content_id)
        .limit(_TOP_CANDIDATES)
    )


def _best(table: Table, landmark_id: int) -> Select[tuple[int]]:
    """The contents with the best scores among the first accepted tags of this table."""
    candidates = (
        select(table.c.content_id, table.c.score)
        .where(table.c.landmark_id == landmark_id, table.c.accepted == true())
        .order_by(table.c.content_id)
        .limit(COVER_CANDIDATES)
        .subquery()
    )
    return select(candidates.c.content_id).order_by(candidates.c.score.desc()).limit(_TOP_CANDIDATES)


def _existing_covers(connection: Connection, content_ids: list[int], landmark_id: int) -> dict[int, Cover]:
    """Of these contents, return those with a photo that is not gone and on which the landmark is accepted after verdicts."""
    accepted = select(effective_tags.c.content_id).where(
        effective_tags.c.content_id.in_(content_ids),
        effective_tags.c.landmark_id == landmark_id,
        effective_tags.c.accepted == true(),
    )
    rows = connection.execute(
        select(photos.c.id, photos.c.content_id, contents.c.digest)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.content_id.in_(accepted), photos.c.gone_since.is_(None))
        .order_by(photos.c.id.desc())
    )
    return {row.content_id: Cover(row.id, row.digest) for row in rows}
