"""Cameras whose photos may be on tracks, but of which nobody knows how their clocks are set."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from tagger.database.connection import Database
from tagger.database.tables import cameras, photos, track_parts
from tagger.library.catalog.camera_times import LOCAL_TIMES
from tagger.library.catalog.cameras import is_named


@dataclass(frozen=True)
class UnknownClock:
    """A camera, and the number of its photos that were taken around the time of a track."""

    camera: str
    photos: int


def unknown_clocks(database: Database) -> list[UnknownClock]:
    """The cameras whose photos tracks would locate if their clocks were known; those with the most photos first."""
    counts: Counter[str] = Counter()
    with database.read() as connection:
        for first, last in _spans(_track_times(connection)):
            counts.update(_photos_between(connection, first, last))
    return [UnknownClock(camera, count) for camera, count in counts.most_common()]


def _track_times(connection: Connection) -> list[tuple[datetime, datetime]]:
    """The first and last time of each track that clocks may have shown meanwhile, ascending."""
    first, last = func.min(track_parts.c.first_at), func.max(track_parts.c.last_at)
    rows = connection.execute(select(first, last).group_by(track_parts.c.track_id))
    return sorted((_naive(start) - LOCAL_TIMES, _naive(end) + LOCAL_TIMES) for start, end in rows)


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def _spans(times: Iterable[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime]]:
    """Ascending spans of time, those that overlap as one."""
    span: tuple[datetime, datetime] | None = None
    for first, last in times:
        if span is None or first > span[1]:
            if span is not None:
                yield span
            span = first, last
        else:
            span = span[0], max(span[1], last)
    if span is not None:
        yield span


def _photos_between(connection: Connection, first: datetime, last: datetime) -> dict[str, int]:
    """How many photos each camera with an unknown clock took, without GPS and without a time zone."""
    query = (
        select(cameras.c.name, func.count().label("photos"))
        .join(photos, photos.c.camera_id == cameras.c.id)
        .where(
            is_named(),
            cameras.c.clock_offset_s.is_(None),
            photos.c.taken_at.between(first, last),
            photos.c.utc_offset_s.is_(None),
            photos.c.latitude.is_(None),
            photos.c.origin.is_(None),
            photos.c.gone_since.is_(None),
        )
        .group_by(cameras.c.name)
    )
    return {row.name: row.photos for row in connection.execute(query)}
