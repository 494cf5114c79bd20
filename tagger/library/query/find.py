"""Finding photos by their tags; reads only.

A query reads the smallest index scans that return every match, filters in SQL what SQL can filter, and then selects
the effective tags of each page: rejected ones never, confirmed ones always. Memory does not grow with the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, Row

from tagger.database.connection import Database
from tagger.errors import CursorInvalid
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.filters import ResolvedQuery, ScanRole
from tagger.library.query.index_scan import IndexScan, Key, PageRequest, ScanPage
from tagger.library.query.options import PhotoQuery
from tagger.library.query.plans import ScanPlan, landmark_scans, scan_plans, smallest_plan, sorted_plan
from tagger.library.query.sorted_scan import SortedScan
from tagger.library.query.tagged_photos import NameCache, TaggedPhoto, tag_rows

PAGE = 250
SMALLEST_PAGE = 50
"""Rows read at a time. The first page is smaller if the query has a small limit."""
FEW_MATCH = 8
"""So many times larger pages are read where few of the rows match: each page costs statements, too."""
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
    return search.find_page(search.begin, limit)


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
    plans: Sequence[ScanPlan]
    begin: ScanPosition

    @classmethod
    def start(
        cls,
        database: Database,
        query: PhotoQuery,
        root_paths: RootPaths | None,
        begin: ScanPosition | None = None,
        *,
        month: str | None = None,
    ) -> "Search":
        """Resolve the query; without `begin`, choose the smallest plan. A sorted result has one; `month` limits it."""
        with database.read() as connection:
            resolved = ResolvedQuery.resolve(connection, query, root_paths or {})
            names = NameCache(connection, root_paths or {})
            if query.sort is not None:
                plans: tuple[ScanPlan, ...] = (sorted_plan(connection, resolved, month),)
            else:
                plans = tuple(scan_plans(resolved))
            begin = begin or ScanPosition(smallest_plan(connection, plans), 0, None)
        return cls(database, resolved, names, plans, begin)

    def find_page(self, begin: ScanPosition, limit: int) -> PhotoPage:
        """At most `limit` photos after `begin`."""
        found: list[TaggedPhoto] = []
        end: ScanPosition | None = begin  # after the last photo of a full page
        rows = 0
        for page in self.pages(begin, limit):
            for photo, position in page.matches:
                if len(found) == limit:
                    return PhotoPage(tuple(found), end)
                found.append(photo)
                end = position
            rows += page.rows
            if rows >= MOST_ROWS and page.next is not None and len(found) < limit:
                return PhotoPage(tuple(found), page.next)
        return PhotoPage(tuple(found), None)

    def ids(
        self, connection: Connection, begin: ScanPosition, limit: int, skip: int = 0
    ) -> tuple[Sequence[int], ScanPosition | None]:
        """At most `limit` ids of a sorted result after `begin` and `skip` photos, and the position after them; None at the end."""
        scans = self._scans(begin)
        conditions = self.query.conditions(ScanRole())
        ids: list[int] = []
        for number in range(begin.scan, len(scans)):
            scan = scans[number]
            if not isinstance(scan, SortedScan):
                raise CursorInvalid
            after = begin.after if number == begin.scan else None
            request = PageRequest(conditions, after, limit - len(ids), backwards=False)
            rows = scan.ids(connection, request, skip)
            ids += [row.id for row in rows]
            if len(ids) == limit:
                return ids, ScanPosition(begin.plan, number, scan.key(rows[-1]))
            if skip and number + 1 < len(scans):
                skip = 0 if rows else skip - scan.count(connection, request)
        return ids, None

    def pages(self, begin: ScanPosition, limit: int, *, backwards: bool = False) -> Iterator[FilteredPage]:
        """The pages of all scans after `begin`; with `backwards`, before it, the nearest first."""
        scans = self._scans(begin)
        numbers = range(begin.scan, -1, -1) if backwards else range(begin.scan, len(scans))
        for number in self._scans_with_photos(begin, numbers):
            after = begin.after if number == begin.scan else None
            is_last = number == numbers[-1]
            next_scan = None if is_last else ScanPosition(begin.plan, number + numbers.step, None)
            here = ScanPosition(begin.plan, number, after)
            yield from self._scan_pages(scans[number], here, next_scan, limit, backwards=backwards)

    def _scans_with_photos(self, begin: ScanPosition, numbers: range) -> Iterator[int]:
        """The numbers of the scans to read: of landmarks in an area only those with a photo that matches, since most have none."""
        plan = self.plans[begin.plan]
        if plan.area is None:
            yield from numbers
            return
        for landmark, scans in groupby(numbers, lambda number: plan.scans[number].landmark_id is not None):
            if not landmark:
                yield from scans
                continue
            rest = list(scans)
            if begin.after is not None and rest[0] == begin.scan:  # it had photos on the previous page
                yield rest.pop(0)
            yield from self._landmarks_with_photos(plan, rest, backwards=numbers.step < 0)

    def _landmarks_with_photos(
        self, plan: ScanPlan, numbers: Sequence[int], *, backwards: bool
    ) -> Iterator[int]:
        """Those of these scans that have a photo: first one, then twice as many at a time, so that a page tests few landmarks after its own."""
        number_of = {plan.scans[number].landmark_id or 0: number for number in numbers}
        scans = landmark_scans(self.query.query)
        rest, count = list(number_of), 1
        while rest:
            conditions = self.query.conditions(ScanRole(rest[0], plan.area))
            with self.database.read() as connection:
                found = scans.with_photos(connection, rest, conditions, count, backwards=backwards)
            yield from (number_of[landmark_id] for landmark_id in found)
            rest = rest[rest.index(found[-1]) + 1 :] if len(found) == count else []
            count *= 2

    def _scan_pages(
        self,
        scan: IndexScan,
        begin: ScanPosition,
        next_scan: ScanPosition | None,
        limit: int,
        *,
        backwards: bool,
    ) -> Iterator[FilteredPage]:
        role = ScanRole(scan.landmark_id, self.plans[begin.plan].area)
        conditions = self.query.conditions(role)
        after = begin.after
        rows = min(PAGE, max(SMALLEST_PAGE, limit * 5 // 4))
        while True:
            # Several statements read keys, photos and tags: of one state, or a photo that moves would hide others.
            with self.database.snapshot() as connection:
                page = scan.page(connection, PageRequest(conditions, after, rows, backwards))
                photos_by_row = self._matches(connection, page, role)
            matches = [
                (photo, ScanPosition(begin.plan, begin.scan, scan.key(row))) for row, photo in photos_by_row
            ]
            if page.after is None:
                yield FilteredPage(matches, rows, next_scan)
                return
            yield FilteredPage(matches, rows, ScanPosition(begin.plan, begin.scan, page.after))
            after = page.after
            rows = min(2 * rows, PAGE) if 4 * len(matches) > rows else min(4 * rows, FEW_MATCH * PAGE)

    def _scans(self, begin: ScanPosition) -> Sequence[IndexScan]:
        if begin.plan >= len(self.plans) or (begin.scan and begin.scan >= len(self.plans[begin.plan].scans)):
            raise CursorInvalid
        scans = self.plans[begin.plan].scans
        if begin.after is not None and not (scans and scans[begin.scan].accepts(begin.after)):
            raise CursorInvalid
        return scans

    def _matches(
        self, connection: Connection, page: ScanPage, role: ScanRole
    ) -> list[tuple[Row[Any], TaggedPhoto]]:
        rows = [row for row in page.photos if not self.query.is_elsewhere(row, role)]
        tags_of = tag_rows(connection, {row.content_id for row in rows if row.content_id is not None})
        matches = []
        for row in rows:
            photo_tags = tags_of.get(row.content_id, ())
            selected = self.query.select_tags(row, photo_tags, role)
            if selected is not None:
                matches.append((row, self.names.photo(connection, row, photo_tags, selected)))
        return matches
