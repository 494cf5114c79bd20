"""How many photos each landmark has; reads only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import ColumnElement, Connection, Exists, Select, Table, exists, func, select, true

from tagger.catalog.dismissals import is_dismissed
from tagger.catalog.landmarks import Landmark, all_landmarks, landmarks_in_country
from tagger.database.connection import Database
from tagger.database.tables import job_items, photos, tags, taught_tags, verdicts


@dataclass(frozen=True)
class LandmarkCount:
    """A landmark, by its slug, and the number of photos with it as an accepted tag after verdicts. Each copy counts.

    `other_names` are all its names but the one that is shown. `own`: no registered model knows it, a person added it.
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
        return cls(
            landmark=landmark.slug,
            name=landmark.display_name,
            country=landmark.country,
            region=landmark.region,
            city=landmark.city,
            latitude=landmark.latitude,
            longitude=landmark.longitude,
            photos=photos,
            other_names=tuple(name for name in landmark.all_names if name != landmark.display_name),
            own=landmark.own,
        )


def landmark_counts(
    database: Database, country: str | None = None, *, job: int | None = None, include_empty: bool = False
) -> list[LandmarkCount]:
    """Landmarks with their number of photos, or of photos of one job; most photos first.

    `include_empty`: also landmarks without photos.

    Raises:
        CountryNotFound: no landmark is in `country`.
    """
    with database.read() as connection:
        landmarks = (
            all_landmarks(connection) if country is None else landmarks_in_country(connection, country)
        )
        landmark_ids = None if country is None else [landmark.id for landmark in landmarks]
        numbers = photos_by_landmark(connection, _exists(job), landmark_ids)
    counts = (LandmarkCount.of(landmark, numbers.get(landmark.id, 0)) for landmark in landmarks)
    selected = (count for count in counts if count.photos or include_empty)
    return sorted(selected, key=lambda count: (-count.photos, count.landmark))


def _exists(job: int | None) -> ColumnElement[bool]:
    """The condition for photos whose files exist, of one job or of all."""
    exists_ = photos.c.gone_since.is_(None)
    if job is None:
        return exists_
    return exists_ & photos.c.id.in_(select(job_items.c.photo_id).where(job_items.c.job_id == job))


def photos_by_landmark(
    connection: Connection, counted: ColumnElement[bool], landmark_ids: Sequence[int] | None = None
) -> Mapping[int, int]:
    """Numbers of photos with this condition by landmark id. The view of effective tags would be read as a whole."""
    # Counted apart, so that a tag that is accepted for several reasons counts once.
    shown = counted & ~is_dismissed(photos.c.content_id)
    accepted = _accepted(tags, shown, ~_has(verdicts, tags))
    taught = _accepted(taught_tags, shown, ~_has(verdicts, taught_tags), ~_has_accepted_tag())
    confirmed = (
        select(verdicts.c.landmark_id, func.count())
        .select_from(verdicts.join(photos, photos.c.content_id == verdicts.c.content_id))
        .where(verdicts.c.verdict == "confirmed", counted)
        .group_by(verdicts.c.landmark_id)
    )
    if landmark_ids is not None:
        accepted = accepted.where(tags.c.landmark_id.in_(landmark_ids))
        taught = taught.where(taught_tags.c.landmark_id.in_(landmark_ids))
        confirmed = confirmed.where(verdicts.c.landmark_id.in_(landmark_ids))
    numbers: Counter[int] = Counter()
    for query in (accepted, taught, confirmed):
        for landmark_id, number in connection.execute(query):
            numbers[landmark_id] += number
    return numbers


def _accepted(table: Table, *conditions: ColumnElement[bool]) -> Select[tuple[int, int]]:
    """The number of photos with an accepted tag of this table, by landmark id."""
    return (
        select(table.c.landmark_id, func.count())
        .select_from(table.join(photos, photos.c.content_id == table.c.content_id))
        .where(table.c.accepted == true(), *conditions)
        .group_by(table.c.landmark_id)
    )


def _has(table: Table, other: Table) -> Exists:
    """Whether `table` has a row for the image and landmark of `other`."""
    return exists().where(
        table.c.content_id == other.c.content_id, table.c.landmark_id == other.c.landmark_id
    )


def _has_accepted_tag() -> Exists:
    return _has(tags, taught_tags).where(tags.c.accepted == true())
