"""How many photos each landmark has; reads only."""

from dataclasses import dataclass
from typing import Self

from sqlalchemy import ColumnElement, select

from tagger.database.connection import Database
from tagger.database.tables import job_items, photos
from tagger.library.catalog.kept_counts import kept_photos_by_landmark
from tagger.library.catalog.landmark_photos import photos_by_landmark
from tagger.library.catalog.landmarks import Landmark, all_landmarks, landmarks_in_country


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
    with database.snapshot() as connection:
        landmarks = (
            all_landmarks(connection) if country is None else landmarks_in_country(connection, country)
        )
        if job is None:
            numbers = kept_photos_by_landmark(connection)
        else:
            numbers = photos_by_landmark(connection, _of_job(job))
    counts = (LandmarkCount.of(landmark, numbers[landmark.id]) for landmark in landmarks)
    selected = (count for count in counts if count.photos or include_empty)
    return sorted(selected, key=lambda count: (-count.photos, count.landmark))


def _of_job(job: int) -> ColumnElement[bool]:
    """The condition for photos of a job whose files exist."""
    of_job = photos.c.id.in_(select(job_items.c.photo_id).where(job_items.c.job_id == job))
    return photos.c.gone_since.is_(None) & of_job
