"""Finding photos by their tags; reads only.

A query reads pages of photos in its order, and then the effective tags of each page: rejected ones never,
confirmed ones always. Where few photos along an index match, the ids of all that follow are found by one
statement, and kept: eight bytes a photo.

The photos before and after one are found from its row, which gives its key in a scan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row

from tagger.database.connection import Database
from tagger.database.statements import among
from tagger.database.tables import photos
from tagger.errors import CursorInvalid
from tagger.query.filters import ResolvedQuery
from tagger.query.options import PhotoQuery
from tagger.query.sorted_scan import PageRequest, ScanPosition, SortedScan, sorted_scans
from tagger.query.tagged_photos import NameCache, TaggedPhoto, select_photos
from tagger.roots import RootPaths

# Photos of the first page. Each further page is twice as large: it may sort the same photos again.
PAGE = 250
LARGEST_PAGE = 2500
# If fewer of the photos that are looked up for a page match, sorting all that follow takes less
# time.
FEWEST_OF_PAGE = 1000
# The most pages that are read for one page of a result, which stays short if few photos match.
MOST_PAGES = 8


@dataclass(frozen=True)
class FoundPage:
    """Photos of a result, and the position of the next page; None at the end. Any page may be short."""

    photos: tuple[TaggedPhoto, ...]
    next: ScanPosition | None


def find_tagged(
    database: Database,
    query: PhotoQuery,
    root_paths: RootPaths | None = None,
) -> Iterator[TaggedPhoto]:
    """Yield each matching photo once, except photos whose file is gone. `root_paths` is settings.roots.

    Names are looked up before the first photo is requested, so that an invalid one raises at once.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name is not in the database.
    """
    return islice(
        QueryReader.start(database, query, root_paths).results(),
        query.limit,
    )


def find_tagged_page(
    database: Database,
    query: PhotoQuery,
    root_paths: RootPaths | None,
    after: ScanPosition | None,
    limit: int,
    *,
    month: str | None = None,
    skip: int = 0,
) -> FoundPage:
    """At most `limit` photos of the result of `find_tagged`, `skip` photos after the previous page.

    Whatever is added between two pages, a photo that is there all the time is on exactly one of them.
    `month` limits a result in order of time.

    Raises:
        CursorInvalid: `after` is not a position of this query.
        QueryOptionInvalid: `month` is not one.
        NotFound, LandmarkAmbiguous: a name is not in the database, or that of several.
    """
    search = QueryReader.start(database, query, root_paths, after, month=month)
    begin: ScanPosition | None = search.begin
    if skip:
        with database.read() as connection:
            _, begin = search.ids(connection, search.begin, 1, skip - 1)
    return FoundPage((), None) if begin is None else search.find_page(begin, limit)


@dataclass(frozen=True)
class PositionedPhotos:
    """Photos of a page of the scan with this number, their rows, and the position of the next page or None.

    `is_short`: the scan goes on, but few photos along its index match.
    """

    photos: Sequence[TaggedPhoto]
    rows: Sequence[Row[Any]]
    scan: int
    next: ScanPosition | None
    is_short: bool = False


@dataclass(frozen=True)
class QueryReader:
    """With ids, the scans that return its photos in order, and where it begins."""

    database: Database
    query: ResolvedQuery
    names: NameCache
    scans: Sequence[SortedScan]
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
    ) -> "QueryReader":
        """`month` limits a result in order of time."""
        with database.read() as connection:
            resolved = ResolvedQuery.resolve(connection, query, root_paths or {})
            names = NameCache(connection, root_paths or {})
            scans = sorted_scans(connection, resolved, month)
        return cls(database, resolved, names, scans, begin or ScanPosition(0, None))

    def results(self) -> Iterator[TaggedPhoto]:
        """All photos, or at least as many as the limit. What few further pages lack is found at once."""
        number, limit = 0, self.query.query.limit
        for page in self.pages(self.begin, min(limit or PAGE, PAGE)):
            yield from page.photos
            number += len(page.photos)
            suffices = limit is not None and limit - number <= MOST_PAGES * len(
                page.photos
            )
            if page.is_short and page.next is not None and not suffices:
                yield from self._following(page.next, number)
                return

    def _following(self, begin: ScanPosition, number: int) -> Iterator[TaggedPhoto]:
        # The photos after `begin`, which `number` others precede. Keeps their ids, of eight bytes each.
        conditions, limit = self.query.conditions(), self.query.query.limit
        for scan_number in range(begin.scan, len(self.scans)):
            scan = self.scans[scan_number]
            after = begin.after if scan_number == begin.scan else None
            rest = None if limit is None else max(limit - number, 0)
            with self.database.read() as connection:
                selective = scan.among
                if selective is None:
                    selective = self.query.selective(connection)
                ids = replace(scan, among=selective).following(
                    connection, conditions, after, rest
                )
            number += len(ids)
            for start in range(0, len(ids), LARGEST_PAGE):
                page = ids[start : start + LARGEST_PAGE]
                query = select_photos().where(among(photos.c.id, page), *conditions)
                with self.database.snapshot() as connection:
                    # Those that still match, in this order.
                    rows = {row.id: row for row in connection.execute(query)}
                    in_order = [rows[photo_id] for photo_id in page if photo_id in rows]
                    page_photos = self._named(connection, in_order)
                yield from page_photos

    def _named(
        self, connection: Connection, rows: Sequence[Row[Any]]
    ) -> list[TaggedPhoto]:
        # The photos of these rows, with the tags that the query returns.
        return self.names.photos(
            connection,
            rows,
            self.query.select_tags,
            accepted_suffice=not self.query.query.any_rank,
        )

    def find_page(self, begin: ScanPosition, limit: int) -> FoundPage:
        page_photos: list[TaggedPhoto] = []
        end: ScanPosition | None = begin
        for page in islice(self.pages(begin, limit + 1), MOST_PAGES):
            missing = limit - len(page_photos)
            page_photos += page.photos[:missing]
            if len(page.photos) > missing:
                if missing:
                    last = page.rows[missing - 1]
                    end = ScanPosition(page.scan, self.scans[page.scan].key(last))
                break
            end = page.next
        return FoundPage(tuple(page_photos), end)

    def ids(
        self,
        connection: Connection,
        begin: ScanPosition,
        limit: int,
        skip: int = 0,
    ) -> tuple[Sequence[int], ScanPosition | None]:
        """At most `limit` ids after `begin` and `skip` photos, and the next position; None at the end."""
        scans = self._scans(begin)
        conditions = self.query.conditions()
        ids: list[int] = []
        for number in range(begin.scan, len(scans)):
            scan = scans[number]
            after = begin.after if number == begin.scan else None
            request = PageRequest(conditions, after, limit - len(ids))
            rows = scan.ids(connection, request, skip)
            ids += [row.id for row in rows]
            if len(ids) == limit:
                return ids, ScanPosition(number, scan.key(rows[-1]))
            if skip and number + 1 < len(scans):
                skip = 0 if rows else skip - scan.count(connection, request)
        return ids, None

    def pages(self, begin: ScanPosition, rows: int) -> Iterator[PositionedPhotos]:
        """The first of `rows` photos."""
        scans, conditions = self._scans(begin), self.query.conditions()
        after, rows = begin.after, min(rows, LARGEST_PAGE)
        for number in range(begin.scan, len(scans)):
            scan = scans[number]
            while True:
                # Two statements read photos and tags. Without a snapshot, these could be of others.
                with self.database.snapshot() as connection:
                    request = PageRequest(conditions, after, rows)
                    photo_rows, after = scan.page(connection, request)
                    photos = self._named(connection, photo_rows)
                if after is None:
                    break
                is_short = len(photos) < min(rows, FEWEST_OF_PAGE)
                end = ScanPosition(number, after)
                yield PositionedPhotos(photos, photo_rows, number, end, is_short)
                rows = min(2 * rows, LARGEST_PAGE)
            is_last = number + 1 == len(scans)
            following = None if is_last else ScanPosition(number + 1, None)
            yield PositionedPhotos(photos, photo_rows, number, following)

    def _scans(self, begin: ScanPosition) -> Sequence[SortedScan]:
        scans = self.scans[begin.scan :]
        if begin.scan and not scans:
            raise CursorInvalid
        if begin.after is not None and not (scans and scans[0].accepts(begin.after)):
            raise CursorInvalid
        return self.scans
