"""Giving and withdrawing verdicts: for one photo, or for several photos.

Their effects as JSON are the same from the command line and the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.tables import contents, photos
from tagger.errors import PhotoIdNotFound, PhotoNotClassified
from tagger.library.catalog.landmarks import Landmark, find_landmark
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.details import find_photo_id
from tagger.library.verdicts.store import (
    NewVerdict,
    delete_verdicts,
    hold_landmarks,
    images_of,
    stored_verdicts,
    write_verdicts,
)
from tagger.system.documents import document_of


@dataclass(frozen=True)
class VerdictResult:
    """The effect on one photo. `before` is the previous verdict; `photos` counts the photos of the image, with this one."""

    digest: str
    landmark: Landmark
    before: VerdictKind | None
    photos: int


@dataclass(frozen=True)
class PhotosVerdictResult:
    """The effect on several photos. `before`: the previous verdict of each photo that changed, by id; None: there was none.

    `left_out`: photos that no model has classified, so that their image is not known.
    """

    landmark: Landmark
    before: dict[int, VerdictKind | None]
    left_out: tuple[int, ...]


def give_verdict(
    database: Database,
    photo: Path | int,
    landmark: str,
    kind: VerdictKind,
    by: str | None,
    root_paths: RootPaths,
    *,
    dry_run: bool = False,
) -> VerdictResult:
    """Store a verdict for a photo, named by path or id, and a landmark. It replaces an earlier one.

    Raises:
        PhotoNotFound, PhotoIdNotFound: the database does not have the photo.
        PhotoNotClassified: no model has classified the photo, so that its image is not known.
        LandmarkNotFound, LandmarkAmbiguous: no registered model has a landmark of that name.
    """
    with database.write() as connection:
        content_id, result = _current_verdict(connection, photo, landmark, root_paths)
        if not dry_run:
            new = NewVerdict(content_id, result.landmark.id, kind, by, datetime.now(UTC))
            write_verdicts(connection, [new])
    return result


def withdraw_verdict(
    database: Database,
    photo: Path | int,
    landmark: str,
    kind: VerdictKind,
    root_paths: RootPaths,
    *,
    dry_run: bool = False,
) -> VerdictResult:
    """Delete the verdict of a photo, if it is of `kind`: the prediction of the model counts again.

    Raises:
        PhotoNotFound, PhotoIdNotFound, PhotoNotClassified, LandmarkNotFound, LandmarkAmbiguous: as `give_verdict`.
    """
    with database.write() as connection:
        content_id, result = _current_verdict(connection, photo, landmark, root_paths)
        if result.before is kind and not dry_run:
            delete_verdicts(connection, [(content_id, result.landmark.id)], kind)
            slug = result.landmark.slug
            record_action(
                connection, AuditAction.VERDICTS_WITHDRAW, slug, verdict=kind, count=1, digest=result.digest
            )
    return result


def _current_verdict(
    connection: Connection, photo: Path | int, landmark_name: str, root_paths: RootPaths
) -> tuple[int, VerdictResult]:
    """The content id of the photo, and its verdict about the landmark."""
    photo_id = photo if isinstance(photo, int) else find_photo_id(connection, photo, root_paths)
    current = _current_verdicts(connection, [photo_id], landmark_name)
    if photo_id not in current.content_ids:
        row = connection.execute(select(photos).where(photos.c.id == photo_id)).one_or_none()
        if row is None:
            raise PhotoIdNotFound(photo_id=photo_id)
        why = f": it failed ({row.failure_kind})" if row.failure_kind else ""
        raise PhotoNotClassified(path=f"Photo {photo}" if isinstance(photo, int) else photo, why=why)
    content_id = current.content_ids[photo_id]
    digest = connection.execute(select(contents.c.digest).where(contents.c.id == content_id)).scalar_one()
    copies = select(func.count()).where(photos.c.content_id == content_id, photos.c.gone_since.is_(None))
    count = connection.scalar(copies) or 0
    return content_id, VerdictResult(digest, current.landmark, current.kinds[photo_id], count)


def give_verdict_to_photos(
    database: Database,
    photo_ids: Sequence[int],
    landmark: str,
    kind: VerdictKind,
    by: str | None,
    *,
    dry_run: bool = False,
) -> PhotosVerdictResult:
    """Store one verdict about a landmark for several photos, in one transaction.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: no registered model has a landmark of that name.
    """
    with database.write() as connection:
        current = _current_verdicts(connection, photo_ids, landmark)
        before = {photo_id: old for photo_id, old in current.kinds.items() if old is not kind}
        if not dry_run:
            now, landmark_id = datetime.now(UTC), current.landmark.id
            images = {current.content_ids[photo_id] for photo_id in before}
            write_verdicts(connection, [NewVerdict(image, landmark_id, kind, by, now) for image in images])
    left_out = tuple(photo_id for photo_id in photo_ids if photo_id not in current.content_ids)
    return PhotosVerdictResult(current.landmark, before, left_out)


def give_examples(
    database: Database,
    landmark: str,
    confirmed: Sequence[int],
    rejected: Sequence[int],
    by: str | None,
) -> None:
    """Confirm a landmark on some photos, from which it is taught, and reject it on others.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `give_verdict_to_photos`.
    """
    give_verdict_to_photos(database, confirmed, landmark, VerdictKind.CONFIRMED, by)
    give_verdict_to_photos(database, rejected, landmark, VerdictKind.REJECTED, by)


def withdraw_verdict_from_photos(
    database: Database,
    photo_ids: Sequence[int],
    landmark: str,
    kind: VerdictKind,
    *,
    dry_run: bool = False,
) -> int:
    """Delete the verdicts of `kind` about a landmark from several photos, in one transaction; returns how many photos had one.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `give_verdict_to_photos`.
    """
    with database.write() as connection:
        current = _current_verdicts(connection, photo_ids, landmark)
        matches = [photo_id for photo_id, old in current.kinds.items() if old is kind]
        if not dry_run:
            keys = {(current.content_ids[photo_id], current.landmark.id) for photo_id in matches}
            count = delete_verdicts(connection, sorted(keys), kind)
            if count:
                slug = current.landmark.slug
                record_action(connection, AuditAction.VERDICTS_WITHDRAW, slug, verdict=kind, count=count)
    return len(matches)


@dataclass(frozen=True)
class _CurrentVerdicts:
    """The verdicts of photos about one landmark; contents and kinds by photo id."""

    landmark: Landmark
    content_ids: Mapping[int, int]
    kinds: dict[int, VerdictKind | None]


def _current_verdicts(
    connection: Connection, photo_ids: Sequence[int], landmark_name: str
) -> _CurrentVerdicts:
    content_ids = images_of(connection, photo_ids)
    hold_landmarks(connection)
    landmark = find_landmark(connection, landmark_name)
    stored = stored_verdicts(connection, {(content_id, landmark.id) for content_id in content_ids.values()})
    kinds = {
        photo_id: stored.get((content_id, landmark.id), (None, None))[0]
        for photo_id, content_id in content_ids.items()
    }
    return _CurrentVerdicts(landmark, content_ids, kinds)


VERDICT_COLUMNS = ("path", "landmark", "name", "verdict", "by", "at", "digest")


@dataclass(frozen=True)
class VerdictResultDocument:
    """A landmark's verdict on a photo after the request, and `before` it; with `dry_run`, as it would be."""

    path: str
    digest: str
    landmark: str
    name: str
    verdict: str | None
    before: str | None
    changed: bool
    photos: int
    dry_run: bool


def verdict_result_document(
    path: Path, result: VerdictResult, kind: VerdictKind, *, withdraw: bool, dry_run: bool
) -> VerdictResultDocument:
    """A verdict given to one photo, or withdrawn with `withdraw`."""
    changed = result.before is kind if withdraw else result.before is not kind
    after = (None if changed else result.before) if withdraw else kind
    return document_of(
        VerdictResultDocument,
        result,
        path=str(path),
        landmark=result.landmark.slug,
        name=result.landmark.display_name,
        verdict=after,
        changed=changed,
        dry_run=dry_run,
    )


@dataclass(frozen=True)
class WithdrawnVerdicts:
    """How many verdicts were withdrawn."""

    verdict: str
    withdrawn: int
    dry_run: bool
