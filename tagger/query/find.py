"""Finding photos by their tags; reads only.

A query reads the smallest index scans that return every match, filters in SQL what SQL can filter, and then selects
the effective tags of each page: rejected ones never, confirmed ones always. Memory does not grow with the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row

from tagger.catalog.roots import RootPaths
from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.tables import photos
from tagger.errors import CursorInvalid
from tagger.query.filters import ResolvedQuery
from tagger.query.index_scan import (
    Condition,
    ContentScan,
    IndexScan,
    Key,
    PageRequest,
    PhotoScan,
    ScanPage,
    landmark_scan,
    model_source,
    outcome_source,
    score_source,
    taught_source,
    verdict_source,
)
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import NameCache, TaggedPhoto, tag_rows

PAGE = 250
SMALLEST_PAGE = 50
"""Rows read at a time. The first page is smaller if the query has a small limit."""
SCAN_SIZE_LIMITS = (5_000, 20_000)
"""Scans are counted up to the first limit; if they are equally large, up to the next."""
MOST_ROWS = 10_000
"""Rows read for one page of a result. If few of them match, the page ends before it is full."""


@dataclass(frozen=True)
class ScanPosition:
    """The end of a page: the number of the scan plan, of the scan in it, and the key in the scan; None: its start."""

    plan: int
    scan: int
    after: Key | None


@dataclass(frozen=True)
class PhotoPage:
    """Photos of a result, and the position of the next page; None at the end. A page before the end may be short, even empty."""

    photos: tuple[TaggedPhoto, ...]
    next: ScanPosition | None


def find_tagged(
    database: Database, query: PhotoQuery, root_paths: RootPaths | None = None
) -> Iterator[TaggedPhoto]:
    """Yield each matching photo once, except photos whose file is gone. `root_paths` is settings.roots.

    Names are looked up before the first photo is requested, so that an invalid one raises at once.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name is not in the database.
    """
    search = Search.start(database, query, root_paths)
    # Some rows do not match; a slightly larger page saves a second one.
    pages = search.pages(search.begin, query.limit or PAGE)
    return islice((photo for page in pages for photo, _ in page.matches), query.limit)


def find_tagged_page(
    database: Database,
    query: PhotoQuery,
    root_paths: RootPaths | None,
    after: ScanPosition | None,
    limit: int,
) -> PhotoPage:
    """At most `limit` photos of the result of `find_tagged`, from the end of the previous page.

    All pages use the scan plan of the first page, whatever is added to the database in between: a photo that is there
    all the time is on exactly one page.

    Raises:
        CursorInvalid: `after` is not a position of this query.
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name is not in the database.
    """
    search = Search.start(database, query, root_paths, after)
    found: list[TaggedPhoto] = []
    end: ScanPosition | None = search.begin  # after the last photo of a full page
    rows = 0
    for page in search.pages(search.begin, limit):
        for photo, position in page.matches:
            if len(found) == limit:
                return PhotoPage(tuple(found), end)
            found.append(photo)
            end = position
        rows += page.rows
        if rows >= MOST_ROWS and page.next is not None and len(found) < limit:
            return PhotoPage(tuple(found), page.next)
    return PhotoPage(tuple(found), None)


@dataclass(frozen=True)
class FilteredPage:
    """The matches in a page of a scan, each with the position after it; and the number of rows requested."""

    matches: Sequence[tuple[TaggedPhoto, ScanPosition]]
    rows: int
    next: ScanPosition | None


@dataclass(frozen=True)
class Search:
    """A query ready to read: its ids, the scan plans that it can use, and the position at which it begins."""

    database: Database
    query: ResolvedQuery
    names: NameCache
    plans: Sequence[Sequence[IndexScan]]
    begin: ScanPosition

    @classmethod
    def start(
        cls,
        database: Database,
        query: PhotoQuery,
        root_paths: RootPaths | None,
        begin: ScanPosition | None = None,
    ) -> "Search":
        """Resolve the query; without `begin`, choose the smallest plan."""
        with database.read() as connection:
            resolved = ResolvedQuery.resolve(connection, query, root_paths or {})
            names = NameCache(connection, root_paths or {})
            plans = tuple(_plans(resolved))
            begin = begin or ScanPosition(_smallest_plan(connection, plans), 0, None)
        return cls(database, resolved, names, plans, begin)

    def pages(self, begin: ScanPosition, limit: int, *, backwards: bool = False) -> Iterator[FilteredPage]:
        """The pages of all scans after `begin`; with `backwards`, before it, the nearest first."""
        scans = self._scans(begin)
        numbers = range(begin.scan, -1, -1) if backwards else range(begin.scan, len(scans))
        for number in numbers:
            after = begin.after if number == begin.scan else None
            is_last = number == numbers[-1]
            next_scan = None if is_last else ScanPosition(begin.plan, number + numbers.step, None)
            here = ScanPosition(begin.plan, number, after)
            yield from self._scan_pages(scans[number], here, next_scan, limit, backwards=backwards)

    def _scan_pages(
        self,
        scan: IndexScan,
        begin: ScanPosition,
        next_scan: ScanPosition | None,
        limit: int,
        *,
        backwards: bool,
    ) -> Iterator[FilteredPage]:
        conditions = self.query.conditions(scan.landmark_id)
        after = begin.after
        rows = min(PAGE, max(SMALLEST_PAGE, limit * 5 // 4))
        while True:
            with self.database.read() as connection:
                page = scan.page(connection, PageRequest(conditions, after, rows, backwards))
                photos_by_row = self._matches(connection, page, scan.landmark_id)
            matches = [
                (photo, ScanPosition(begin.plan, begin.scan, scan.key(row))) for row, photo in photos_by_row
            ]
            if page.after is None:
                yield FilteredPage(matches, rows, next_scan)
                return
            yield FilteredPage(matches, rows, ScanPosition(begin.plan, begin.scan, page.after))
            after, rows = page.after, min(PAGE, 2 * rows)

    def _scans(self, begin: ScanPosition) -> Sequence[IndexScan]:
        if begin.plan >= len(self.plans) or (begin.scan and begin.scan >= len(self.plans[begin.plan])):
            raise CursorInvalid
        scans = self.plans[begin.plan]
        if begin.after is not None and not (scans and scans[begin.scan].accepts(begin.after)):
            raise CursorInvalid
        return scans

    def _matches(
        self, connection: Connection, page: ScanPage, scan_landmark: int | None
    ) -> list[tuple[Row[Any], TaggedPhoto]]:
        tags_of = tag_rows(connection, {row.content_id for row in page.photos if row.content_id is not None})
        matches = []
        for row in page.photos:
            photo_tags = tags_of.get(row.content_id, ())
            selected = self.query.select_tags(photo_tags, scan_landmark)
            if selected is not None:
                matches.append((row, self.names.photo(connection, row, photo_tags, selected)))
        return matches


def _smallest_plan(connection: Connection, plans: Sequence[Sequence[IndexScan]]) -> int:
    """The number of the plan that reads the fewest rows."""
    smallest: Sequence[int] = range(len(plans))
    for limit in SCAN_SIZE_LIMITS:
        if len(smallest) == 1:
            break
        sizes = {number: _size(connection, plans[number], limit) for number in smallest}
        least = min(sizes.values())
        smallest = [number for number, size in sizes.items() if size == least]
    return smallest[0]


def _size(connection: Connection, scans: Sequence[IndexScan], limit: int) -> int:
    size = 0
    for scan in scans:
        size += scan.size(connection, limit)
        if size >= limit:
            return limit
    return size


def _plans(resolved: ResolvedQuery) -> Iterator[tuple[IndexScan, ...]]:
    """Each plan is a sequence of scans that together return every match."""
    query = resolved.query
    if resolved.trip is not None:  # few photos, in order of time
        during = photos.c.taken_at.between(resolved.trip.first, resolved.trip.last)
        yield (PhotoScan((photos.c.taken_at, photos.c.id), (during,)),)
        return
    if resolved.landmarks is not None:
        yield tuple(
            landmark_scan(landmark_id, any_rank=query.any_rank, min_score=query.min_score)
            for landmark_id in resolved.landmarks
        )
    if query.under:
        by_path = (photos.c.path, photos.c.path_bytes)  # each range is of one root
        yield tuple(PhotoScan(by_path, (range_.condition,)) for range_ in resolved.ranges)
    if query.taken_after is not None or query.taken_before is not None:
        yield (PhotoScan((photos.c.taken_at, photos.c.id), _taken(query)),)
    if resolved.model_id is not None:
        yield (ContentScan((model_source(resolved.model_id),)),)
    if (
        resolved.landmarks is None
    ):  # with landmarks, these scans would read everything that theirs read, and more
        yield _outcome_scans(resolved)
        if query.min_score is not None and not query.any_rank:
            scored = score_source(query.min_score), taught_source(min_score=query.min_score)
            yield (ContentScan((*scored, verdict_source("confirmed"))),)


def _outcome_scans(resolved: ResolvedQuery) -> tuple[IndexScan, ...]:
    query = resolved.query
    if query.untagged:
        without_content = PhotoScan((photos.c.id,), (photos.c.content_id.is_(None),))
        return without_content, ContentScan((outcome_source(None),))
    if query.unknown:
        return (ContentScan((outcome_source(Outcome.UNKNOWN), verdict_source("rejected"))),)
    if not resolved.needs_accepted_tag:
        classified = (
            outcome_source(outcome, min_score=query.min_score, any_rank=True)
            for outcome in (Outcome.TAGGED, Outcome.UNKNOWN)
        )
        taught = taught_source(min_score=query.min_score, any_rank=True)
        return (ContentScan((*classified, taught, verdict_source("confirmed"))),)
    tagged = outcome_source(Outcome.TAGGED, min_score=query.min_score)
    return (ContentScan((tagged, taught_source(min_score=query.min_score), verdict_source("confirmed"))),)


def _taken(query: PhotoQuery) -> tuple[Condition, ...]:
    # The first condition also keeps photos without a date out of the scan, and so out of its keys.
    conditions: list[Condition] = [photos.c.taken_at >= (query.taken_after or datetime.min)]  # noqa: DTZ901 - local time
    if query.taken_before is not None:
        conditions.append(photos.c.taken_at < query.taken_before)
    return tuple(conditions)
