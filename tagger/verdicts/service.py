"""Verdicts on photos, given and withdrawn in one transaction, for commands, the API and Python alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.statements import among
from tagger.database.tables import photos, verdicts
from tagger.errors import PhotoNotClassified
from tagger.landmarks.landmarks import Landmark, find_landmark
from tagger.query.details import find_photo_id
from tagger.query.tagged_photos import NameCache, select_photos
from tagger.roots.roots import RootPaths
from tagger.tags.causes import NewVerdict, delete_verdicts, hold_landmarks, write_verdicts
from tagger.verdicts.store import images_of

VERDICT_COLUMNS = ("path", "landmark", "name", "verdict", "by", "at", "digest")


@dataclass(frozen=True)
class PhotoVerdict:
    """The verdict of a photo, `before` the request and after it. `copies`: the photos of its image."""

    photo: int
    path: str
    digest: str
    before: VerdictKind | None
    verdict: VerdictKind | None
    changed: bool
    copies: int


@dataclass(frozen=True)
class VerdictsDocument:
    """The verdicts of photos on a landmark, after a request. `left_out`: photos that are not classified."""

    landmark: str
    name: str
    photos: Sequence[PhotoVerdict]
    left_out: Sequence[int]
    dry_run: bool


def give_verdicts(
    database: Database,
    photos: Sequence[Path | int],
    landmark: str,
    kind: VerdictKind,
    by: str | None,
    root_paths: RootPaths,
    *,
    dry_run: bool = False,
) -> VerdictsDocument:
    """Store verdicts for photos, named by path or id, and a landmark. They replace earlier ones.

    Raises:
        PhotoNotFound: the database does not have a photo at one of the paths.
        PhotoNotClassified: no model has classified it. Photos named by id are left out then.
        LandmarkNotFound, LandmarkAmbiguous: no registered model has a landmark of that name.
    """
    with database.write(dry_run=dry_run) as connection:
        current = _CurrentVerdicts.of(connection, photos, landmark, root_paths)
        write_verdicts(connection, _new(current.before, current.landmark, kind, by))
        return current.document(connection, root_paths, dry_run=dry_run)


def withdraw_verdicts(
    database: Database,
    photos: Sequence[Path | int],
    landmark: str,
    kind: VerdictKind,
    root_paths: RootPaths,
    *,
    dry_run: bool = False,
) -> VerdictsDocument:
    """Delete those verdicts of photos that are of `kind`: the predictions of the model count again.

    Raises:
        PhotoNotFound, PhotoNotClassified, LandmarkNotFound, LandmarkAmbiguous: as `give_verdicts`.
    """
    with database.write(dry_run=dry_run) as connection:
        current = _CurrentVerdicts.of(connection, photos, landmark, root_paths)
        if count := delete_verdicts(connection, current.before, current.landmark.id, kind):
            slug = current.landmark.slug
            record_action(connection, AuditAction.VERDICTS_WITHDRAW, slug, verdict=kind, count=count)
        return current.document(connection, root_paths, dry_run=dry_run)


def give_examples(
    database: Database, landmark: str, confirmed: Sequence[int], rejected: Sequence[int], by: str | None
) -> None:
    """Confirm a landmark on some photos, from which it is taught, and reject it on others.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `give_verdicts`.
    """
    with database.write() as connection:
        current = _CurrentVerdicts.of(connection, [*confirmed, *rejected], landmark, {})
        for photo_ids, kind in ((confirmed, VerdictKind.CONFIRMED), (rejected, VerdictKind.REJECTED)):
            images = {current.images[each] for each in photo_ids if each in current.images}
            write_verdicts(connection, _new(images, current.landmark, kind, by))


def _new(images: Iterable[int], landmark: Landmark, kind: VerdictKind, by: str | None) -> list[NewVerdict]:
    now = datetime.now(UTC)
    return [NewVerdict(image, landmark.id, kind, by, now) for image in images]


@dataclass(frozen=True)
class _CurrentVerdicts:
    """The verdicts of images about one landmark before a change. `images`: by photo id."""

    landmark: Landmark
    photo_ids: Sequence[int]
    images: Mapping[int, int]
    before: Mapping[int, VerdictKind | None]

    @classmethod
    def of(
        cls, connection: Connection, named: Sequence[Path | int], landmark_name: str, root_paths: RootPaths
    ) -> _CurrentVerdicts:
        paths = {
            path: find_photo_id(connection, path, root_paths) for path in named if isinstance(path, Path)
        }
        photo_ids = [paths[each] if isinstance(each, Path) else each for each in named]
        images = images_of(connection, photo_ids)
        for path, photo_id in paths.items():
            if photo_id not in images:
                kind = connection.scalar(select(photos.c.failure_kind).where(photos.c.id == photo_id))
                raise PhotoNotClassified(path=path, why=f": it failed ({kind})" if kind else "")
        hold_landmarks(connection)
        landmark = find_landmark(connection, landmark_name)
        return cls(landmark, photo_ids, images, _kinds(connection, {*images.values()}, landmark))

    def document(self, connection: Connection, root_paths: RootPaths, *, dry_run: bool) -> VerdictsDocument:
        """What has become of them in this transaction."""
        after = _kinds(connection, self.before, self.landmark)
        names = NameCache(connection, root_paths)
        rows = connection.execute(select_photos().where(among(photos.c.id, self.images)))
        found = {row.id: (names.path(connection, row), row.digest) for row in rows}
        of_images = among(photos.c.content_id, self.before), photos.c.gone_since.is_(None)
        counted = select(photos.c.content_id, func.count()).where(*of_images).group_by(photos.c.content_id)
        copies = {row[0]: row[1] for row in connection.execute(counted)}
        changed = [
            PhotoVerdict(
                photo_id,
                *found[photo_id],
                self.before[image],
                after[image],
                self.before[image] is not after[image],
                copies.get(image, 0),
            )
            for photo_id in self.photo_ids
            if (image := self.images.get(photo_id)) is not None
        ]
        left_out = [photo_id for photo_id in self.photo_ids if photo_id not in self.images]
        return VerdictsDocument(
            self.landmark.slug, self.landmark.display_name, changed, left_out, dry_run=dry_run
        )


def _kinds(
    connection: Connection, images: Collection[int], landmark: Landmark
) -> dict[int, VerdictKind | None]:
    """The verdict of each image about a landmark."""
    of_images = among(verdicts.c.content_id, images), verdicts.c.landmark_id == landmark.id
    rows = connection.execute(select(verdicts.c.content_id, verdicts.c.verdict).where(*of_images))
    return dict.fromkeys(images) | {row.content_id: VerdictKind(row.verdict) for row in rows}
