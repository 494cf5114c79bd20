"""The accepted tags of photos whose metadata is written, and the targets that were written before."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, select, true

from tagger.database.connection import Database
from tagger.database.enums import PositionSource, Target
from tagger.database.tables import (
    contents,
    effective_tags,
    landmarks,
    metadata_writes,
    models,
    photos,
    positions,
)
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.library.query.tagged_photos import best_first
from tagger.metadata.photo_writer import WriteRequest
from tagger.metadata.tag_fields import NamedLandmark, Position, TagFields, make_tag_fields


@dataclass(frozen=True)
class PhotoTags:
    """A photo's accepted tags after verdicts, best first, and the targets that this program has written before.

    `estimate` is its stored position, unless its camera measured it. `image_digest` is the digest of the tagged image.
    `complete_digests` are the digests of the photo's written files whose rows in the undo log are complete.
    """

    image_digest: str
    landmarks: tuple[NamedLandmark, ...]
    estimate: Position | None
    written_targets: frozenset[Target]
    targets_by_job: Mapping[int, frozenset[Target]]
    complete_digests: frozenset[str]

    def write_request(
        self,
        path: Path,
        root: Path,
        options: MetadataOptions | None,
        *,
        max_bytes: int,
        undo_job: int | None = None,
    ) -> WriteRequest:
        """The request for the photo at `path` in the folder `root`. Without `options` it is an undo, of all writes or of those of `undo_job`."""
        if options is None:
            return self._undo_request(path, root, undo_job, max_bytes)
        landmarks = [tag.in_language(options.language) for tag in self.landmarks]
        gps, estimate = options.gps, None
        if options.max_error_m is not None and self.estimate is not None:
            gps = False  # the stored position takes account of what contradicts the landmark
            estimate = self.estimate if self.estimate.error_m <= options.max_error_m else None
        tag_fields = make_tag_fields(landmarks, gps=gps, estimate=estimate, description=options.description)
        return WriteRequest(
            path,
            root,
            self.image_digest,
            tag_fields,
            options.to,
            self.written_targets,
            max_bytes,
            embeds_objects=options.embed_objects,
        )

    def _undo_request(self, path: Path, root: Path, job: int | None, max_bytes: int) -> WriteRequest:
        written = self.written_targets if job is None else self.targets_by_job.get(job, frozenset())
        return WriteRequest(
            path,
            root,
            None,
            TagFields(),
            None,
            written,
            max_bytes,
            single_job=job is not None,
            embeds_objects=True,
        )


def load_photo_tags(database: Database, photo_ids: Collection[int]) -> Mapping[int, PhotoTags]:
    """Load tags by photo id. Photos that no model has classified are missing."""
    with database.read() as connection:
        rows = connection.execute(
            select(photos.c.id, photos.c.content_id, contents.c.digest)
            .join(contents, contents.c.id == photos.c.content_id)
            .where(photos.c.id.in_(photo_ids))
        ).all()
        estimates = _estimates(connection, photo_ids)
        accepted = _accepted_landmarks(connection, {row.content_id for row in rows})
        writes = _writes(connection, photo_ids)
    return {
        row.id: PhotoTags(
            row.digest,
            accepted.get(row.content_id, ()),
            estimates.get(row.id),
            frozenset(Target(write.target) for write in writes.get(row.id, ())),
            _targets_by_job(writes.get(row.id, ())),
            frozenset(write.written_digest for write in writes.get(row.id, ()) if write.is_complete),
        )
        for row in rows
    }


def _estimates(connection: Connection, photo_ids: Collection[int]) -> Mapping[int, Position]:
    query = select(positions).where(
        positions.c.photo_id.in_(photo_ids), positions.c.source != PositionSource.CAMERA
    )
    return {
        row.photo_id: Position(row.latitude, row.longitude, row.error_m, row.source)
        for row in connection.execute(query)
    }


def _accepted_landmarks(
    connection: Connection, content_ids: Collection[int]
) -> Mapping[int, tuple[NamedLandmark, ...]]:
    tags = effective_tags
    query = (
        select(
            tags.c.content_id,
            tags.c.landmark_id,
            tags.c.rank,
            tags.c.score,
            tags.c.verdict,
            models.c.name.label("model"),
            landmarks,
        )
        .select_from(tags)
        .join(landmarks, landmarks.c.id == tags.c.landmark_id)
        .outerjoin(models, models.c.id == tags.c.model_id)
        .where(tags.c.content_id.in_(content_ids), tags.c.accepted == true())
    )
    accepted: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query) if content_ids else ():
        accepted.setdefault(row.content_id, []).append(row)
    return {
        content_id: tuple(map(_named_landmark, sorted(rows, key=_written_order)))
        for content_id, rows in accepted.items()
    }


def _written_order(row: Row[Any]) -> tuple[bool, int, float, str]:
    """As `best_first`, but equal ones by slug: another order would change files that are written again."""
    is_unranked, rank, score, _landmark_id = best_first(row)
    return is_unranked, rank, score, row.slug


def _named_landmark(row: Row[Any]) -> NamedLandmark:
    return NamedLandmark(
        slug=row.slug,
        name=row.name,
        country=row.country,
        region=row.region,
        city=row.city,
        latitude=row.latitude,
        longitude=row.longitude,
        extent=row.extent,
        score=row.score,
        model=row.model,
        verdict=row.verdict,
        names=row.names,
    )


def _writes(connection: Connection, photo_ids: Collection[int]) -> Mapping[int, list[Row[Any]]]:
    """The writes of each photo's image in any file: photos are moved, copied, forgotten and scanned again."""
    is_complete = and_(metadata_writes.c.photo_id == photos.c.id, metadata_writes.c.complete)
    query = (
        select(
            photos.c.id,
            metadata_writes.c.target,
            metadata_writes.c.job_id,
            metadata_writes.c.written_digest,
            is_complete.label("is_complete"),
        )
        .join(contents, contents.c.id == photos.c.content_id)
        .join(metadata_writes, metadata_writes.c.image_digest == contents.c.digest)
        .where(photos.c.id.in_(photo_ids))
    )
    writes: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query):
        writes.setdefault(row.id, []).append(row)
    return writes


def _targets_by_job(writes: Sequence[Row[Any]]) -> Mapping[int, frozenset[Target]]:
    jobs = {row.job_id for row in writes if row.job_id is not None}
    return {job: frozenset(Target(row.target) for row in writes if row.job_id == job) for job in jobs}
