"""Numbers of photos by landmark, folder, city and trip; covers, by star or score; a sample of all photos."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, Self

from sqlalchemy import Connection, Select, exists, func, select, true

from tagger.database import MEASURED, Outcome, VerdictKind
from tagger.database.connection import Database, display_language
from tagger.database.statements import among, distinct_values, folder_of, unindexed
from tagger.database.tables import (
    IN_FOLDERS,
    contents,
    effective_tags,
    favourites,
    landmarks,
    photos,
    positions,
    verdicts,
)
from tagger.kept import kept_landmarks, kept_places
from tagger.kept.stored_trips import CountedTrip, count_trips, read_trips
from tagger.kept.trips import find_trip, find_trips, is_of_trip
from tagger.landmarks import (
    Landmark,
    all_landmarks,
    familiar_landmarks,
    landmarks_by_id,
    landmarks_in_country,
    photos_by_landmark,
)
from tagger.query.photo_conditions import is_classified_by
from tagger.query.position_clusters import PositionCell, located_photos
from tagger.query.tagged_photos import NameCache, TaggedPhoto, first_photos
from tagger.roots import RootPaths, list_roots
from tagger.tags import has_photo, is_first_copy
from tagger.texts import document_of
from tagger.texts.text_format import reader_language
from tagger.trips.grouping import GroupedTrip, Trip, VisitedPlace, place_name

if TYPE_CHECKING:
    from tagger.sights import Sight


@dataclass(frozen=True)
class LandmarkCount:
    """A landmark, by its slug, and the number of photos with it as an accepted tag. Each copy counts.

    `other_names` are all its names but the one that is shown. `own`: no registered model knows it.
    """

    landmark: str
    name: str
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    photos: int
    other_names: tuple[str, ...]
    own: bool

    @classmethod
    def of(cls, landmark: Landmark, photos: int) -> Self:
        return document_of(
            cls,
            landmark,
            landmark=landmark.slug,
            name=landmark.display_name,
            photos=photos,
            other_names=tuple(
                name for name in landmark.all_names if name != landmark.display_name
            ),
        )


def landmark_counts(
    database: Database,
    country: str | None = None,
    *,
    job: int | None = None,
    include_empty: bool = False,
) -> list[LandmarkCount]:
    """Landmarks with their number of photos, most photos first.

    `job`: only photos that this job classified. `include_empty`: also landmarks without photos.

    Raises:
        CountryNotFound: no landmark is in `country`.
    """
    with database.snapshot() as connection:
        numbers = (
            _numbers(connection, "photos")
            if job is None
            else photos_by_landmark(connection, is_classified_by(job))
        )
        if country is not None:
            counted_landmarks = landmarks_in_country(connection, country)
        elif include_empty:
            counted_landmarks = all_landmarks(connection)
        else:
            counted_landmarks = list(landmarks_by_id(connection, numbers).values())
    return _counted(
        counted_landmarks
        if include_empty
        else [each for each in counted_landmarks if each.id in numbers],
        numbers,
    )


def familiar_landmark_counts(database: Database) -> list[LandmarkCount]:
    """Those with photos or more facts than a name, most photos first. Copies count once."""
    with database.snapshot() as connection:
        return _counted(familiar_landmarks(connection), _numbers(connection, "images"))


def count_images(connection: Connection, landmark_id: int) -> int:
    return _numbers(connection, "images", landmark_id)[landmark_id]


def _numbers(
    connection: Connection,
    counted: Literal["photos", "images"],
    landmark_id: int | None = None,
) -> Counter[int]:
    # Numbers of all photos, or of images, by the id of their landmarks; or of one.
    kept = kept_landmarks(connection).c
    numbers = select(kept.landmark_id, func.sum(kept[counted])).group_by(
        kept.landmark_id
    )
    if landmark_id is not None:
        numbers = numbers.where(kept.landmark_id == landmark_id)
    return Counter({row[0]: row[1] for row in connection.execute(numbers) if row[1]})


def _counted(
    counted_landmarks: Iterable[Landmark], numbers: Counter[int]
) -> list[LandmarkCount]:
    return most_first(
        LandmarkCount.of(landmark, numbers[landmark.id])
        for landmark in counted_landmarks
    )


def most_first(counts: Iterable[LandmarkCount]) -> list[LandmarkCount]:
    return sorted(counts, key=lambda count: (-count.photos, count.landmark))


@dataclass(frozen=True)
class FolderCount:
    """The path within its root (empty: the root), and the whole path."""

    name: str
    path: str
    folder: str
    depth: int
    photos: int


def folder_counts(database: Database, root_paths: RootPaths) -> list[FolderCount]:
    """All folders whose path is text, in order of their paths. Reads the index of folders."""
    folder = folder_of(photos.c.path)
    query = (
        select(photos.c.root_id, folder, func.count())
        .where(IN_FOLDERS)
        .group_by(photos.c.root_id, folder)
    )
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, root_paths)}
        numbers: Counter[tuple[int, str]] = Counter()
        for root_id, folder_and_slash, count in connection.execute(query):
            # The folder and those that it is in, up to the root.
            path = folder_and_slash.rstrip("/")
            numbers[root_id, path] += count
            while path:
                path = path.rpartition("/")[0]
                numbers[root_id, path] += count
    counts = (
        FolderCount(
            name=PurePosixPath(path).name if path else str(roots[root_id].folder),
            path=path,
            folder=str(roots[root_id].folder / path),
            depth=path.count("/") + 1 if path else 0,
            photos=count,
        )
        for (root_id, path), count in numbers.items()
    )
    return sorted(counts, key=lambda each: each.folder.split("/"))


@dataclass(frozen=True)
class SightCount:
    """The number of photos that were taken there, and one of them."""

    sight: "Sight"
    country: str | None
    photos: int
    cover: "Cover"


def sight_counts(database: Database) -> list[SightCount]:
    """The sights of photos that exist, most photos first. Copies at one position count once."""
    with database.snapshot() as connection:
        places = kept_places(connection)
        rows = connection.execute(
            select(
                places.c.sight,
                func.max(places.c.country).label("country"),
                *located_photos(places),
            )
            .where(places.c.located > 0, places.c.sight.is_not(None))
            .group_by(places.c.sight)
        ).all()
        if not rows:
            return []
        from tagger.sights import library_sights  # numpy, and a table of 20,900 sights

        covers = _covers(connection, [row.photo_id for row in rows])
        sights = library_sights(connection)
    counts = [
        SightCount(sight, row.country, row.photos, covers[row.photo_id])
        for row in rows
        if (sight := sights.named(row.sight, row.south, row.west))
        and row.photo_id in covers
    ]
    return sorted(counts, key=lambda count: (-count.photos, count.sight.name))


def sights_beside(
    sights: Iterable[SightCount], landmarks: Iterable[LandmarkCount]
) -> list[SightCount]:
    """Those whose landmark no photo shows: that is listed already."""
    names = {
        name
        for each in landmarks
        if each.photos
        for name in (each.name, *each.other_names)
    }
    return [each for each in sights if each.sight.name not in names]


@dataclass(frozen=True)
class CityCount:
    """A city with photos. The circle around its position, in degrees and kilometres, has all of them."""

    city: str
    region: str | None
    country: str
    latitude: float
    longitude: float
    radius_km: float
    photos: int


def city_counts(database: Database) -> list[CityCount]:
    """The cities of photos that exist, most photos first. Copies at one position count once."""
    cities = []
    with database.snapshot() as connection:
        places = kept_places(connection)
        place = places.c.country, places.c.region, places.c.city
        query = (
            select(*place, *located_photos(places))
            .where(places.c.located > 0)
            .where(places.c.city.is_not(None), places.c.country.is_not(None))
            .group_by(*place)
        )
        for row in connection.execute(query):
            box = document_of(PositionCell, row, sight=None, is_estimated=False)
            cities.append(
                CityCount(
                    row.city,
                    row.region,
                    row.country,
                    round(box.latitude, 5),
                    round(box.longitude, 5),
                    box.radius_km,
                    row.photos,
                )
            )
    return sorted(
        cities,
        key=lambda count: (
            -count.photos,
            count.city,
            count.country,
            count.region or "",
        ),
    )


# The best photos of a landmark: the files of some may be gone.
_CANDIDATES = 8


@dataclass(frozen=True)
class Cover:
    photo_id: int
    digest: str


def _covers(
    connection: Connection, photo_ids: Collection[int | None]
) -> dict[int | None, Cover]:
    query = (
        select(photos.c.id, contents.c.digest)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(among(photos.c.id, photo_ids))
    )
    return {row.id: Cover(*row) for row in connection.execute(query)}


def find_covers(database: Database) -> dict[str, Cover]:
    """By landmark slug; a landmark without photos has none."""
    covers = {}
    with database.read() as connection:
        tagged = distinct_values(
            effective_tags.c.landmark_id,
            effective_tags.c.accepted == true(),
        )
        query = select(landmarks.c.id, landmarks.c.slug).where(
            landmarks.c.id.in_(tagged)
        )
        # The contents with a star, by the landmarks that they have as tags, the newest star first.
        # Stars are few: they are read, and not the tags of each landmark.
        of_image = effective_tags.c.content_id == unindexed(favourites.c.content_id)
        with_star = (
            select(effective_tags.c.landmark_id, favourites.c.content_id)
            .join(favourites, of_image)
            .where(effective_tags.c.accepted == true())
            .order_by(favourites.c.given_at.desc())
        )
        starred = defaultdict[int, list[int]](list)
        for landmark_id, content_id in connection.execute(with_star):
            starred[landmark_id].append(content_id)
        for row in connection.execute(query).all():
            best = _first_existing(
                connection,
                _best(row.id),
                _confirmed(row.id),
                first=starred[row.id],
            )
            if best:
                covers[row.slug] = best[0]
    return covers


def example_covers(connection: Connection, landmark_id: int) -> list[Cover]:
    """Return some photos of a landmark: those that people confirmed, then those with the best scores."""
    return _first_existing(connection, _confirmed(landmark_id), _best(landmark_id))


def _confirmed(landmark_id: int) -> Select[tuple[int]]:
    # The first contents on which the landmark is confirmed.
    return (
        select(verdicts.c.content_id)
        .where(
            verdicts.c.landmark_id == landmark_id,
            verdicts.c.verdict == VerdictKind.CONFIRMED,
        )
        .order_by(verdicts.c.content_id)
        .limit(_CANDIDATES)
    )


def _best(landmark_id: int) -> Select[tuple[int]]:
    # The contents with the best scores that have the landmark as a tag.
    return (
        select(effective_tags.c.content_id)
        .where(
            effective_tags.c.landmark_id == landmark_id,
            effective_tags.c.accepted == true(),
            effective_tags.c.score.is_not(None),
        )
        .order_by(effective_tags.c.score.desc(), effective_tags.c.content_id.desc())
        .limit(_CANDIDATES)
    )


def _first_existing(
    connection: Connection,
    *queries: Select[tuple[int]],
    first: Sequence[int] = (),
) -> list[Cover]:
    # The photos that exist of some contents, and then of those that the queries find, in their order.
    content_ids = list(first[:_CANDIDATES])
    for query in queries:
        content_ids += connection.scalars(query)
    rows = connection.execute(
        select(
            photos.c.id,
            photos.c.content_id,
            contents.c.digest,
        )
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.content_id.in_(content_ids), photos.c.gone_since.is_(None))
        .order_by(photos.c.id.desc())
    )
    covers = {row.content_id: Cover(row.id, row.digest) for row in rows}
    return [
        covers[content_id]
        for content_id in dict.fromkeys(content_ids)
        if content_id in covers
    ]


def sample_photos(
    database: Database, root_paths: RootPaths, most: int
) -> Mapping[str, bool]:
    """Paths of classified photos, as if drawn by lot, each with whether it has no landmark."""
    drawn = (
        select(contents.c.id, contents.c.outcome)
        .where(contents.c.outcome.is_not(None), has_photo(contents.c.id))
        .order_by(contents.c.digest)
        .limit(most)
    )
    with database.read() as connection:
        unknown = {
            row.id: row.outcome == Outcome.UNKNOWN for row in connection.execute(drawn)
        }
        names = NameCache(connection, root_paths)
        return {
            names.path(connection, row): unknown[content_id]
            for content_id, row in first_photos(connection, unknown).items()
        }


@dataclass(frozen=True, slots=True)
class PathPoint:
    photo_id: int
    camera_id: int
    taken_at: datetime
    latitude: float
    longitude: float
    city: str | None
    country: str | None
    source: str
    sight: str | None = None

    @property
    def is_measured(self) -> bool:
        """Whether a GPS receiver measured it, the camera's or that of a track. Others are estimated."""
        return self.source in MEASURED


def trip_path(database: Database, trip: Trip) -> Iterator[PathPoint]:
    is_of_path = is_of_trip(trip), positions.c.photo_id.is_not(None)
    query = (
        select(photos.c.camera_id, photos.c.taken_at, positions)
        .join(positions, positions.c.photo_id == photos.c.id)
        .where(*is_of_path, photos.c.gone_since.is_(None), is_first_copy(is_of_path))
        .order_by(photos.c.camera_id, photos.c.taken_at, photos.c.id)
    )
    return (document_of(PathPoint, row) for row in database.rows(query))


def has_positions(database: Database) -> bool:
    return bool(database.scalar(select(exists(positions.c.photo_id))))


# A landmark in this share of the photos of a trip names it: Machu Picchu, not the nearest town.
_NAMING_SHARE = 0.5


@dataclass(frozen=True)
class TripLandmark:
    landmark: str
    name: str
    photos: int


@dataclass(frozen=True)
class TripSummary:
    """A trip with its number of photos; of each landmark too, most photos first. Copies count once.

    `sight`: the one at which most of its photos were taken, and their number.
    """

    trip: Trip
    photos: int
    landmarks: tuple[TripLandmark, ...]
    cover: Cover | None
    sight: tuple[str, int] | None = None

    @property
    def name(self) -> str:
        """The name that a person gave it; else the landmark or sight of most photos; else the place."""
        if self.trip.given_name is not None:
            return self.trip.given_name
        if self.landmarks and self.landmarks[0].photos >= _NAMING_SHARE * self.photos:
            return self.landmarks[0].name
        if self.sight is not None and self.sight[1] >= _NAMING_SHARE * self.photos:
            return self.sight[0]
        trip = self.trip
        return (
            trip.name
            if reader_language() is None
            else place_name(trip.places, for_reader=True)
        )

    @property
    def title(self) -> str:
        """The name with the dates: `Arles and Avignon, 3 May 2019`."""
        return f"{self.name}, {self.trip.dates}"


@dataclass(frozen=True)
class TripDocument:
    """A trip. `first` and `last` are local times; `places` and `landmarks` have most photos first."""

    trip: str
    name: str
    dates: str
    first: datetime
    last: datetime
    photos: int
    places: Sequence[VisitedPlace]
    landmarks: Sequence[TripLandmark]


def trip_document(summary: TripSummary) -> TripDocument:
    return document_of(
        TripDocument,
        summary.trip,
        trip=summary.trip.id,
        name=summary.name,
        photos=summary.photos,
        landmarks=summary.landmarks,
    )


def trip_summaries(
    database: Database,
    taken_after: datetime | None = None,
    taken_before: datetime | None = None,
) -> list[TripSummary]:
    """The trips with photos from `taken_after` until before `taken_before`, the newest first."""
    with database.snapshot() as connection:
        every = read_trips(
            connection,
            taken_after or datetime.min,  # noqa: DTZ901 - cameras' times have no zone
            taken_before or datetime.max,  # noqa: DTZ901 - as above
        )
        every.sort(key=lambda each: (each.trip.first, each.trip.spans), reverse=True)
        return _named(connection, every)


def summaries_of_trips(
    database: Database, trip_ids: Collection[str]
) -> dict[str, TripSummary]:
    with database.read() as connection:
        trips = find_trips(connection, trip_ids)
    return dict(
        zip(trips, summarize_trips(database, list(trips.values())), strict=True)
    )


def trip_summary(database: Database, trip_id: str) -> TripSummary:
    """Raises:
    TripNotFound: no trip has this id.
    """
    with database.read() as connection:
        trip = find_trip(connection, trip_id)
    (summary,) = summarize_trips(database, [trip])
    return summary


def trips_of_photos(
    database: Database, shown: Sequence[TaggedPhoto]
) -> dict[int, TripSummary]:
    times = {photo.id: photo.taken_at for photo in shown if photo.taken_at}
    if not times:
        return {}
    summary_of: dict[int, TripSummary] = {}
    with database.snapshot() as connection:
        end = max(times.values()) + timedelta.resolution
        for counted in read_trips(connection, min(times.values()), end, times):
            first, last = counted.trip.first, counted.trip.last
            photo_ids = [
                photo_id for photo_id, time in times.items() if first <= time <= last
            ]
            of_trip = connection.scalars(
                select(photos.c.id).where(
                    among(photos.c.id, photo_ids), is_of_trip(counted.trip)
                )
            ).all()
            if of_trip:
                (summary,) = _named(connection, [counted])
                summary_of |= dict.fromkeys(of_trip, summary)
    return summary_of


def summarize_trips(
    database: Database, trips: Sequence[GroupedTrip]
) -> list[TripSummary]:
    with database.read() as connection:
        return _named(connection, count_trips(connection, trips))


def _named(
    connection: Connection, counted_trips: Sequence[CountedTrip]
) -> list[TripSummary]:
    # The trips with names of landmarks, of which some may have been removed, and images of covers.
    landmark_ids = {
        landmark_id for counted in counted_trips for landmark_id, _ in counted.landmarks
    }
    known = landmarks_by_id(connection, landmark_ids)
    cover_ids = {counted.cover for counted in counted_trips} - {None}
    covers = _covers(connection, cover_ids)
    sights = None
    if (language := display_language(connection)) and any(
        each.sight for each in counted_trips
    ):
        from tagger.sights import library_sights  # numpy

        sights = library_sights(connection)
    summaries = []
    for counted in counted_trips:
        of_trip = [
            TripLandmark(
                known[landmark_id].slug,
                known[landmark_id].display_name,
                number,
            )
            for landmark_id, number in counted.landmarks
            if landmark_id in known
        ]
        of_trip.sort(key=lambda landmark: (-landmark.photos, landmark.landmark))
        sight = counted.sight
        if sight and sights:
            sight = sights.name_in(sight[0], language), sight[1]
        summaries.append(
            TripSummary(
                counted.trip,
                counted.photos,
                tuple(of_trip),
                covers.get(counted.cover),
                sight,
            )
        )
    return summaries
