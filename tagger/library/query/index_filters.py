"""The filters of a query that an index answers, and which of them leaves the fewest photos.

Each finds all photos that match the query, and others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    and_,
    exists,
    false,
    func,
    or_,
    select,
    true,
    union,
    union_all,
)

from tagger.database.enums import Outcome
from tagger.database.statements import among
from tagger.database.tables import (
    FAILING,
    UNTAGGED,
    contents,
    dismissals,
    photos,
    tags,
    taught_tags,
    verdicts,
)
from tagger.library.query.areas import Area, Circle, Country, Rectangle
from tagger.library.query.filters import ResolvedQuery
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import Condition, is_of_job, is_shared, taken_in
from tagger.library.query.tagged_photos import select_photos

FIRST_LIMIT = 5_000
"""Photos are counted up to this number first: most filters that leave few leave fewer."""

Rows = Select[Any] | CompoundSelect[Any]


@dataclass(frozen=True)
class IndexFilter:
    """Photos that meet `condition`. `rows`: the rows of indexes that are read for them.

    `by_date`: they are read along the index of dates.
    """

    condition: Condition
    rows: tuple[Rows, ...]
    by_date: bool = False

    def size(self, connection: Connection, limit: int) -> int:
        """The number of rows to read, counted up to `limit`."""
        size = 0
        for rows in self.rows:
            counted = select(func.count()).select_from(rows.limit(limit - size).subquery())
            size += connection.scalar(counted) or 0
            if size >= limit:
                break
        return size


def narrowest_filter(connection: Connection, resolved: ResolvedQuery, limit: int) -> tuple[IndexFilter, bool]:
    """The filter that leaves the fewest photos, and whether these are fewer than `limit`. They are counted up to it."""
    fewest, least = list(index_filters(resolved)), 0
    for step in (min(FIRST_LIMIT, limit), limit):
        sizes = [each.size(connection, step) for each in fewest]
        least = min(sizes)
        fewest = [each for each, size in zip(fewest, sizes, strict=True) if size == least]
        if least < step:
            break
    return fewest[0], least < limit


def index_filters(resolved: ResolvedQuery) -> Iterator[IndexFilter]:
    """The filters of the query that an index answers: at least one, unless it is for `any_outcome`."""
    query = resolved.query
    if resolved.trip is not None:  # few photos
        yield _files((photos.c.taken_at.between(resolved.trip.first, resolved.trip.last),))
        return
    if query.job is not None:
        yield _photos((select(photos.c.id).where(is_of_job(query.job)),))
        return
    if query.share is not None:
        yield _photos((select(photos.c.id).where(is_shared(query.share)),))
        return
    if resolved.landmark_ids:
        yield _contents(_of_landmarks(query, resolved.landmark_ids))
    yield from _in_areas(resolved)
    yield from _by_files(resolved)
    if resolved.model_id is not None:
        yield _contents((_ContentSource(contents.c.id, (contents.c.model_id == resolved.model_id,)),))
    if resolved.has_verdict and not query.dismissed:
        yield _contents((_with_verdict(query),))
    elif query.any_outcome:
        pass
    elif not resolved.landmark_ids and (query.unknown or query.dismissed or not resolved.areas):
        # Those of a landmark or an area are among these.
        yield _by_outcome(resolved)
    if query.min_score is not None and not query.any_rank and not resolved.landmark_ids:
        scored = tags.c.accepted == true(), tags.c.score >= query.min_score
        yield _contents((_ContentSource(tags.c.content_id, scored), _taught(query), _CONFIRMED))


@dataclass(frozen=True)
class _ContentSource:
    """Content ids of a table: the conditions that an index answers, and those that are checked row by row."""

    content_id: ColumnElement[int]
    conditions: tuple[Condition, ...]
    row_conditions: tuple[Condition, ...] = ()

    @property
    def ids(self) -> Select[Any]:
        return self.rows.where(*self.row_conditions)

    @property
    def rows(self) -> Select[Any]:
        return select(self.content_id).where(*self.conditions)


_CONFIRMED = _ContentSource(verdicts.c.content_id, (verdicts.c.verdict == "confirmed",))


def _files(ranges: Sequence[Condition], *, by_date: bool = False) -> IndexFilter:
    """The photos in any of these ranges of one index of `photos`."""
    rows = tuple(select(photos.c.id).where(each) for each in ranges)
    return IndexFilter(or_(false(), *ranges), rows, by_date)


def _photos(ids: Sequence[Select[Any]], rows: Sequence[Rows] | None = None) -> IndexFilter:
    """The photos with the ids of these queries."""
    # By their ids without the union, SQLite would rather read the index of an order.
    found = union_all(*ids).subquery()
    return IndexFilter(photos.c.id.in_(select(found.c[0])), tuple(ids if rows is None else rows))


def _contents(sources: Sequence[_ContentSource]) -> IndexFilter:
    """The photos of these images."""
    return IndexFilter(_has_content(sources), (_rows(sources),))


def _has_content(sources: Iterable[_ContentSource]) -> Condition:
    return photos.c.content_id.in_(union(*(source.ids for source in sources)))


def _rows(sources: Iterable[_ContentSource]) -> CompoundSelect[Any]:
    # One statement for all sources: most have few rows or none, and a statement costs more than these.
    return union_all(*(source.rows for source in sources))


def _of_landmarks(query: PhotoQuery, landmark_ids: Sequence[int]) -> Sequence[_ContentSource]:
    """The images with an accepted tag of the landmarks, or (with `any_rank`) with any; and those for which one is confirmed."""
    sources = []
    for table in (tags, taught_tags):
        indexed: list[Condition] = [among(table.c.landmark_id, landmark_ids)]
        if not query.any_rank:
            indexed.append(table.c.accepted == true())
        scored = () if query.min_score is None else (table.c.score >= query.min_score,)
        sources.append(_ContentSource(table.c.content_id, tuple(indexed), scored))
    confirmed = (among(verdicts.c.landmark_id, landmark_ids), *_CONFIRMED.conditions)
    return *sources, _ContentSource(verdicts.c.content_id, confirmed)


def _in_areas(resolved: ResolvedQuery) -> Iterator[IndexFilter]:
    """Those of each area. The positions of a country, the first, are read in a circle or box alone, where the query has one: their index has both."""
    boxes = [area.box for area in resolved.areas if isinstance(area, Circle | Rectangle)]
    for area in resolved.areas:
        if isinstance(area, Country):
            yield _in_area(resolved, area, area.positions_in(boxes[0] if boxes else None))
    for area in resolved.areas:
        if isinstance(area, Circle | Rectangle):
            yield _in_area(resolved, area, (area.box.photo_ids(),))


def _in_area(resolved: ResolvedQuery, area: Area, of_positions: Sequence[Select[Any]]) -> IndexFilter:
    """The photos with a position in the area; then those of its landmarks, which count where the position is not known."""
    landmark_ids = resolved.landmarks_of(area)
    if not landmark_ids:
        return _photos(of_positions) if of_positions else _files(())
    sources = _of_landmarks(resolved.query, landmark_ids)
    by_landmark = (
        select_photos()
        .with_only_columns(photos.c.id, maintain_column_froms=True)
        .where(_has_content(sources), area.landmarks_count)
    )
    return _photos((*of_positions, by_landmark), (*of_positions, _rows(sources)))


def _by_files(resolved: ResolvedQuery) -> Iterator[IndexFilter]:
    """Those of what is stored with the files: folders, cameras and dates."""
    query = resolved.query
    if query.under:
        yield _files([range_.condition for range_ in resolved.ranges])
    if resolved.camera_ids:
        yield _files([photos.c.camera_id == each for each in resolved.camera_ids])
    if query.year:
        years = sorted(set(query.year))
        yield _files([taken_in(photos.c.taken_at, year) for year in years], by_date=len(years) == 1)
    if query.taken_after is not None or query.taken_before is not None or query.calendar_month:
        yield _files((_taken(query),), by_date=True)


def _taken(query: PhotoQuery) -> Condition:
    # The first condition keeps photos without a date out.
    after = photos.c.taken_at >= (query.taken_after or datetime.min)  # noqa: DTZ901 - local time
    return after if query.taken_before is None else and_(after, photos.c.taken_at < query.taken_before)


def _by_outcome(resolved: ResolvedQuery) -> IndexFilter:
    query = resolved.query
    if query.untagged:
        unclassified = _with_outcome(None)
        without_content = _in_folders(resolved, and_(UNTAGGED, photos.c.content_id.is_(None)))
        with_content = select(photos.c.id).where(_has_content((unclassified,)))
        return _photos((without_content, with_content), (without_content, unclassified.rows))
    if query.failed:
        return _photos((_in_folders(resolved, FAILING),))
    if query.dismissed:
        return _contents((_ContentSource(dismissals.c.content_id, ()),))
    if query.unknown:
        rejected = _ContentSource(verdicts.c.content_id, (verdicts.c.verdict == "rejected",))
        return _contents((_with_outcome(Outcome.UNKNOWN), rejected))
    any_rank = not resolved.needs_accepted_tag
    outcomes = (Outcome.TAGGED, Outcome.UNKNOWN) if any_rank else (Outcome.TAGGED,)
    classified = (_with_outcome(each, query.min_score, any_rank=any_rank) for each in outcomes)
    return _contents((*classified, _taught(query, any_rank=any_rank), _CONFIRMED))


def _in_folders(resolved: ResolvedQuery, condition: Condition) -> Select[Any]:
    """The files with this condition, for which there is an index; only those of the folders, if there are some."""
    folders = (or_(false(), *(each.filter for each in resolved.ranges)),) if resolved.query.under else ()
    return select(photos.c.id).where(condition, *folders)


def _with_outcome(
    outcome: Outcome | None, min_score: float | None = None, *, any_rank: bool = False
) -> _ContentSource:
    """Images by outcome; None: those that no model has classified."""
    has_outcome = contents.c.outcome.is_(None) if outcome is None else contents.c.outcome == outcome
    if min_score is None:
        return _ContentSource(contents.c.id, (has_outcome,))
    scored = exists().where(tags.c.content_id == contents.c.id, tags.c.score >= min_score)
    row_condition = scored if any_rank else scored.where(tags.c.accepted == true())
    return _ContentSource(contents.c.id, (has_outcome,), (row_condition,))


def _taught(query: PhotoQuery, *, any_rank: bool = False) -> _ContentSource:
    """Images with a taught tag, accepted or (with `any_rank`) not."""
    accepted = () if any_rank else (taught_tags.c.accepted == true(),)
    scored = () if query.min_score is None else (taught_tags.c.score >= query.min_score,)
    return _ContentSource(taught_tags.c.content_id, accepted, scored)


def _with_verdict(query: PhotoQuery) -> _ContentSource:
    match query.verdict:
        case "confirmed":
            return _CONFIRMED
        case "rejected" | "corrected":  # fewer than confirmed ones
            return _ContentSource(verdicts.c.content_id, (verdicts.c.verdict == "rejected",))
        case _:
            return _ContentSource(verdicts.c.content_id, ())
