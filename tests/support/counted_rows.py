"""Rows on which the numbers of photos of landmarks depend, and every kind of statement that changes them."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, insert, select, true, update

from tagger.database.connection import Database
from tagger.database.tables import (
    contents,
    dismissals,
    effective_tags,
    landmarks,
    models,
    photos,
    roots,
    tags,
    taught_tags,
    verdicts,
)
from tagger.library.catalog.landmarks import photos_by_landmark

NOW = datetime(2026, 6, 1, tzinfo=UTC)
IMAGES = range(1, 7)
LANDMARKS = [1, 2, 3]
PHOTOS = range(1, 10)

Operation = Callable[[Connection, int, int, int, bool], None]
"""Called with the ids of an image, a landmark and a photo, and a truth value."""


def fill(database: Database) -> None:
    """Insert images, landmarks, and photos with tags."""
    with database.write() as connection:
        connection.execute(insert(roots).values(name="r", location="/r", location_bytes=b""))
        values = {"digest": "a", "name": "m", "manifest": {}, "registered_at": NOW, "in_use": True}
        connection.execute(insert(models).values(id=1, **values, taught_version=0))
        named = [{"id": each, "slug": f"l{each}", "name": f"L{each}"} for each in LANDMARKS]
        empty = {"names": {}, "aliases": [], "edited": [], "merged_slugs": []}
        connection.execute(insert(landmarks), [row | empty for row in named])
        rows = [{"id": image, "digest": f"digest {image}"} for image in IMAGES]
        classified = {"outcome": "unknown", "width": 4, "height": 3}
        connection.execute(insert(contents), [row | classified for row in rows])
        for number, image in enumerate(IMAGES, start=1):
            add_photo(connection, image, 1, number, True)
            tag(connection, image, number % 3 + 1, number, True)


def assert_exact(database: Database) -> None:
    """The numbers of photos of landmarks are those of the effective tags, counted row by row."""
    shown = (
        select(effective_tags.c.landmark_id, func.count())
        .join(photos, photos.c.content_id == effective_tags.c.content_id)
        .where(effective_tags.c.accepted == true(), photos.c.gone_since.is_(None))
        .group_by(effective_tags.c.landmark_id)
    )
    with database.snapshot() as connection:
        counted = {row[0]: row[1] for row in connection.execute(shown)}
        assert photos_by_landmark(connection, photos.c.gone_since.is_(None)) == counted


def tag(connection: Connection, image: int, landmark: int, _photo: int, accepted: bool) -> None:
    connection.execute(delete(tags).where(tags.c.content_id == image, tags.c.rank == landmark))
    values = {"content_id": image, "rank": landmark, "landmark_id": landmark, "score": 0.7}
    connection.execute(insert(tags).values(**values, accepted=accepted, model_id=1))


def turn_tag(connection: Connection, image: int, landmark: int, _photo: int, accepted: bool) -> None:
    of_image = (tags.c.content_id == image, tags.c.rank == landmark)
    connection.execute(update(tags).where(*of_image).values(accepted=accepted, position_odds=2.0))


def untag(connection: Connection, image: int, _landmark: int, _photo: int, _flag: bool) -> None:
    connection.execute(delete(tags).where(tags.c.content_id == image))


def move_tag(connection: Connection, image: int, landmark: int, photo: int, _flag: bool) -> None:
    other = IMAGES[photo % len(IMAGES)]
    if other != image:
        connection.execute(delete(tags).where(tags.c.content_id == other, tags.c.rank == landmark))
        of_image = (tags.c.content_id == image, tags.c.rank == landmark)
        connection.execute(update(tags).where(*of_image).values(content_id=other))


def merge_tags(connection: Connection, _image: int, landmark: int, _photo: int, _flag: bool) -> None:
    target = landmark % len(LANDMARKS) + 1
    connection.execute(delete(tags).where(tags.c.landmark_id == target))
    connection.execute(update(tags).where(tags.c.landmark_id == landmark).values(landmark_id=target))


def teach(connection: Connection, image: int, landmark: int, _photo: int, accepted: bool) -> None:
    of_landmark = (taught_tags.c.content_id == image, taught_tags.c.landmark_id == landmark)
    connection.execute(delete(taught_tags).where(*of_landmark))
    values = {"content_id": image, "landmark_id": landmark, "score": 0.95, "accepted": accepted}
    connection.execute(insert(taught_tags).values(**values, model_id=1))


def turn_taught(connection: Connection, _image: int, landmark: int, _photo: int, accepted: bool) -> None:
    of_landmark = taught_tags.c.landmark_id == landmark
    connection.execute(update(taught_tags).where(of_landmark).values(accepted=accepted))


def forget_taught(connection: Connection, _image: int, landmark: int, _photo: int, _flag: bool) -> None:
    connection.execute(delete(taught_tags).where(taught_tags.c.landmark_id == landmark))


def decide(connection: Connection, image: int, landmark: int, _photo: int, confirmed: bool) -> None:
    verdict = "confirmed" if confirmed else "rejected"
    of_image = (verdicts.c.content_id == image, verdicts.c.landmark_id == landmark)
    if not connection.execute(update(verdicts).where(*of_image).values(verdict=verdict)).rowcount:
        values = {"content_id": image, "landmark_id": landmark, "verdict": verdict, "given_at": NOW}
        connection.execute(insert(verdicts).values(values))


def withdraw(connection: Connection, image: int, _landmark: int, _photo: int, _flag: bool) -> None:
    connection.execute(delete(verdicts).where(verdicts.c.content_id == image))


def dismiss(connection: Connection, image: int, _landmark: int, _photo: int, dismissed: bool) -> None:
    connection.execute(delete(dismissals).where(dismissals.c.content_id == image))
    if dismissed:
        connection.execute(insert(dismissals).values(content_id=image, given_at=NOW))


def add_photo(connection: Connection, image: int, _landmark: int, photo: int, _flag: bool) -> None:
    if connection.execute(select(photos.c.id).where(photos.c.id == photo)).first() is None:
        values = {"id": photo, "root_id": 1, "path": f"{photo}.jpg", "path_bytes": b""}
        connection.execute(insert(photos).values(**values, content_id=image, size_bytes=1, mtime_ns=1))


def show(connection: Connection, image: int, _landmark: int, photo: int, known: bool) -> None:
    """The photo shows another image, or an unknown one."""
    of_photo = update(photos).where(photos.c.id == photo)
    connection.execute(of_photo.values(content_id=image if known else None, size_bytes=2))


def go(connection: Connection, _image: int, _landmark: int, photo: int, gone: bool) -> None:
    connection.execute(update(photos).where(photos.c.id == photo).values(gone_since=NOW if gone else None))


def date(connection: Connection, _image: int, month: int, photo: int, known: bool) -> None:
    """The time of a photo is read again, or it has none."""
    taken_at = datetime(2024, month, photo) if known else None  # noqa: DTZ001 - local time
    connection.execute(update(photos).where(photos.c.id == photo).values(taken_at=taken_at))


def classify(connection: Connection, image: int, _landmark: int, photo: int, known: bool) -> None:
    """A model classifies an image, or it was never classified."""
    of_image = update(contents).where(contents.c.id == image)
    connection.execute(of_image.values(outcome="unknown" if known else None, width=photo, height=2))


def measure(connection: Connection, image: int, width: int, _photo: int, known: bool) -> None:
    of_image = update(contents).where(contents.c.id == image)
    connection.execute(of_image.values(width=width, height=3 if known else None))


def forget_photo(connection: Connection, _image: int, _landmark: int, photo: int, _flag: bool) -> None:
    connection.execute(delete(photos).where(photos.c.id == photo))


def forget_image(connection: Connection, image: int, _landmark: int, _photo: int, _flag: bool) -> None:
    """Its tags go with it. Then it comes again."""
    connection.execute(update(photos).where(photos.c.content_id == image).values(content_id=None))
    for table in (verdicts, dismissals):
        connection.execute(delete(table).where(table.c.content_id == image))
    connection.execute(delete(contents).where(contents.c.id == image))
    connection.execute(insert(contents).values(id=image, digest=f"digest {image}"))


OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        tag,
        turn_tag,
        untag,
        move_tag,
        merge_tags,
        teach,
        turn_taught,
        forget_taught,
        decide,
        withdraw,
        dismiss,
        add_photo,
        show,
        go,
        date,
        classify,
        measure,
        forget_photo,
        forget_image,
    )
}
