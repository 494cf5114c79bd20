"""Numbers of photos by landmark, folder and city; covers, by star or score; and a sample of all photos."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, Self

from sqlalchemy import Connection, Select, func, select, true

from tagger.database.connection import Database
from tagger.database.enums import Outcome, VerdictKind
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
from tagger.kept.days import kept_landmarks, kept_places
from tagger.landmarks.landmarks import (
    Landmark,
    all_landmarks,
    familiar_landmarks,
    landmarks_by_id,
    landmarks_in_country,
    photos_by_landmark,
)
from tagger.query.photo_conditions import is_classified_by
from tagger.query.position_clusters import PositionCell, located_photos
from tagger.query.tagged_photos import NameCache, first_photos
from tagger.roots.roots import RootPaths, list_roots
from tagger.tags.contents import has_photo
from tagger.texts.documents import document_of


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
        """The count of a landmark."""
        return document_of(
            cls,
            landmark,
            landmark=landmark.slug,
            name=landmark.display_name,
            photos=photos,
            other_names=tuple(name for name in landmark.all_names if name != landmark.display_name),
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
            found = landmarks_in_country(connection, country)
        elif include_empty:
            found = all_landmarks(connection)
        else:
            found = list(landmarks_by_id(connection, numbers).values())
    return _counted(
        found if include_empty else [each for each in found if each.id in numbers], numbers
    )


def familiar_landmark_counts(database: Database) -> list[LandmarkCount]:
    """The landmarks with photos or more facts than a name, most photos first. Copies count once."""
    with database.snapshot() as connection:
        numbers = _numbers(connection, "images")
        return _counted(familiar_landmarks(connection), numbers)


def _numbers(connection: Connection, counted: Literal["photos", "images"]) -> Counter[int]:
    # Numbers of all photos, or of images, by the id of their landmarks.
    kept = kept_landmarks(connection).c
    numbers = select(kept.landmark_id, func.sum(kept[counted])).group_by(kept.landmark_id)
    return Counter(
        {landmark_id: number for landmark_id, number in connection.execute(numbers) if number}
    )


def _counted(found: Iterable[Landmark], numbers: Counter[int]) -> list[LandmarkCount]:
    counts = (LandmarkCount.of(landmark, numbers[landmark.id]) for landmark in found)
    return sorted(counts, key=lambda count: (-count.photos, count.landmark))


@dataclass(frozen=True)
class FolderCount:
    """A folder with photos in or below it: its path within its root (empty: the root), and its whole path."""

    name: str
    path: str
    folder: str
    depth: int
    photos: int


def folder_counts(database: Database, root_paths: RootPaths) -> list[FolderCount]:
    """All folders whose path is text, in order of their paths. Reads the index of folders."""
    folder = folder_of(photos.c.path)
    counted = select(photos.c.root_id, folder, func.count()).where(IN_FOLDERS)
    query = counted.group_by(photos.c.root_id, folder)
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, root_paths)}
        numbers: Counter[tuple[int, str]] = Counter()
        for root_id, path, count in connection.execute(query):
            for each in _upwards(path.rstrip("/")):
                numbers[root_id, each] += count
    found = (
        FolderCount(
            name=PurePosixPath(path).name if path else str(roots[root_id].folder),
            path=path,
            folder=str(roots[root_id].folder / path),
            depth=path.count("/") + 1 if path else 0,
            photos=count,
        )
        for (root_id, path), count in numbers.items()
    )
    return sorted(found, key=lambda each: each.folder.split("/"))


def _upwards(path: str) -> Iterator[str]:
    # The folder and those that it is in, up to the root.
    yield path
    while path:
        path = path.rpartition("/")[0]
        yield path


def sights_in_library(connection: Connection, texts: Iterable[str]) -> dict[str, int]:
    """The sights of the library that one of these texts may name, with the numbers of files taken there."""
    from tagger.sights import find_sights  # numpy

    named = {sight.name for text in texts for sight in find_sights(text)}
    query = (
        select(positions.c.sight, func.count())
        .where(among(positions.c.sight, sorted(named)))
        .group_by(positions.c.sight)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


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
    found = []
    with database.snapshot() as connection:
        kept = kept_places(connection)
        place = kept.c.country, kept.c.region, kept.c.city
        is_in_city = kept.c.located > 0, kept.c.city.is_not(None), kept.c.country.is_not(None)
        query = select(*place, *located_photos(kept)).where(*is_in_city).group_by(*place)
        for row in connection.execute(query):
            box = document_of(PositionCell, row, is_estimated=False)
            centre = round(box.latitude, 5), round(box.longitude, 5)
            found.append(
                CityCount(row.city, row.region, row.country, *centre, box.radius_km, row.photos)
            )
    return sorted(
        found, key=lambda count: (-count.photos, count.city, count.country, count.region or "")
    )


# The best photos of a landmark: the files of some may be gone.
_CANDIDATES = 8


@dataclass(frozen=True)
class Cover:
    """The photo that represents a landmark, and its image digest."""

    photo_id: int
    digest: str


def find_covers(database: Database) -> dict[str, Cover]:
    """Return covers by landmark slug; a landmark without photos has none."""
    covers = {}
    with database.read() as connection:
        tagged = distinct_values(effective_tags.c.landmark_id, effective_tags.c.accepted == true())
        query = select(landmarks.c.id, landmarks.c.slug).where(landmarks.c.id.in_(tagged))
        starred = _starred(connection)
        for row in connection.execute(query).all():
            best = _first_existing(
                connection, _best(row.id), _confirmed(row.id), first=starred[row.id]
            )
            if best:
                covers[row.slug] = best[0]
    return covers


def example_covers(connection: Connection, landmark_id: int) -> list[Cover]:
    """Return some photos of a landmark: those that people confirmed, then those with the best scores."""
    return _first_existing(connection, _confirmed(landmark_id), _best(landmark_id))


def _confirmed(landmark_id: int) -> Select[tuple[int]]:
    # The first contents on which the landmark is confirmed.
    is_confirmed = (
        verdicts.c.landmark_id == landmark_id,
        verdicts.c.verdict == VerdictKind.CONFIRMED,
    )
    return (
        select(verdicts.c.content_id)
        .where(*is_confirmed)
        .order_by(verdicts.c.content_id)
        .limit(_CANDIDATES)
    )


def _starred(connection: Connection) -> Mapping[int, Sequence[int]]:
    # The contents with a star, by the landmarks that they have as tags, the newest star first.
    # Stars are few: they are read, and not the tags of each landmark.
    of_image = effective_tags.c.content_id == unindexed(favourites.c.content_id)
    query = select(effective_tags.c.landmark_id, favourites.c.content_id).join(favourites, of_image)
    starred = defaultdict[int, list[int]](list)
    newest = query.where(effective_tags.c.accepted == true()).order_by(favourites.c.given_at.desc())
    for landmark_id, content_id in connection.execute(newest):
        starred[landmark_id].append(content_id)
    return starred


def _best(landmark_id: int) -> Select[tuple[int]]:
    # The contents with the best scores that have the landmark as a tag.
    scored = effective_tags.c.accepted == true(), effective_tags.c.score.is_not(None)
    order = effective_tags.c.score.desc(), effective_tags.c.content_id.desc()
    query = select(effective_tags.c.content_id).where(
        effective_tags.c.landmark_id == landmark_id, *scored
    )
    return query.order_by(*order).limit(_CANDIDATES)


def _first_existing(
    connection: Connection, *queries: Select[tuple[int]], first: Sequence[int] = ()
) -> list[Cover]:
    # The photos that exist of some contents, and then of those that the queries find, in their order.
    found = (content_id for query in queries for content_id in connection.scalars(query))
    content_ids = [*first[:_CANDIDATES], *found]
    rows = connection.execute(
        select(photos.c.id, photos.c.content_id, contents.c.digest)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.content_id.in_(content_ids), photos.c.gone_since.is_(None))
        .order_by(photos.c.id.desc())
    )
    covers = {row.content_id: Cover(row.id, row.digest) for row in rows}
    return [covers[content_id] for content_id in dict.fromkeys(content_ids) if content_id in covers]


def sample_photos(database: Database, root_paths: RootPaths, most: int) -> Mapping[str, bool]:
    """Paths of classified photos, as if drawn by lot, each with whether it has no landmark."""
    is_classified = contents.c.outcome.is_not(None), has_photo(contents.c.id)
    query = select(contents.c.id, contents.c.outcome).where(*is_classified)
    with database.read() as connection:
        unknown = {
            row.id: row.outcome == Outcome.UNKNOWN
            for row in connection.execute(query.order_by(contents.c.digest).limit(most))
        }
        names, rows = NameCache(connection, root_paths), first_photos(connection, unknown)
        return {
            names.path(connection, row): unknown[content_id] for content_id, row in rows.items()
        }
