"""A sorted result in parts: how many photos each month has, and the photos from any place in a month; reads only."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, case, cast, func, literal, select

from tagger.database.connection import Database
from tagger.database.statements import month_of
from tagger.database.tables import contents, photos
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.filters import ResolvedQuery
from tagger.library.query.find import QueryReader, ScanPosition
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import select_photos

FEWEST_TO_READ_ALL = 300_000
"""Larger results are counted by reading all photos."""
_USUAL_ASPECT = 4 / 3
"""The width of a photo whose size is unknown, divided by its height."""
_ASPECT = case(
    (contents.c.height > 0, cast(contents.c.width, Float) / contents.c.height), else_=_USUAL_ASPECT
)


@dataclass(frozen=True)
class Section:
    """The photos of a month, or all of a result that is not in order of time: how many, and their mean width divided by height.

    `month` is like `2024-06`, or None for photos without a date.
    """

    month: str | None
    photos: int
    aspect: float


@dataclass(frozen=True)
class SectionStart:
    """A place in a section: `skip` photos after the position `after`; None: after the section's start.

    `month` is that of the section, `none` for photos without a date; None where a result is not in order of time.
    """

    month: str | None = None
    after: ScanPosition | None = None
    skip: int = 0


def timeline_sections(
    database: Database, query: PhotoQuery, root_paths: RootPaths | None = None
) -> list[Section]:
    """The sections of the sorted result, in its order. Reads all its photos.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound, TripNotFound: a name is not in the database.
    """
    by_date = query.sort in ("newest", "oldest")
    month: ColumnElement[Any] = month_of(photos.c.taken_at) if by_date else literal(None)
    with database.snapshot() as connection:
        resolved = ResolvedQuery.resolve(connection, query, root_paths or {})
        narrowest, is_small = resolved.narrowest(connection, FEWEST_TO_READ_ALL)
        counted = (
            select_photos()
            .with_only_columns(month, func.count(), func.avg(_ASPECT), maintain_column_froms=True)
            .where(*resolved.conditions())
        )
        if narrowest is not None and is_small:
            counted = counted.where(narrowest.among)
        rows = connection.execute(counted.group_by(month) if by_date else counted)
        sections = [Section(month, number, float(aspect)) for month, number, aspect in rows if number]
    dated = [each for each in sections if each.month is not None]
    dated.sort(key=lambda section: section.month or "", reverse=query.sort == "newest")
    return [*dated, *(each for each in sections if each.month is None)]


def find_section_ids(
    database: Database, query: PhotoQuery, root_paths: RootPaths | None, start: SectionStart, limit: int
) -> tuple[Sequence[int], ScanPosition | None]:
    """The ids alone of at most `limit` photos, and the position of the next ones; without a month, of the whole result.

    Raises as `find_tagged_page`.
    """
    search = QueryReader.start(database, query, root_paths, start.after, month=start.month)
    with database.read() as connection:
        return search.ids(connection, search.begin, limit, start.skip)


def count_photos(database: Database, query: PhotoQuery, limit: int) -> int:
    """How many photos the sorted result has, counted up to `limit`. Raises as `find_tagged_page`."""
    ids, _ = find_section_ids(database, query, None, SectionStart(), limit)
    return len(ids)


def count_copies(database: Database, digests: Collection[str]) -> dict[str, int]:
    """How many photos that exist have each image, by its digest."""
    counted = (
        select(contents.c.digest, func.count())
        .join(photos, photos.c.content_id == contents.c.id)
        .where(contents.c.digest.in_(digests), photos.c.gone_since.is_(None))
        .group_by(contents.c.digest)
    )
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(counted)}
