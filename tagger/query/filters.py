"""A query with ids, as filters (what each option asks of a photo, and which indexes find it) and of tags.

Knows nothing of how photos are read (see sorted_scan and find).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Self

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Row,
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

from tagger.cameras import find_cameras
from tagger.database import Outcome
from tagger.database.statements import among, calendar_day_of, month_of, unindexed
from tagger.database.tables import (
    FAILING,
    PRESENT,
    UNTAGGED,
    classifications,
    contents,
    dismissals,
    effective_tags,
    favourites,
    job_items,
    jobs,
    models,
    photos,
    positions,
    tags,
    verdicts,
)
from tagger.errors import JobNotFound, ModelNotFound, SightNotFound, TripNotFound
from tagger.landmarks import Landmark, find_landmark
from tagger.query.options import Alternatives, PhotoQuery
from tagger.query.photo_conditions import (
    Area,
    Condition,
    PathRange,
    has_position_of,
    has_tag,
    has_verdict_of,
    path_ranges,
    query_areas,
    taken_in,
)
from tagger.roots import RootPaths
from tagger.tags import is_dismissed, is_favourite, is_first_copy
from tagger.tags.models_in_use import things_off_text
from tagger.things import find_thing, shown_things, with_kinds

if TYPE_CHECKING:
    from tagger.trips.grouping import Trip

Rows = Select[Any] | CompoundSelect[Any]
# Looking up a twentieth of all photos takes longer than reading all in order.
SHARE_TO_READ_ALL = 20
# A filter that leaves no more photos is taken at once: counting others would take longer than
# sorting.
FEW = 2000


@dataclass(frozen=True)
class Found:
    """What indexes find for a filter: all photos that meet it, and perhaps more."""

    # Whether a photo is one of these.
    among: Condition
    # What the indexes read for them.
    rows: Sequence[Rows]

    @classmethod
    def by_ranges(cls, *ranges: Condition) -> Self:
        return cls(
            or_(false(), *ranges),
            [select(photos.c.id).where(each) for each in ranges],
        )

    @classmethod
    def by_images(cls, *contents: Select[Any]) -> Self:
        # One statement for all: most queries have few rows or none, and a statement costs more than these.
        return cls(
            photos.c.content_id.in_(union(*contents)),
            [union_all(*contents)],
        )

    @classmethod
    def by_ids(
        cls,
        *ids: Select[Any],
        images: Sequence[Select[Any]] = (),
    ) -> Self:
        if not ids:
            return cls.by_images(*images) if images else cls.by_ranges()
        of_images = [cls.by_images(*images)] if images else []
        # Without the union, SQLite would rather read the index of an order than look up these ids.
        every = union_all(
            *ids,
            *(select(photos.c.id).where(each.among) for each in of_images),
        )
        among = photos.c.id.in_(select(every.subquery().c[0]))
        return cls(
            among,
            [
                *ids,
                *(rows for each in of_images for rows in each.rows),
            ],
        )

    def size(self, connection: Connection, limit: int) -> int:
        """The number of rows that the indexes read, counted up to `limit`."""
        size = 0
        for rows in self.rows:
            next_rows = rows.limit(limit - size).subquery()
            size += connection.scalar(select(func.count()).select_from(next_rows)) or 0
            if size >= limit:
                break
        return size


@dataclass(frozen=True)
class Filter:
    # Whether a photo meets it, whichever index is read.
    condition: Condition
    # None: no index serves.
    found: Found | None = None


_TAGGED = select(effective_tags.c.content_id).where(effective_tags.c.accepted == true())
_CONFIRMED = select(verdicts.c.content_id).where(verdicts.c.verdict == "confirmed")
_REJECTED = select(verdicts.c.content_id).where(verdicts.c.verdict == "rejected")


def _with_outcome(outcome: Outcome | None) -> Select[Any]:
    # Images by outcome; None: those that no model has classified.
    return select(contents.c.id).where(contents.c.outcome == outcome)


# A kind of option that a facet adds to a query: a landmark; or a position or an area.
AddedOption = Literal["landmark", "place"]


def counts_copies_once(query: PhotoQuery) -> bool:
    """Whether the copies of an image are one photo. A job is about files."""
    return query.distinct and query.job is None


@dataclass(frozen=True)
class ResolvedQuery:
    """A query with ids instead of names.

    With an `added` option, it selects the photos of any value of that option: facets count these by value.
    """

    query: PhotoQuery
    landmark_ids: tuple[int, ...]
    areas: tuple[Area, ...]
    model_id: int | None
    ranges: "tuple[PathRange, ...]"
    trip: "Trip | None" = None
    camera_ids: tuple[int, ...] = ()
    things: tuple[frozenset[str], ...] = ()
    sights: tuple[str, ...] = ()
    any_of: "tuple[tuple[ResolvedQuery, ...], ...]" = ()
    without: "tuple[ResolvedQuery, ...]" = ()
    added: AddedOption | None = None

    @classmethod
    def resolve(
        cls, connection: Connection, query: PhotoQuery, root_paths: RootPaths
    ) -> Self:
        """Look up the names of `query`.

        Raises:
            NotFound, LandmarkAmbiguous: a name is not in the database, or that of several.
        """
        if query.job is not None and not connection.scalar(
            select(exists().where(jobs.c.id == query.job))
        ):
            raise JobNotFound(job=query.job)

        def resolved(alternatives: Alternatives) -> tuple[Self, ...]:
            queries = (
                replace(each, by_slug=query.by_slug, any_outcome=True)
                for each in alternatives.queries
            )
            return tuple(cls.resolve(connection, each, root_paths) for each in queries)

        off_text = things_off_text(connection) if query.thing else ""
        return cls(
            query=query,
            landmark_ids=tuple(
                sorted({landmark.id for landmark in _landmarks(connection, query)})
            ),
            areas=tuple(query_areas(connection, query)),
            model_id=None
            if query.model is None
            else _model_id(connection, query.model),
            ranges=tuple(path_ranges(connection, query.under, root_paths)),
            trip=None if query.trip is None else _trip(connection, query, query.trip),
            camera_ids=tuple(
                sorted(
                    {
                        id_
                        for name in query.camera
                        for id_ in find_cameras(connection, name)
                    }
                )
            ),
            things=tuple(
                with_kinds(connection, find_thing(connection, name, off_text).slug)
                for name in query.thing
            ),
            sights=tuple(
                chain.from_iterable(
                    _sights_named(connection, name) for name in query.sight
                )
            ),
            any_of=tuple(map(resolved, query.any_of)),
            without=tuple(chain.from_iterable(map(resolved, query.without))),
        )

    def conditions(self) -> tuple[Condition, ...]:
        return (photos.c.gone_since.is_(None), *self.option_conditions())

    def option_conditions(self) -> tuple[Condition, ...]:
        """The conditions of the options alone, which photos whose files are gone can meet, too."""
        conditions = tuple(each.condition for each in self.filters)
        if not counts_copies_once(self.query):
            return conditions
        # Copies differ in no other condition: these need not be asked again.
        return (
            *conditions,
            is_first_copy(
                conditions if self.copies_may_differ else self.file_conditions()
            ),
        )

    def file_conditions(self) -> list[Condition]:
        return [each.condition for each in self._of_files()]

    def narrowest(
        self,
        connection: Connection,
        limit: int,
    ) -> tuple[Found | None, bool]:
        """What the indexes find that leave the fewest photos, and whether these are fewer than `limit`.

        They are counted up to it. None if no index serves.
        """
        fewest, least = None, limit
        for indexed in (each.found for each in self.filters if each.found):
            size = indexed.size(connection, least)
            if size < least or fewest is None:
                fewest, least = indexed, size
            if least <= FEW:
                break
        return fewest, fewest is not None and least < limit

    def selective(self, connection: Connection) -> Condition | None:
        """What the indexes find that leave the fewest photos, if these are a small part of all."""
        photos_at_most = connection.scalar(select(func.max(photos.c.id))) or 0
        narrowest, is_small = self.narrowest(
            connection, photos_at_most // SHARE_TO_READ_ALL + 1
        )
        return narrowest.among if narrowest is not None and is_small else None

    @cached_property
    def filters(self) -> Sequence[Filter]:
        parts = (
            self._of_sets(),
            self._of_areas(),
            self._of_things(),
            self._of_files(),
            self._of_contents(),
            self._of_tags(),
            self._of_outcome(),
            self._of_alternatives(),
        )
        return list(chain.from_iterable(parts))

    def _of_sets(self) -> Iterator[Filter]:
        # By what a photo belongs to: a trip, a job.
        if self.trip is not None:
            from tagger.kept.trips import is_of_trip

            yield Filter(
                is_of_trip(self.trip),
                Found.by_ranges(
                    photos.c.taken_at.between(self.trip.first, self.trip.last)
                ),
            )
        if self.query.job is not None:
            of_job = select(job_items.c.photo_id).where(
                job_items.c.job_id == self.query.job
            )
            yield Filter(photos.c.id.in_(of_job), Found.by_ids(of_job))

    def _of_tags(self) -> Iterator[Filter]:
        query = self.query
        if query.untagged or query.failed:
            # Most of these have no image: PostgreSQL would otherwise read all tags.
            yield Filter(or_(photos.c.content_id.is_(None), ~has_tag()))
        elif not query.unknown and (self.needs_accepted_tag or self._has_tag_options):
            matches = has_tag(
                self.landmark_ids or None,
                min_score=query.min_score,
                any_rank=query.any_rank,
            )
            images = self._images_with_tags()
            yield Filter(matches, Found.by_images(*images) if images else None)

    def _images_with_tags(self) -> Sequence[Select[Any]]:
        query = self.query
        if self.landmark_ids:
            return _of_landmarks(self.landmark_ids, any_rank=query.any_rank)
        if query.min_score is not None and not query.any_rank:
            return [
                _TAGGED.where(effective_tags.c.score >= query.min_score),
                _CONFIRMED,
            ]
        return [_TAGGED] if self.needs_accepted_tag and not self._is_narrow else []

    def _of_areas(self) -> Iterator[Filter]:
        # By positions, and by landmarks where those do not count.
        query = self.query
        for area in self.areas:
            # Those that the query names; if it names none, all.
            chosen = area.landmarks
            if self.landmark_ids:
                chosen = chosen.intersection(self.landmark_ids)
            ids = tuple(sorted(chosen))
            shows_one = has_tag(
                ids,
                min_score=query.min_score,
                any_rank=query.any_rank,
            )
            inside = or_(
                area.has_position,
                and_(area.landmarks_count, shows_one),
            )
            shown = (
                _of_landmarks(ids, any_rank=query.any_rank)
                if ids and self._can_show(area)
                else []
            )
            yield Filter(inside, Found.by_ids(*area.photo_ids, images=shown))

    def _of_things(self) -> Iterator[Filter]:
        # By each of the things, or a kind of it; and by the sights at which they were taken.
        for slugs in self.things:
            images = select(shown_things.c.content_id).where(
                shown_things.c.thing.in_(slugs)
            )
            of_photo = shown_things.c.content_id == photos.c.content_id
            yield Filter(images.where(of_photo).exists(), Found.by_images(images))
        if self.sights:
            taken_there = positions.c.sight.in_(self.sights)
            yield Filter(
                taken_there,
                Found.by_ids(select(positions.c.photo_id).where(taken_there)),
            )

    def _of_files(self) -> Iterator[Filter]:
        # By what is stored with the files: folders, cameras and dates.
        query = self.query
        if query.under:
            yield Filter(
                self._is_below(),
                Found.by_ranges(*(range_.condition() for range_ in self.ranges)),
            )
        if self.camera_ids:
            yield Filter(
                unindexed(photos.c.camera_id).in_(self.camera_ids),
                Found.by_ranges(
                    *(photos.c.camera_id == id_ for id_ in self.camera_ids)
                ),
            )
        taken_at = unindexed(photos.c.taken_at)
        if query.year:
            years = sorted(set(query.year))
            yield Filter(
                or_(*(taken_in(taken_at, year) for year in years)),
                Found.by_ranges(*(taken_in(photos.c.taken_at, year) for year in years)),
            )
        if query.undated:
            yield Filter(
                taken_at.is_(None),
                Found.by_ranges(photos.c.taken_at.is_(None)),
            )
        calendar = []
        if query.calendar_month:
            months = [f"{month:02}" for month in query.calendar_month]
            calendar.append(func.substr(month_of(taken_at), 6, 2).in_(months))
        if query.calendar_day:
            calendar.append(calendar_day_of(taken_at).in_(list(query.calendar_day)))
        if query.taken_after is not None or query.taken_before is not None or calendar:
            # The first condition keeps photos without a date out.
            first, end = query.taken_after or datetime.min, query.taken_before  # noqa: DTZ901 - local time
            during = [
                each >= first if end is None else and_(each >= first, each < end)
                for each in (taken_at, photos.c.taken_at)
            ]
            yield Filter(and_(during[0], *calendar), Found.by_ranges(during[1]))

    def _is_below(self) -> Condition:
        root_id = unindexed(photos.c.root_id)
        return or_(false(), *(range_.condition(root_id) for range_ in self.ranges))

    def _of_contents(self) -> Iterator[Filter]:
        # By the model of an image, its verdicts, and where a photo's position comes from.
        query = self.query
        if self.model_id is not None:
            last = select(contents.c.id).where(contents.c.model_id == self.model_id)
            earlier = select(classifications.c.content_id).where(
                classifications.c.model_id == self.model_id
            )
            is_earlier = earlier.where(
                classifications.c.content_id == photos.c.content_id
            ).exists()
            yield Filter(
                or_(unindexed(contents.c.model_id) == self.model_id, is_earlier),
                Found.by_images(last, earlier),
            )
        if query.position is not None:
            yield Filter(has_position_of(query.position))
        if query.verdict is not None:
            # Rejected ones are fewer than confirmed ones.
            kinds = {
                "confirmed": _CONFIRMED,
                "rejected": _REJECTED,
                "corrected": _REJECTED,
            }
            images = kinds.get(query.verdict, select(verdicts.c.content_id))
            yield Filter(
                has_verdict_of(query.verdict),
                Found.by_images(images) if self.has_verdict else None,
            )

    def _of_outcome(self) -> Iterator[Filter]:
        query = self.query
        if query.untagged or query.failed:
            waits = query.untagged
            waits_or_fails = UNTAGGED if waits else and_(PRESENT, FAILING)
            # This follows from the first condition, of which PostgreSQL expects no photo, and would read all.
            is_unread = or_(
                photos.c.content_id.is_(None),
                unindexed(contents.c.outcome).is_(None),
            )
            ids = select(photos.c.id).where(
                and_(UNTAGGED, photos.c.content_id.is_(None)) if waits else FAILING
            )
            if query.under:
                ids = ids.where(self._is_below())
            yield Filter(
                and_(waits_or_fails, is_unread),
                Found.by_ids(ids, images=[_with_outcome(None)] if waits else []),
            )
        if query.dismissed:
            yield Filter(
                is_dismissed(photos.c.content_id),
                Found.by_images(select(dismissals.c.content_id)),
            )
        if query.favourite:
            yield Filter(
                is_favourite(photos.c.content_id),
                Found.by_images(select(favourites.c.content_id)),
            )
        if query.unknown:
            is_unknown = unindexed(contents.c.outcome) == Outcome.UNKNOWN
            is_open = and_(is_unknown, ~is_dismissed(photos.c.content_id))
            yield Filter(is_open, Found.by_images(_with_outcome(Outcome.UNKNOWN)))
        if not (self.needs_accepted_tag or self._selects_outcome):
            yield self._classified()

    def _of_alternatives(self) -> Iterator[Filter]:
        # By what photos match one of, and what none.
        for group in self.any_of:
            # Of each alternative, the first that indexes find.
            indexed = [
                [each.found for each in query.filters if each.found][:1]
                for query in group
            ]
            ids = [select(photos.c.id).where(each.among) for each in chain(*indexed)]
            yield Filter(
                or_(*(and_(*query.option_conditions()) for query in group)),
                Found.by_ids(*ids) if len(ids) == len(group) else None,
            )
        for query in self.without:
            # A photo without a date or a position is not of it, and SQL does not know whether it is.
            yield Filter(and_(*query.option_conditions()).is_not(true()))

    def _classified(self) -> Filter:
        # Photos that a model has classified, with a tag or not; with a set or a verdict, others too.
        query = self.query
        has_set = any(each is not None for each in (self.trip, query.job))
        is_unclassified_too = (
            (has_set or self.has_verdict)
            and self._selects_untagged
            and not query.any_rank
        )
        condition = (
            true()
            if is_unclassified_too
            else unindexed(contents.c.outcome).is_not(None)
        )
        if self._is_narrow:
            return Filter(condition)
        outcomes = map(_with_outcome, (Outcome.TAGGED, Outcome.UNKNOWN))
        return Filter(condition, Found.by_images(*outcomes, _CONFIRMED))

    @property
    def _is_narrow(self) -> bool:
        # Whether another filter leaves fewer photos than one by outcome.
        return bool(
            self.landmark_ids
            or self.areas
            or self.things
            or self.sights
            or self.has_verdict
        )

    def select_tags(self, photo_tags: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
        if self.query.any_rank:
            return photo_tags
        if self._is_without_tag:
            return ()
        return [tag for tag in photo_tags if self._matches(tag)]

    @property
    def has_verdict(self) -> bool:
        return self.query.verdict not in (None, "none")

    @property
    def needs_accepted_tag(self) -> bool:
        return not (
            self._selects_outcome or self.query.any_rank or self._selects_untagged
        )

    @property
    def _is_without_tag(self) -> bool:
        query = self.query
        return query.unknown or query.untagged or query.failed or query.dismissed

    @property
    def _selects_outcome(self) -> bool:
        # Whether the query is for photos by what became of them or by a person's mark, and not for tags.
        return self._is_without_tag or self.query.favourite or self.query.any_outcome

    @property
    def _selects_untagged(self) -> bool:
        # Whether the query is for photos of a place, a thing, a set or a verdict, and not for tags.
        is_of_images = (
            bool(self.things or self.sights) or self.query.verdict is not None
        )
        return (self.copies_may_differ or is_of_images) and not self._has_tag_options

    @property
    def copies_may_differ(self) -> bool:
        query = self.query
        if self.added == "place":
            return True
        options = (query.position, query.trip, query.job)
        return (
            any(option is not None for option in options)
            or bool(self.areas or self.sights)
            or any(
                each.copies_may_differ or each.file_conditions()
                for each in (*chain.from_iterable(self.any_of), *self.without)
            )
        )

    @property
    def _has_tag_options(self) -> bool:
        return (
            self.added == "landmark"
            or bool(self.landmark_ids)
            or self.query.min_score is not None
        )

    def _can_show(self, area: Area) -> bool:
        # Whether photos of the area's landmarks can match with a position elsewhere, or none.
        if self._is_without_tag and not self.query.any_rank:
            return False
        needs_position = self.query.position not in (None, "none", "no-gps")
        return area.counts_located or not needs_position

    def _matches(self, tag: Row[Any]) -> bool:
        if not tag.accepted:
            return False
        if self.landmark_ids and tag.landmark_id not in self.landmark_ids:
            return False
        min_score = self.query.min_score
        return min_score is None or tag.verdict == "confirmed" or tag.score >= min_score


def _of_landmarks(
    landmark_ids: Collection[int], *, any_rank: bool
) -> list[Select[Any]]:
    # The images with a tag of the landmarks, or (with `any_rank`) with any prediction of them.
    effective, predicted = (
        select(table.c.content_id).where(among(table.c.landmark_id, landmark_ids))
        for table in (effective_tags, tags)
    )
    return (
        [effective, predicted]
        if any_rank
        else [effective.where(effective_tags.c.accepted == true())]
    )


def matching_landmarks(
    connection: Connection, query: PhotoQuery
) -> frozenset[int] | None:
    """The ids of the landmarks of landmark, country, near and box, wherever photos were taken; None: all.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    matches = [area.landmarks for area in query_areas(connection, query)]
    if query.landmark:
        matches.append(frozenset(each.id for each in _landmarks(connection, query)))
    return frozenset.intersection(*matches) if matches else None


def _landmarks(connection: Connection, query: PhotoQuery) -> list[Landmark]:
    return [
        find_landmark(connection, name, by_slug=query.by_slug)
        for name in query.landmark
    ]


def _trip(connection: Connection, query: PhotoQuery, trip_id: str) -> "Trip":
    from tagger.kept.trips import find_trip, trip_at

    if query.trip_moment is None:
        return find_trip(connection, trip_id)
    trip = trip_at(connection, query.trip_moment)
    if trip is None:
        raise TripNotFound(trip=trip_id)
    return trip


def _sights_named(connection: Connection, name: str) -> list[str]:
    # The names of the sights that a name means.
    from tagger.sights import library_sights  # numpy

    sights = library_sights(connection).find(name)
    if not sights:
        raise SightNotFound(name=name)
    return sorted({sight.name for sight in sights})


def _model_id(connection: Connection, name: str) -> int:
    model_id = connection.scalar(select(models.c.id).where(models.c.name == name))
    if model_id is None:
        names = connection.scalars(select(models.c.name).order_by(models.c.name)).all()
        raise ModelNotFound(name=name, names=", ".join(names) or "none")
    return int(model_id)
