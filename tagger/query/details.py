"""All that is known of one photo, and how many photos each landmark has. Reads only."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, select, true

from tagger.database import Database
from tagger.errors import PhotoNotKnown, PhotoNumberNotKnown
from tagger.landmarks import Landmark, all_landmarks, landmarks_in_country
from tagger.photos import path_text
from tagger.query.tagged import Names, TaggedPhoto, photo_rows, tag_rows
from tagger.roots import Places, list_roots
from tagger.tables import (
    WRITING_KINDS,
    Outcome,
    contents,
    job_items,
    jobs,
    landmarks,
    metadata_writes,
    models,
    photos,
    tags,
    verdicts,
)


@dataclass(frozen=True)
class LandmarkCount:
    """A landmark, by its slug, and how many photos have it as a tag accepted after verdicts; copies count each."""

    landmark: str
    name: str
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    photos: int


@dataclass(frozen=True)
class Verdict:
    """A person's word on a landmark of a photo; it holds for all copies of the picture."""

    landmark: str
    name: str
    verdict: str
    given_by: str | None
    given_at: datetime


@dataclass(frozen=True)
class LastJob:
    """The job that looked at the photo last, and how that ended."""

    job: int
    outcome: Outcome
    reason: str | None
    attempts: int


@dataclass(frozen=True)
class MetadataWritten:
    """A file that tags were written into, by its name in the photo's folder, and the slugs of their landmarks."""

    file: str
    target: str
    landmarks: tuple[str, ...]
    written_at: datetime
    job: int | None


@dataclass(frozen=True)
class Failure:
    """Why the photo cannot be looked at now."""

    kind: str
    text: str | None
    attempts: int | None
    job: int | None


@dataclass(frozen=True)
class PhotoDetails:
    """A photo with its whole top-k, and everything else known of it. `copies` are paths of the same picture."""

    photo: TaggedPhoto
    size_bytes: int
    gone_since: datetime | None
    latitude: float | None
    longitude: float | None
    model: str | None
    top_k: int | None
    threshold: float | None
    looked_at: datetime | None
    job: LastJob | None
    failure: Failure | None
    metadata: tuple[MetadataWritten, ...]
    verdicts: tuple[Verdict, ...]
    copies: tuple[str, ...]


COPIES_SHOWN = 1000


def photo_details(database: Database, path: Path, places: Places | None = None) -> PhotoDetails:
    """What is known of the photo at `path`, whether or not the file is still there. `places` is settings.roots.

    Raises:
        PhotoNotKnown: it was never enqueued or scanned.
    """
    with database.read() as connection:
        photo_id = find_photo(connection, path, places or {})
    return details_of(database, photo_id, places)


def details_of(database: Database, photo_id: int, places: Places | None = None) -> PhotoDetails:
    """The same of the photo with that number.

    Raises:
        PhotoNumberNotKnown: there is none.
    """
    with database.read() as connection:
        row = connection.execute(photo_rows().where(photos.c.id == photo_id)).one_or_none()
        if row is None:
            raise PhotoNumberNotKnown(photo=photo_id)
        names = Names(connection, places or {})
        known = tag_rows(connection, [row.content_id] if row.content_id is not None else [])
        return _details(connection, names, row, known.get(row.content_id, ()))


def find_photo(connection: Connection, path: Path, places: Places) -> int:
    """The id of the photo at `path`, which may be relative or lead through links.

    Raises:
        PhotoNotKnown: there is none.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links, drops ..
    spellings = (absolute, absolute.parent.resolve() / absolute.name, absolute.resolve())
    for root in list_roots(connection, places):
        for spelling in dict.fromkeys(spellings):
            if spelling.is_relative_to(root.folder):
                text, raw = path_text(spelling.relative_to(root.folder))
                is_it = (photos.c.root_id == root.id, photos.c.path == text, photos.c.path_bytes == raw)
                found = connection.scalar(select(photos.c.id).where(*is_it))
                if found is not None:
                    return int(found)
    raise PhotoNotKnown(path=absolute)


def landmark_counts(
    database: Database, country: str | None = None, *, job: int | None = None, all_known: bool = False
) -> list[LandmarkCount]:
    """Landmarks by number of photos (of a job, where one is named), most first; those that no photo shows only with `all_known`.

    Raises:
        CountryNotFound: no landmark is in `country`.
    """
    with database.read() as connection:
        places = all_landmarks(connection) if country is None else landmarks_in_country(connection, country)
        counts = _counts(connection, None if country is None else [place.id for place in places], job)
    counted = (_count(place, counts.get(place.id, 0)) for place in places)
    shown = (count for count in counted if count.photos or all_known)
    return sorted(shown, key=lambda count: (-count.photos, count.landmark))


def _count(place: Landmark, number: int) -> LandmarkCount:
    return LandmarkCount(
        landmark=place.slug,
        name=place.name,
        country=place.country,
        region=place.region,
        city=place.city,
        latitude=place.latitude,
        longitude=place.longitude,
        photos=number,
    )


def _counts(connection: Connection, landmark_ids: Sequence[int] | None, job: int | None) -> Mapping[int, int]:
    """Photos by landmark. The view of effective tags says the same, but would be read as a whole."""
    ruled = exists().where(
        verdicts.c.content_id == tags.c.content_id, verdicts.c.landmark_id == tags.c.landmark_id
    )
    here: ColumnElement[bool] = photos.c.gone_since.is_(None)
    if job is not None:
        here = here & photos.c.id.in_(select(job_items.c.photo_id).where(job_items.c.job_id == job))
    # Verdicts count apart, so that a tag that is both accepted and confirmed counts once.
    said = (
        select(tags.c.landmark_id, func.count())
        .select_from(tags.join(photos, photos.c.content_id == tags.c.content_id))
        .where(tags.c.accepted == true(), here, ~ruled)
        .group_by(tags.c.landmark_id)
    )
    confirmed = (
        select(verdicts.c.landmark_id, func.count())
        .select_from(verdicts.join(photos, photos.c.content_id == verdicts.c.content_id))
        .where(verdicts.c.verdict == "confirmed", here)
        .group_by(verdicts.c.landmark_id)
    )
    if landmark_ids is not None:
        said = said.where(tags.c.landmark_id.in_(landmark_ids))
        confirmed = confirmed.where(verdicts.c.landmark_id.in_(landmark_ids))
    counts: dict[int, int] = {}
    for query in (said, confirmed):
        for landmark_id, number in connection.execute(query):
            counts[landmark_id] = counts.get(landmark_id, 0) + number
    return counts


def _details(connection: Connection, names: Names, row: Row[Any], known: Sequence[Row[Any]]) -> PhotoDetails:
    file = connection.execute(select(photos).where(photos.c.id == row.id)).one()
    looked = connection.execute(
        select(models.c.name, contents.c.top_k, contents.c.threshold, contents.c.looked_at)
        .select_from(contents.outerjoin(models, models.c.id == contents.c.model_id))
        .where(contents.c.id == row.content_id)
    ).one_or_none()
    return PhotoDetails(
        photo=names.photo(connection, row, known, known),
        size_bytes=file.size_bytes,
        gone_since=file.gone_since,
        latitude=file.latitude,
        longitude=file.longitude,
        model=looked.name if looked else None,
        top_k=looked.top_k if looked else None,
        threshold=looked.threshold if looked else None,
        looked_at=looked.looked_at if looked else None,
        job=_last_job(connection, row.id),
        failure=_failure(file),
        metadata=_metadata(connection, row.id),
        verdicts=_verdicts(connection, row.content_id),
        copies=_copies(connection, names, row),
    )


def _failure(file: Row[Any]) -> Failure | None:
    if file.failure_kind is None:
        return None
    return Failure(file.failure_kind, file.failure_text, file.failure_attempts, file.failure_job_id)


def _last_job(connection: Connection, photo_id: int) -> LastJob | None:
    item = connection.execute(
        select(job_items)
        .join(jobs, jobs.c.id == job_items.c.job_id)
        .where(job_items.c.photo_id == photo_id, job_items.c.outcome.is_not(None))
        .where(jobs.c.kind.not_in(WRITING_KINDS))
        .order_by(job_items.c.job_id.desc())
        .limit(1)
    ).one_or_none()
    if item is None:
        return None
    return LastJob(item.job_id, Outcome(item.outcome), item.reason, item.attempts)


def _metadata(connection: Connection, photo_id: int) -> tuple[MetadataWritten, ...]:
    rows = connection.execute(
        select(metadata_writes)
        .where(metadata_writes.c.photo_id == photo_id, metadata_writes.c.confirmed)
        .order_by(metadata_writes.c.id)
    )
    return tuple(
        MetadataWritten(row.file, row.target, tuple(row.landmarks), row.written_at, row.job_id)
        for row in rows
    )


def _verdicts(connection: Connection, content_id: int | None) -> tuple[Verdict, ...]:
    rows = connection.execute(
        select(landmarks.c.slug, landmarks.c.name, verdicts)
        .select_from(verdicts.join(landmarks, landmarks.c.id == verdicts.c.landmark_id))
        .where(verdicts.c.content_id == content_id)
        .order_by(landmarks.c.slug)
    )
    return tuple(Verdict(row.slug, row.name, row.verdict, row.given_by, row.given_at) for row in rows)


def _copies(connection: Connection, names: Names, row: Row[Any]) -> tuple[str, ...]:
    if row.content_id is None:
        return ()
    same = photo_rows().where(
        photos.c.content_id == row.content_id, photos.c.id != row.id, photos.c.gone_since.is_(None)
    )
    rows = connection.execute(same.order_by(photos.c.id).limit(COPIES_SHOWN))
    return tuple(names.path(connection, copy) for copy in rows)
