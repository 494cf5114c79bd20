"""A query with its names resolved to ids, as SQL conditions and as a selection of tags.

Knows nothing of how photos are read (see sorted_scan and find).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from sqlalchemy import Connection, Row, and_, exists, false, or_, select, true

from tagger.database.enums import Outcome
from tagger.database.tables import (
    FAILING,
    PRESENT,
    UNTAGGED,
    contents,
    jobs,
    models,
    photos,
)
from tagger.errors import JobNotFound, ModelNotFound, TripNotFound
from tagger.library.catalog.cameras import find_cameras
from tagger.library.catalog.contents import is_dismissed, is_favourite
from tagger.library.catalog.landmarks import Landmark, find_landmark
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.areas import Area, query_areas
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import (
    Condition,
    PathRange,
    has_position_of,
    has_tag,
    has_verdict_of,
    is_first_copy,
    is_in_months,
    is_of_job,
    is_shared,
    off_index,
    path_ranges,
    taken_in,
)

if TYPE_CHECKING:
    from tagger.library.trips.grouping import Trip


AddedOption = Literal["landmark", "place"]
"""A kind of option that a facet adds to a query, with each of its values: a landmark; or a position or an area."""


@dataclass(frozen=True)
class ResolvedQuery:
    """A query with ids instead of names.

    With an `added` option, it selects all photos that the query can have with any value of that option: facets count these by value.
    """

    query: PhotoQuery
    landmark_ids: tuple[int, ...]
    areas: tuple[Area, ...]
    model_id: int | None
    ranges: "tuple[PathRange, ...]"
    trip: "Trip | None" = None
    camera_ids: tuple[int, ...] = ()
    added: AddedOption | None = None

    @classmethod
    def resolve(cls, connection: Connection, query: PhotoQuery, root_paths: RootPaths) -> Self:
        """Look up the names of `query`.

        Raises:
            LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, JobNotFound, ModelNotFound, TripNotFound, CameraNotFound: a name is not in the database.
        """
        if query.job is not None and not connection.scalar(select(exists().where(jobs.c.id == query.job))):
            raise JobNotFound(job=query.job)
        return cls(
            query=query,
            landmark_ids=tuple(sorted({landmark.id for landmark in _landmarks(connection, query)})),
            areas=tuple(query_areas(connection, query)),
            model_id=None if query.model is None else _model_id(connection, query.model),
            ranges=tuple(path_ranges(connection, query.under, root_paths)),
            trip=None if query.trip is None else _trip(connection, query, query.trip),
            camera_ids=tuple(
                sorted({id_ for name in query.camera for id_ in find_cameras(connection, name)})
            ),
        )

    def conditions(self) -> tuple[Condition, ...]:
        """The SQL conditions for photos and their positions."""
        return (photos.c.gone_since.is_(None), *self.option_conditions())

    def option_conditions(self) -> tuple[Condition, ...]:
        """The conditions of the options alone, which photos whose files are gone can meet, too."""
        return (*self._tag_conditions(), *self._photo_conditions())

    def _tag_conditions(self) -> Iterator[Condition]:
        query = self.query
        if not self.needs_accepted_tag:
            yield self._has_outcome()
        if query.untagged or query.failed:
            # Most of these have no image: PostgreSQL would otherwise read all tags.
            yield or_(photos.c.content_id.is_(None), ~has_tag())
        elif (self.needs_accepted_tag or self._has_tag_options) and not query.unknown:
            yield has_tag(self.landmark_ids or None, min_score=query.min_score, any_rank=query.any_rank)

    def _photo_conditions(self) -> Iterator[Condition]:
        query = self.query
        for area in self.areas:
            ids = self._chosen(area.landmarks)
            shows_one = has_tag(ids, min_score=query.min_score, any_rank=query.any_rank)
            yield or_(area.has_position, and_(area.landmarks_count, shows_one))
        yield from self._membership_conditions()
        if query.dismissed:
            yield is_dismissed(photos.c.content_id)
        elif query.unknown:
            yield ~is_dismissed(photos.c.content_id)
        if query.favourite:
            yield is_favourite(photos.c.content_id)
        yield from self.file_conditions()
        if self.model_id is not None:
            yield off_index(contents.c.model_id) == self.model_id
        if query.distinct and not self.copies_may_differ:
            yield is_first_copy(self.file_conditions())

    def _membership_conditions(self) -> Iterator[Condition]:
        if self.query.position is not None:
            yield has_position_of(self.query.position)
        if self.query.verdict is not None:
            yield has_verdict_of(self.query.verdict)
        if self.trip is not None:
            from tagger.library.trips.grouping import is_of_trip

            yield is_of_trip(self.trip)
        if self.query.job is not None:
            yield is_of_job(self.query.job)
        if self.query.share is not None:
            yield is_shared(self.query.share)

    def file_conditions(self) -> Iterator[Condition]:
        """The conditions for folders, cameras and dates."""
        query = self.query
        if query.under:
            yield or_(false(), *(range_.filter for range_ in self.ranges))
        if self.camera_ids:
            yield off_index(photos.c.camera_id).in_(self.camera_ids)
        if query.year:
            yield or_(*(taken_in(off_index(photos.c.taken_at), year) for year in query.year))
        if query.calendar_month:
            yield is_in_months(off_index(photos.c.taken_at), query.calendar_month)
        if query.taken_after is not None:
            yield off_index(photos.c.taken_at) >= query.taken_after
        if query.taken_before is not None:
            yield off_index(photos.c.taken_at) < query.taken_before

    def select_tags(self, photo_tags: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
        """The tags to return of all tags of a photo that meets the conditions."""
        query = self.query
        if query.any_rank:
            return photo_tags
        if query.untagged or query.failed or query.unknown or query.dismissed:
            return ()
        return [tag for tag in photo_tags if self._matches(tag)]

    @property
    def has_verdict(self) -> bool:
        """Whether only photos with a verdict on a landmark match."""
        return self.query.verdict not in (None, "none")

    @property
    def needs_accepted_tag(self) -> bool:
        """Whether photos without an accepted tag do not match."""
        query = self.query
        others = query.unknown or query.untagged or query.failed or query.dismissed or query.any_outcome
        return not (others or query.favourite or query.any_rank or self._selects_untagged)

    @property
    def _selects_untagged(self) -> bool:
        """Whether the query asks for photos of a position, an area, a trip, a job, a share or a verdict, and for no tags."""
        return (self.copies_may_differ or self.query.verdict is not None) and not self._has_tag_options

    @property
    def copies_may_differ(self) -> bool:
        """Whether exact copies may differ in what the query asks for."""
        query = self.query
        if self.added == "place":
            return True
        options = (query.position, query.trip, query.job, query.share)
        return any(option is not None for option in options) or bool(self.areas)

    @property
    def _has_tag_options(self) -> bool:
        return self.added == "landmark" or bool(self.landmark_ids) or self.query.min_score is not None

    def landmarks_of(self, area: Area) -> tuple[int, ...]:
        """The landmarks in the area whose photos can match although their positions are elsewhere, or not known."""
        query = self.query
        is_without_tags = query.unknown or query.untagged or query.failed or query.dismissed
        needs_position = query.position not in (None, "none")
        if (is_without_tags and not query.any_rank) or (needs_position and not area.counts_located):
            return ()
        return self._chosen(area.landmarks)

    def _chosen(self, landmarks: Collection[int]) -> tuple[int, ...]:
        """Those of the landmarks that the query names, in order; if it names none, all."""
        return tuple(
            sorted(set(landmarks).intersection(self.landmark_ids) if self.landmark_ids else landmarks)
        )

    def _has_outcome(self) -> Condition:
        if self.query.untagged or self.query.failed:
            waits_or_fails = UNTAGGED if self.query.untagged else and_(PRESENT, FAILING)
            # The first part follows from the second; PostgreSQL expects no photo of the second alone, and would read all.
            return and_(
                waits_or_fails, or_(photos.c.content_id.is_(None), off_index(contents.c.outcome).is_(None))
            )
        if self.query.dismissed or self.query.favourite or self.query.any_outcome:
            return true()
        if self.query.unknown:
            return off_index(contents.c.outcome) == Outcome.UNKNOWN
        selects_each = any(each is not None for each in (self.trip, self.query.job, self.query.share))
        is_unclassified_too = selects_each or self.has_verdict
        if is_unclassified_too and self._selects_untagged and not self.query.any_rank:
            return true()
        return off_index(contents.c.outcome).is_not(None)

    def _matches(self, tag: Row[Any]) -> bool:
        if not tag.accepted:
            return False
        if self.landmark_ids and tag.landmark_id not in self.landmark_ids:
            return False
        min_score = self.query.min_score
        return min_score is None or tag.verdict == "confirmed" or tag.score >= min_score


def matching_landmarks(connection: Connection, query: PhotoQuery) -> frozenset[int] | None:
    """The ids of the landmarks that match landmark, country, near and box, wherever photos of them were taken; None: all.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    named = [frozenset(each.id for each in _landmarks(connection, query))] if query.landmark else []
    matches = [*named, *(area.landmarks for area in query_areas(connection, query))]
    return frozenset.intersection(*matches) if matches else None


def _landmarks(connection: Connection, query: PhotoQuery) -> list[Landmark]:
    return [find_landmark(connection, name, by_slug=query.by_slug) for name in query.landmark]


def _trip(connection: Connection, query: PhotoQuery, trip_id: str) -> "Trip":
    from tagger.library.trips.grouping import find_trip

    trip = find_trip(connection, trip_id)
    if query.trip_moment is not None and not trip.contains(query.trip_moment):
        raise TripNotFound(trip=trip_id)
    return trip


def _model_id(connection: Connection, name: str) -> int:
    model_id = connection.scalar(select(models.c.id).where(models.c.name == name))
    if model_id is None:
        names = connection.scalars(select(models.c.name).order_by(models.c.name)).all()
        raise ModelNotFound(name=name, names=", ".join(names) or "none is registered")
    return int(model_id)
