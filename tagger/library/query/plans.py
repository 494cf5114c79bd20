"""Scan plans: the ways in which index scans return every match of a query, and the one that reads the fewest rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isqrt

from sqlalchemy import Connection, and_, false, func, or_, select, union_all

from tagger.database.enums import Outcome
from tagger.database.tables import FAILING, UNTAGGED, photos
from tagger.library.query.areas import Area, Circle, Country, Rectangle
from tagger.library.query.content_scan import (
    ContentScan,
    ContentSource,
    LandmarkScans,
    dismissal_source,
    model_source,
    outcome_source,
    score_source,
    taught_source,
    verdict_source,
)
from tagger.library.query.filters import ResolvedQuery
from tagger.library.query.index_scan import Condition, IndexScan, PhotoScan, camera_scans
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import is_of_job, is_shared, taken_in
from tagger.library.query.sorted_scan import candidate_scans, sorted_scans

SCAN_SIZE_LIMITS = (5_000, 20_000, 100_000)
"""Scans are counted up to the first limit; if they are equally large, up to the next."""

FEWEST_TO_WALK = 20_000
"""For pages: sorting more rows takes longer than reading as many along an index until a page is full."""
FEWEST_TO_WALK_ALONE = 5_000
"""For photos that wait or fail: an index has these alone, so each row that is read is one of them, but for changed files."""
WALKED_ROWS = 750
"""Sorting `n` of `N` photos costs as much as reading, for each photo of a page, `N / n` photos along an index, if `n * n` is
this times `N`: a page has 75, and one that is read with what its conditions need costs ten times as much as one that is sorted."""
_BY_DATE = (photos.c.taken_at, photos.c.id)


@dataclass(frozen=True)
class ScanPlan:
    """Scans that together return every match. `area`: they return the photos of this area, by position and by landmark.

    `unordered`: fewer scans that return the same photos, to count or to sort these.
    """

    scans: tuple[IndexScan, ...]
    area: Area | None = None
    fewer_scans: tuple[IndexScan, ...] | None = None

    @property
    def unordered(self) -> tuple[IndexScan, ...]:
        return self.scans if self.fewer_scans is None else self.fewer_scans


def smallest_plan(connection: Connection, plans: Sequence[ScanPlan]) -> int:
    """The number of the plan that reads the fewest rows."""
    smallest: Sequence[int] = range(len(plans))
    for limit in SCAN_SIZE_LIMITS:
        if len(smallest) == 1:
            break
        sizes = {number: scans_size(connection, plans[number].unordered, limit) for number in smallest}
        least = min(sizes.values())
        smallest = [number for number, size in sizes.items() if size == least]
    return smallest[0]


def smallest_scans(
    connection: Connection, plans: Iterable[ScanPlan], limit: int
) -> tuple[Sequence[IndexScan], bool]:
    """The scans that return the fewest photos, and whether these are fewer than `limit`. They are counted up to it."""
    smallest, least = [plan.unordered for plan in plans], 0
    for step in (min(SCAN_SIZE_LIMITS[0], limit), limit):
        sizes = [scans_size(connection, scans, step) for scans in smallest]
        least = min(sizes)
        smallest = [scans for scans, size in zip(smallest, sizes, strict=True) if size == least]
        if least < step:
            break
    return smallest[0], least < limit


def scans_size(connection: Connection, scans: Sequence[IndexScan], limit: int) -> int:
    """The number of rows that the scans read, counted up to `limit`."""
    size = 0
    for scan in scans:
        size += scan.size(connection, limit - size)
        if size >= limit:
            return limit
    return size


def sorted_plan(connection: Connection, resolved: ResolvedQuery, month: str | None = None) -> ScanPlan:
    """The plan for the order of the query; with `month`, for that month alone.

    Photos that other scans find in few rows are sorted; more are read along the index of their order.
    """
    query, plans = resolved.query, tuple(scan_plans(resolved))
    scans: Sequence[IndexScan]
    if query.sort == "score" and not query.unknown:  # no index has this order
        scans, is_small = plans[smallest_plan(connection, plans)].unordered, True
    else:
        scans, is_small = smallest_scans(connection, plans, _fewest_to_walk(connection, query))
    if query.sort == "score" and query.unknown:
        return ScanPlan(tuple(candidate_scans(is_of_scans(scans), is_small=is_small)))
    is_sorted = is_small and not _are_in_order(resolved, scans)
    among = is_of_scans(scans) if is_sorted else None
    return ScanPlan(tuple(sorted_scans(query, resolved.landmark_ids, among, month)))


def _are_in_order(resolved: ResolvedQuery, scans: Sequence[IndexScan]) -> bool:
    """Whether the scans read along the index of the query's order themselves, in the same limits."""
    by_date = resolved.query.sort in ("newest", "oldest") and resolved.trip is None
    return by_date and len(scans) == 1 and isinstance(scans[0], PhotoScan) and scans[0].keys == _BY_DATE


def _fewest_to_walk(connection: Connection, query: PhotoQuery) -> int:
    if query.untagged or query.failed:
        return FEWEST_TO_WALK_ALONE
    newest = connection.scalar(select(func.max(photos.c.id))) or 0  # about the number of photos
    return max(FEWEST_TO_WALK, isqrt(WALKED_ROWS * newest))


def is_of_scans(scans: Sequence[IndexScan]) -> Condition:
    """Whether a scan returns the photo; perhaps of other photos that do not match the query."""
    # One look at each photo. By their ids alone, SQLite would rather read the index of an order.
    if len(scans) == 1 and isinstance(scans[0], ContentScan):
        return scans[0].condition
    files = [scan for scan in scans if isinstance(scan, PhotoScan) and scan.keys != (photos.c.id,)]
    if len(files) == len(scans):
        return or_(false(), *(and_(*scan.conditions) for scan in files))
    found = union_all(*(scan.photo_ids() for scan in scans)).subquery()
    return photos.c.id.in_(select(found.c[0]))


def scan_plans(resolved: ResolvedQuery) -> Iterator[ScanPlan]:
    """All plans for the query."""
    query = resolved.query
    if resolved.trip is not None:  # few photos, in order of time
        during = photos.c.taken_at.between(resolved.trip.first, resolved.trip.last)
        yield ScanPlan((PhotoScan(_BY_DATE, (during,)),))
        return
    if query.job is not None:
        yield ScanPlan((PhotoScan((photos.c.id,), (is_of_job(query.job),)),))
        return
    if query.share is not None:
        yield ScanPlan((PhotoScan((photos.c.id,), (is_shared(query.share),)),))
        return
    if resolved.landmark_ids:
        yield ScanPlan((landmark_scans(query).of(resolved.landmark_ids),))
    yield from _area_plans(resolved)
    yield from _file_plans(resolved)
    if resolved.model_id is not None:
        yield ScanPlan((ContentScan((model_source(resolved.model_id),)),))
    if resolved.has_verdict and not query.dismissed:
        yield ScanPlan((ContentScan((_verdict_source(query),)),))
    elif not resolved.landmark_ids and (query.unknown or query.dismissed or not resolved.areas):
        # With a landmark or an area, these scans would read everything that theirs read, and more.
        yield ScanPlan(_outcome_scans(resolved))
    if query.min_score is not None and not query.any_rank and not resolved.landmark_ids:
        scored = score_source(query.min_score), taught_source(min_score=query.min_score)
        yield ScanPlan((ContentScan((*scored, verdict_source("confirmed"))),))


def _file_plans(resolved: ResolvedQuery) -> Iterator[ScanPlan]:
    """Plans along what is stored with the files: folders, cameras and dates."""
    query = resolved.query
    if query.under:
        by_path = (photos.c.path, photos.c.path_bytes)  # each range is of one root
        yield ScanPlan(tuple(PhotoScan(by_path, (range_.condition,)) for range_ in resolved.ranges))
    if resolved.camera_ids:
        yield ScanPlan(tuple(scan for id_ in resolved.camera_ids for scan in camera_scans(id_)))
    if query.year:
        years = sorted(set(query.year))
        yield ScanPlan(tuple(PhotoScan(_BY_DATE, (taken_in(photos.c.taken_at, year),)) for year in years))
    if query.taken_after is not None or query.taken_before is not None:
        yield ScanPlan((PhotoScan(_BY_DATE, _taken(query)),))


def _area_plans(resolved: ResolvedQuery) -> Iterator[ScanPlan]:
    """One for each area. That of a country, the first, reads its positions in a circle or box alone: their index has both."""
    boxes = [area.box for area in resolved.areas if isinstance(area, Circle | Rectangle)]
    for area in resolved.areas:
        if isinstance(area, Country):
            yield _area_plan(resolved, area, area.scans_in(boxes[0] if boxes else None))
    for area in resolved.areas:
        if not isinstance(area, Country):
            yield _area_plan(resolved, area, area.scans)


def _area_plan(resolved: ResolvedQuery, area: Area, scans: Sequence[IndexScan]) -> ScanPlan:
    """The photos with a position in the area; then those of each landmark, which count where the position is not known."""
    landmark_ids, of_landmarks = resolved.landmarks_of(area), landmark_scans(resolved.query)
    by_landmark = (of_landmarks.of((each,), of_matches=True) for each in landmark_ids)
    together = (of_landmarks.of_many(landmark_ids, area.landmarks_count),) if landmark_ids else ()
    return ScanPlan((*scans, *by_landmark), area, (*scans, *together))


def landmark_scans(query: PhotoQuery) -> LandmarkScans:
    """The scans of landmarks for the tags that the query is about."""
    return LandmarkScans(any_rank=query.any_rank, min_score=query.min_score)


def _outcome_scans(resolved: ResolvedQuery) -> tuple[IndexScan, ...]:
    query = resolved.query
    if query.untagged:
        without_content = _file_scans(resolved, UNTAGGED, photos.c.content_id.is_(None))
        return *without_content, ContentScan((outcome_source(None),))
    if query.failed:
        return _file_scans(resolved, FAILING)
    if query.dismissed:
        return (ContentScan((dismissal_source(),)),)
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


def _file_scans(resolved: ResolvedQuery, *conditions: Condition) -> tuple[IndexScan, ...]:
    """The files with these conditions, for which there is an index; only those of the folders, if there are some."""
    in_folders = (or_(false(), *(each.filter for each in resolved.ranges)),) if resolved.query.under else ()
    return (PhotoScan((photos.c.id,), (*conditions, *in_folders)),)


def _verdict_source(query: PhotoQuery) -> ContentSource:
    match query.verdict:
        case "confirmed" | "rejected" as verdict:
            return verdict_source(verdict)
        case "corrected":
            return verdict_source("rejected")  # fewer than confirmed ones
        case _:
            return verdict_source()


def _taken(query: PhotoQuery) -> tuple[Condition, ...]:
    # The first condition also keeps photos without a date out of the scan, and so out of its keys.
    conditions: list[Condition] = [photos.c.taken_at >= (query.taken_after or datetime.min)]  # noqa: DTZ901 - local time
    if query.taken_before is not None:
        conditions.append(photos.c.taken_at < query.taken_before)
    return tuple(conditions)
