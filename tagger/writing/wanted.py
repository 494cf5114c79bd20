"""What SQL has to say about photos that are to be written: their accepted tags, and the file that was looked at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, select, true

from tagger.database import Database
from tagger.metadata.additions import Additions, NamedLandmark, additions_for
from tagger.tables import Target, contents, effective_tags, landmarks, metadata_writes, models, photos
from tagger.writing.asked import WriteAsked
from tagger.writing.photo import PhotoToWrite


@dataclass(frozen=True)
class WantedTags:
    """A photo's accepted tags after verdicts, best first, and where this program has written before.

    `digest` is that of the picture they were seen in.
    """

    digest: str
    landmarks: tuple[NamedLandmark, ...]
    written: frozenset[Target]
    by_job: Mapping[int, frozenset[Target]]
    settled: frozenset[str]
    """Digests of its files as they were written, where nothing is left to be noted about it."""

    def to_write(
        self, path: Path, asked: WriteAsked | None, *, max_bytes: int, of_job: int | None = None
    ) -> PhotoToWrite:
        """What is to become of the photo at `path`; without `asked`, whatever is ours is to go, or what `of_job` wrote."""
        if asked is None:
            written = self.written if of_job is None else self.by_job.get(of_job, frozenset())
            return PhotoToWrite(path, None, Additions(), None, written, max_bytes, of_job=of_job is not None)
        additions = additions_for(self.landmarks, gps=asked.gps, description=asked.description)
        return PhotoToWrite(path, self.digest, additions, asked.to, self.written, max_bytes)


def wanted_tags(database: Database, photo_ids: Collection[int]) -> Mapping[int, WantedTags]:
    """By photo; those that nobody has looked at are missing."""
    with database.read() as connection:
        rows = connection.execute(
            select(photos.c.id, photos.c.content_id, contents.c.digest)
            .join(contents, contents.c.id == photos.c.content_id)
            .where(photos.c.id.in_(photo_ids))
        ).all()
        accepted = _accepted(connection, {row.content_id for row in rows})
        written = _written(connection, photo_ids)
    return {
        row.id: WantedTags(
            row.digest,
            accepted.get(row.content_id, ()),
            frozenset(Target(one.target) for one in written.get(row.id, ())),
            _by_job(written.get(row.id, ())),
            frozenset(one.written_digest for one in written.get(row.id, ()) if one.settled),
        )
        for row in rows
    }


def _written(connection: Connection, photo_ids: Collection[int]) -> Mapping[int, list[Row[Any]]]:
    """What is kept of each picture, in whatever file: photos are moved and copied, forgotten and found again."""
    settled = and_(metadata_writes.c.photo_id == photos.c.id, metadata_writes.c.confirmed)
    query = (
        select(
            photos.c.id,
            metadata_writes.c.target,
            metadata_writes.c.job_id,
            metadata_writes.c.written_digest,
            settled.label("settled"),
        )
        .join(contents, contents.c.id == photos.c.content_id)
        .join(metadata_writes, metadata_writes.c.picture == contents.c.digest)
        .where(photos.c.id.in_(photo_ids))
    )
    found: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.id, []).append(row)
    return found


def _by_job(written: Sequence[Row[Any]]) -> Mapping[int, frozenset[Target]]:
    jobs = {row.job_id for row in written if row.job_id is not None}
    return {job: frozenset(Target(row.target) for row in written if row.job_id == job) for job in jobs}


def _accepted(
    connection: Connection, content_ids: Collection[int]
) -> Mapping[int, tuple[NamedLandmark, ...]]:
    tags = effective_tags
    query = (
        select(
            tags.c.content_id,
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
    found: dict[int, list[tuple[int, NamedLandmark]]] = {}
    for row in connection.execute(query) if content_ids else ():
        named = NamedLandmark(
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
        )
        # A person's word alone has no rank; it comes last.
        found.setdefault(row.content_id, []).append((row.rank or 1_000_000, named))
    return {
        content: tuple(named for _, named in sorted(ranked, key=lambda pair: (pair[0], pair[1].slug)))
        for content, ranked in found.items()
    }
