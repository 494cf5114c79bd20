"""Everything that the database has about one photo, and what its position follows from; reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path, PurePath
from typing import Any

from sqlalchemy import Connection, Row, func, select

from tagger.cameras import camera_name, may_be_reset
from tagger.database import (
    METADATA_KINDS,
    FactSource,
    Outcome,
    PositionSource,
    VerdictKind,
)
from tagger.database.connection import Database, display_language
from tagger.database.tables import (
    classifications,
    contents,
    dismissals,
    job_items,
    jobs,
    landmarks,
    metadata_writes,
    models,
    photos,
    positions,
    tracks,
    verdicts,
)
from tagger.errors import PhotoIdNotFound, PhotoNotFound
from tagger.photos.paths import absolute_path, path_text
from tagger.query.tagged_photos import (
    NameCache,
    PhotoDocument,
    Position,
    TaggedPhoto,
    photo_document,
    select_photos,
    tag_rows,
)
from tagger.raw_pairs import files_of
from tagger.roots import Root, RootPaths, list_roots
from tagger.tags.models_in_use import LANDMARKS
from tagger.texts import document_of
from tagger.texts.names import name_in_language
from tagger.texts.text_format import N_, gettext
from tagger.things import things_of_images

_SOURCE_NAMES = {
    "camera": "GPS",
    "sidecar": N_("sidecar"),
    "takeout": "Google Takeout",
    "track": N_("track"),
}
# Who states a date or a position, if not the photo itself.
STATED_BY = {
    "sidecar": N_("From the sidecar"),
    "takeout": N_("From Google Takeout, ente or iCloud"),
    "name": N_("The day in the file's name"),
}


@dataclass(frozen=True)
class NeighbourEvidence:
    """A photo with a position, taken `seconds` before or after. `landmark`: the name it comes from."""

    id: int
    path: str
    seconds: int
    source: str
    landmark: str | None

    @property
    def file(self) -> str:
        return PurePath(self.path).name

    @property
    def reason(self) -> str:
        minutes = round(self.seconds / 60)
        time = f"{minutes} min" if minutes else f"{self.seconds} s"
        if minutes >= 120:
            time = f"{minutes // 60} h"
        source = gettext(_SOURCE_NAMES.get(self.source, self.source))
        return f"{self.landmark or source}, {time}"


@dataclass(frozen=True)
class PositionEvidence:
    """The name of a landmark or track, or photos taken before and after."""

    landmark: str | None
    track: str | None
    before: NeighbourEvidence | None
    after: NeighbourEvidence | None

    def phrase(self, source: str) -> str:
        """The words for it, to be translated. `before` and `after` are the photos, `photo` is the only one.

        `source` is that of the position, `name` that of the landmark or track.
        """
        if self.before and self.after:
            return N_("Between %(before)s and %(after)s")
        if self.before or self.after:
            return N_("Near %(photo)s")
        if self.landmark:
            return N_("From the landmark %(name)s")
        if self.track:
            return N_("From the track %(name)s")
        if source == PositionSource.CAMERA:
            return N_("From the camera's GPS")
        return STATED_BY.get(source) or N_(
            "What it followed from is gone; the next update will see that"
        )


def position_evidence(
    connection: Connection,
    names: NameCache,
    photo_id: int,
) -> PositionEvidence | None:
    evidence = connection.scalar(
        select(positions.c.evidence).where(positions.c.photo_id == photo_id)
    )
    if evidence is None:
        return None
    return PositionEvidence(
        landmark=_landmark(connection, names, evidence),
        track=connection.scalar(
            select(tracks.c.name).where(tracks.c.id == evidence.get("track"))
        ),
        before=_neighbour(connection, names, evidence, "before"),
        after=_neighbour(connection, names, evidence, "after"),
    )


def _neighbour(
    connection: Connection,
    names: NameCache,
    evidence: Mapping[str, Any],
    side: str,
) -> NeighbourEvidence | None:
    # None also if the photo is not in the database any more: the next update will see that.
    query = (
        select_photos()
        .add_columns(positions.c.evidence)
        .where(photos.c.id == evidence.get(side))
    )
    row = connection.execute(query).one_or_none()
    if row is None or row.source is None:
        return None
    return document_of(
        NeighbourEvidence,
        row,
        path=names.path(connection, row),
        seconds=evidence[f"{side}_s"],
        landmark=_landmark(connection, names, row.evidence),
    )


def _landmark(
    connection: Connection,
    names: NameCache,
    evidence: Mapping[str, Any],
) -> str | None:
    landmark_id = evidence.get("landmark")
    try:
        return (
            None
            if landmark_id is None
            else names.landmark(connection, landmark_id).display_name
        )
    except KeyError:  # merged or removed; the next update of positions follows
        return None


@dataclass(frozen=True)
class Verdict:
    landmark: str
    name: str
    verdict: str
    given_by: str | None
    given_at: datetime


@dataclass(frozen=True)
class Dismissal:
    given_by: str | None
    given_at: datetime


@dataclass(frozen=True)
class LastJob:
    job: int
    outcome: Outcome
    reason: str | None
    attempts: int


@dataclass(frozen=True)
class MetadataWrite:
    """A file with written tags, by its name in the photo's folder, and the slugs of their landmarks."""

    file: str
    target: str
    landmarks: tuple[str, ...]
    written_at: datetime
    job: int | None


@dataclass(frozen=True)
class Failure:
    kind: str
    text: str | None
    attempts: int | None
    job: int | None


@dataclass(frozen=True, kw_only=True)
class _Details:
    evidence: PositionEvidence | None
    camera: str | None
    # Whether the date may be that of a clock that was not set.
    clock_may_be_reset: bool
    # What its own file states, where a file beside it corrects that: `taken_at`, `latitude`, …
    own_facts: Mapping[str, Any] | None
    size_bytes: int
    gone_since: datetime | None
    latitude: float | None
    longitude: float | None
    model: str | None
    top_k: int | None
    threshold: float | None
    # By models, the last first, of which `model`, `top_k` and `threshold` are.
    thresholds: Mapping[str, float]
    classified_at: datetime | None
    job: LastJob | None
    failure: Failure | None
    metadata: tuple[MetadataWrite, ...]
    verdicts: tuple[Verdict, ...]
    dismissal: Dismissal | None
    raw_files: tuple[str, ...]
    copies: tuple[str, ...]


@dataclass(frozen=True)
class PhotoDetailsDocument(_Details, PhotoDocument):
    """Everything about a photo; `tags` is the whole top-k, `evidence` what its position follows from."""


@dataclass(frozen=True)
class PhotoDetails(_Details):
    """A photo with its whole top-k, and what its position follows from. `camera` has the serial number.

    `raw_files` are the paths of its further files, `copies` those of photos with the same image.
    """

    photo: TaggedPhoto

    @property
    def own_taken_at(self) -> datetime | None:
        stated = (self.own_facts or {}).get("taken_at")
        return None if stated is None else datetime.fromisoformat(stated)

    @property
    def position(self) -> Position | None:
        """None if it follows from a landmark that was rejected since."""
        position = self.photo.position
        if (
            position is None
            or position.source != PositionSource.LANDMARK
            or self.evidence is None
        ):
            return position
        rejected = {
            each.name for each in self.verdicts if each.verdict == VerdictKind.REJECTED
        }
        return None if self.evidence.landmark in rejected else position

    def document(self) -> PhotoDetailsDocument:
        facts = {name: value for name, value in vars(self).items() if name != "photo"}
        return PhotoDetailsDocument(**vars(photo_document(self.photo)), **facts)


MOST_COPIES = 1000


def photo_details(
    database: Database,
    path: Path,
    root_paths: RootPaths | None = None,
) -> PhotoDetails:
    """The details of the photo at `path`; the file may be gone. `root_paths` is settings.roots.

    Raises:
        PhotoNotFound: the photo was never scanned.
    """
    with database.read() as connection:
        photo_id = find_photo_id(connection, path, root_paths or {})
    return photo_details_by_id(database, photo_id, root_paths)


def photo_details_by_id(
    database: Database,
    photo_id: int,
    root_paths: RootPaths | None = None,
) -> PhotoDetails:
    """Raises:
    PhotoIdNotFound: there is no such photo.
    """
    with database.read() as connection:
        row = connection.execute(
            select_photos().where(photos.c.id == photo_id)
        ).one_or_none()
        if row is None:
            raise PhotoIdNotFound(photo_id=photo_id)
        names = NameCache(connection, root_paths or {})
        classified = contents.c.top_k, contents.c.threshold, contents.c.classified_at
        stored = connection.execute(
            select(photos, models.c.name.label("model"), *classified)
            .select_from(
                photos.outerjoin(contents, contents.c.id == photos.c.content_id)
            )
            .outerjoin(models, models.c.id == contents.c.model_id)
            .where(photos.c.id == row.id)
        ).one()
        failure = None
        if stored.failure_kind is not None:
            failure = Failure(
                stored.failure_kind,
                stored.failure_text,
                stored.failure_attempts,
                stored.failure_job_id,
            )
        clock_may_be_reset = (
            stored.taken_at is not None
            and stored.taken_source == FactSource.CAMERA
            and may_be_reset(stored.taken_at, stored.utc_offset_s)
        )
        images = {row.content_id} - {None}
        tags = tag_rows(connection, images).get(row.content_id, ())
        things = things_of_images(connection, images, with_rejected=True).get(
            row.content_id, ()
        )
        raw_files = select_photos().where(files_of([row.id])).order_by(photos.c.path)
        writes = (
            select(metadata_writes)
            .where(metadata_writes.c.photo_id == row.id, metadata_writes.c.complete)
            .order_by(metadata_writes.c.id)
        )
        return document_of(
            PhotoDetails,
            stored,
            photo=names.photo(connection, row, tags, tags, things),
            evidence=position_evidence(connection, names, row.id),
            camera=camera_name(connection, stored.camera_id),
            clock_may_be_reset=clock_may_be_reset,
            job=_last_job(connection, row.id),
            failure=failure,
            metadata=tuple(
                document_of(
                    MetadataWrite,
                    write,
                    landmarks=tuple(write.landmarks),
                    job=write.job_id,
                )
                for write in connection.execute(writes)
            ),
            raw_files=tuple(
                names.path(connection, file) for file in connection.execute(raw_files)
            ),
            **_of_image(connection, names, row, stored),
        )


def find_photo_id(connection: Connection, path: Path, root_paths: RootPaths) -> int:
    """`path` may be relative or go through links.

    Raises:
        PhotoNotFound: there is no such photo.
    """
    photo_id = photo_id_in(connection, path, list_roots(connection, root_paths))
    if photo_id is None:
        raise PhotoNotFound(path=absolute_path(path))
    return photo_id


def photo_id_in(
    connection: Connection, path: Path, roots: Sequence[Root]
) -> int | None:
    """The id of the photo at `path` in one of the roots, as `find_photo_id`, for many paths; None: none.

    A RAW file that is one photo with its JPEG has the id of the JPEG.
    """
    absolute = absolute_path(path)
    spellings = dict.fromkeys(
        (absolute, absolute.parent.resolve() / absolute.name, absolute.resolve())
    )
    for root, spelling in product(roots, spellings):
        if spelling.is_relative_to(root.folder):
            text, raw = path_text(spelling.relative_to(root.folder))
            photo_id = connection.scalar(
                select(func.coalesce(photos.c.primary_id, photos.c.id)).where(
                    photos.c.root_id == root.id,
                    photos.c.path == text,
                    photos.c.path_bytes == raw,
                )
            )
            if photo_id is not None:
                return int(photo_id)
    return None


def _of_image(
    connection: Connection,
    names: NameCache,
    row: Row[Any],
    stored: Row[Any],
) -> dict[str, Any]:
    # What the photo shares with its copies: verdicts, thresholds of models, and the copies themselves.
    verdict_rows = connection.execute(
        select(landmarks.c.slug, landmarks.c.name, landmarks.c.names, verdicts)
        .select_from(verdicts.join(landmarks, landmarks.c.id == verdicts.c.landmark_id))
        .where(verdicts.c.content_id == row.content_id)
        .order_by(landmarks.c.slug)
    ).all()
    language = display_language(connection)
    dismissal = connection.execute(
        select(dismissals).where(dismissals.c.content_id == row.content_id)
    ).one_or_none()
    copies = (
        select_photos()
        .where(
            photos.c.content_id == row.content_id,
            photos.c.id != row.id,
            photos.c.gone_since.is_(None),
        )
        .order_by(photos.c.id)
        .limit(MOST_COPIES)
    )
    copy_rows = () if row.content_id is None else connection.execute(copies)
    earlier = (
        select(models.c.name, classifications.c.threshold)
        .join(models, models.c.id == classifications.c.model_id)
        .where(
            classifications.c.content_id == row.content_id,
            models.c.kind == LANDMARKS,
        )
        .order_by(models.c.use_order, models.c.id)
    )
    thresholds = {} if stored.model is None else {stored.model: stored.threshold}
    thresholds |= {model.name: model.threshold for model in connection.execute(earlier)}
    return {
        "verdicts": tuple(
            document_of(
                Verdict,
                verdict,
                landmark=verdict.slug,
                name=name_in_language(verdict.name, verdict.names, language),
            )
            for verdict in verdict_rows
        ),
        "dismissal": None if dismissal is None else document_of(Dismissal, dismissal),
        "copies": tuple(names.path(connection, copy) for copy in copy_rows),
        "thresholds": thresholds,
    }


def _last_job(connection: Connection, photo_id: int) -> LastJob | None:
    # The last job that processed the photo; without one, the last that skipped it or was cancelled.
    item = connection.execute(
        select(job_items)
        .join(jobs, jobs.c.id == job_items.c.job_id)
        .where(
            job_items.c.photo_id == photo_id,
            job_items.c.outcome.is_not(None),
            jobs.c.kind.not_in(METADATA_KINDS),
        )
        .order_by(
            job_items.c.outcome.in_((Outcome.SKIPPED, Outcome.CANCELLED)),
            job_items.c.job_id.desc(),
        )
        .limit(1)
    ).one_or_none()
    if item is None:
        return None
    return document_of(
        LastJob,
        item,
        job=item.job_id,
        outcome=Outcome(item.outcome),
    )
