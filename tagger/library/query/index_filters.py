"""The filters of a query that an index answers, and which of them leaves the fewest photos.

Each finds all photos that match the query, and others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Select,
    and_,
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
    effective_tags,
    favourites,
    photos,
    tags,
    verdicts,
)
from tagger.library.query.areas import Area
from tagger.library.query.filters import ResolvedQuery
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import Condition, is_of_job, is_shared, taken_in
from tagger.library.query.tagged_photos import select_photos

Rows = Select[Any] | CompoundSelect[Any]


@dataclass(frozen=True)
class IndexFilter:
    """Photos that meet `condition`. `rows`: the rows of indexes that are read for them."""

    condition: Condition
    rows: tuple[Rows, ...]

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
    filters, least = list(index_filters(resolved)), limit
    fewest = filters[0]
    for each in filters:
        size = each.size(connection, least)
        if size < least:
            fewest, least = each, size
    return fewest, least < limit


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
    yield from (_in_area(resolved, area) for area in resolved.areas)
    yield from _by_files(resolved)
    if resolved.model_id is not None:
        yield _contents((select(contents.c.id).where(contents.c.model_id == resolved.model_id),))
    if resolved.has_verdict and not query.dismissed:
        # Rejected ones are fewer than confirmed ones.
        by_verdict = {"confirmed": _CONFIRMED, "rejected": _REJECTED, "corrected": _REJECTED}
        yield _contents((by_verdict.get(query.verdict or "any", select(verdicts.c.content_id)),))
    elif query.any_outcome:
        pass
    elif not resolved.landmark_ids and (
        query.unknown or query.dismissed or query.favourite or not resolved.areas
    ):
        # With a landmark or an area, the filter by that leaves fewer photos.
        yield _by_outcome(resolved)
    if query.min_score is not None and not query.any_rank and not resolved.landmark_ids:
        scored = _TAGGED.where(effective_tags.c.score >= query.min_score)
        yield _contents((scored, _CONFIRMED))


_TAGGED = select(effective_tags.c.content_id).where(effective_tags.c.accepted == true())
_CONFIRMED = select(verdicts.c.content_id).where(verdicts.c.verdict == "confirmed")
_REJECTED = select(verdicts.c.content_id).where(verdicts.c.verdict == "rejected")


def _files(ranges: Sequence[Condition]) -> IndexFilter:
    """The photos in any of these ranges of one index of `photos`."""
    rows = tuple(select(photos.c.id).where(each) for each in ranges)
    return IndexFilter(or_(false(), *ranges), rows)


def _photos(ids: Sequence[Select[Any]], rows: Sequence[Rows] | None = None) -> IndexFilter:
    """The photos with the ids of these queries."""
    # Without the union, SQLite would rather read the index of an order than look up these ids.
    found = union_all(*ids).subquery()
    return IndexFilter(photos.c.id.in_(select(found.c[0])), tuple(ids if rows is None else rows))


def _contents(sources: Sequence[Select[Any]]) -> IndexFilter:
    """The photos of the images with the ids of these queries."""
    # One statement for all sources: most have few rows or none, and a statement costs more than these.
    return IndexFilter(_has_content(sources), (union_all(*sources),))


def _has_content(sources: Sequence[Select[Any]]) -> Condition:
    return photos.c.content_id.in_(union(*sources))


def _of_landmarks(query: PhotoQuery, landmark_ids: Sequence[int]) -> Sequence[Select[Any]]:
    """The images with a tag of the landmarks, or (with `any_rank`) with any prediction of them."""
    tables = (effective_tags, tags) if query.any_rank else (effective_tags,)
    sources = [select(table.c.content_id).where(among(table.c.landmark_id, landmark_ids)) for table in tables]
    return sources if query.any_rank else [sources[0].where(effective_tags.c.accepted == true())]


def _in_area(resolved: ResolvedQuery, area: Area) -> IndexFilter:
    """The photos with a position in the area; then those of its landmarks, which count where the position is not known."""
    of_positions = area.photo_ids
    landmark_ids = resolved.landmarks_of(area)
    if not landmark_ids:
        return _photos(of_positions) if of_positions else _files(())
    sources = _of_landmarks(resolved.query, landmark_ids)
    by_landmark = (
        select_photos()
        .with_only_columns(photos.c.id, maintain_column_froms=True)
        .where(_has_content(sources), area.landmarks_count)
    )
    return _photos((*of_positions, by_landmark), (*of_positions, union_all(*sources)))


def _by_files(resolved: ResolvedQuery) -> Iterator[IndexFilter]:
    """The filters by what is stored with the files: folders, cameras and dates."""
    query = resolved.query
    if query.under:
        yield _files([range_.condition for range_ in resolved.ranges])
    if resolved.camera_ids:
        yield _files([photos.c.camera_id == each for each in resolved.camera_ids])
    if query.year:
        yield _files([taken_in(photos.c.taken_at, year) for year in set(query.year)])
    if query.taken_after is not None or query.taken_before is not None or query.calendar_month:
        yield _files((_taken(query),))


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
        return _photos((without_content, with_content), (without_content, unclassified))
    if query.failed:
        return _photos((_in_folders(resolved, FAILING),))
    if query.dismissed or query.favourite:
        return _contents((select((dismissals if query.dismissed else favourites).c.content_id),))
    if query.unknown:
        return _contents((_with_outcome(Outcome.UNKNOWN),))
    if resolved.needs_accepted_tag:
        return _contents((_TAGGED,))
    return _contents((*map(_with_outcome, (Outcome.TAGGED, Outcome.UNKNOWN)), _CONFIRMED))


def _in_folders(resolved: ResolvedQuery, condition: Condition) -> Select[Any]:
    """The files with this condition, for which there is an index; only those of the folders, if there are some."""
    folders = (or_(false(), *(each.filter for each in resolved.ranges)),) if resolved.query.under else ()
    return select(photos.c.id).where(condition, *folders)


def _with_outcome(outcome: Outcome | None) -> Select[Any]:
    """Images by outcome; None: those that no model has classified."""
    has_outcome = contents.c.outcome.is_(None) if outcome is None else contents.c.outcome == outcome
    return select(contents.c.id).where(has_outcome)
