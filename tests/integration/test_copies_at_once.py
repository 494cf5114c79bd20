"""Transactions of PostgreSQL that touch copies of one image at once: what is kept by day follows both."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, select, update
from support.colour_folders import EIFFEL
from support.position_library import NOON, PositionLibrary
from support.stored_photos import CLASSIFIED_AT

from tagger.database.connection import Database, open_database
from tagger.database.statements import AdvisoryLock, LockTimedOut, take_lock, try_lock
from tagger.database.tables import contents, landmarks, photos, positions, verdicts
from tagger.tags.settlement import settle
from tagger.transfer.integrity import check_database

Change = Callable[[Connection], None]
PARIS = (48.8584, 2.2945)
DAY = 24 * 60
FIRST, SECOND, THIRD = 1, 13, 25
"""Photos of three days, in order of their ids."""


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(open_database(postgres_url)) as database:
        yield database


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    """Twelve photos on each of three days."""
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    for number in range(36):
        tags = ((EIFFEL, 0.9, True),) if number in (SECOND - 1, THIRD - 1) else ((EIFFEL, 0.1, False),)
        library.shot(100 * DAY * (number // 12) + 10 * number, *tags, gps=PARIS)
    library.update()
    assert list(check_database(database)) == []
    return library


def image_of(connection: Connection, photo: int) -> int:
    return int(connection.execute(select(photos.c.content_id).where(photos.c.id == photo)).scalar_one())


def take_image(photo: int, of_photo: int) -> Change:
    """Make a photo a copy of another one, as if its file had changed."""

    def change(connection: Connection) -> None:
        values = {"content_id": image_of(connection, of_photo)}
        connection.execute(update(photos).where(photos.c.id == photo).values(values))

    return change


def change_photo(photo: int, **values: object) -> Change:
    def change(connection: Connection) -> None:
        connection.execute(update(photos).where(photos.c.id == photo).values(values))

    return change


def remove(photo: int) -> Change:
    def change(connection: Connection) -> None:
        connection.execute(delete(photos).where(photos.c.id == photo))

    return change


def judge(photo: int, verdict: str) -> Change:
    """Judge the landmark on the image that a photo has now, and settle it."""

    def change(connection: Connection) -> None:
        image = image_of(connection, photo)
        tower = connection.scalar(select(landmarks.c.id).where(landmarks.c.slug == EIFFEL))
        given = {"verdict": verdict, "given_by": "ada", "given_at": CLASSIFIED_AT}
        connection.execute(insert(verdicts).values(content_id=image, landmark_id=tower, **given))
        settle(connection, [image])

    return change


def forget_outcome(photo: int) -> Change:
    """As when the last model that has classified the image is removed."""

    def change(connection: Connection) -> None:
        is_image = contents.c.id == image_of(connection, photo)
        connection.execute(update(contents).where(is_image).values(outcome=None))

    return change


def locate(photo: int) -> Change:
    def change(connection: Connection) -> None:
        rome = {"latitude": 41.89, "longitude": 12.49, "city": "Rome", "country": "Italy"}
        connection.execute(update(positions).where(positions.c.photo_id == photo).values(rome))

    return change


LATER = NOON.replace(month=7)
CHANGES = {
    "an image and presence": (take_image(THIRD, SECOND), change_photo(SECOND, gone_since=CLASSIFIED_AT)),
    "an image and a removal": (take_image(THIRD, SECOND), remove(SECOND)),
    "a day and an image": (change_photo(SECOND, taken_at=LATER), take_image(FIRST, SECOND)),
    "two images": (take_image(SECOND, THIRD + 1), take_image(FIRST, THIRD + 1)),
    "an image and a settlement": (take_image(FIRST, SECOND), judge(SECOND, "rejected")),
    "a copy and a new tag": (take_image(FIRST, SECOND + 1), judge(SECOND + 1, "confirmed")),
    "a copy and its outcome": (take_image(FIRST, SECOND), forget_outcome(SECOND)),
    "a day and a position": (change_photo(SECOND, taken_at=LATER), locate(SECOND)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_kept_by_day_follows_both_of_two_transactions_that_end_one_after_the_other(
    library: PositionLibrary, name: str
) -> None:
    early, late = CHANGES[name]
    with library.database.write() as later:
        with library.database.write() as earlier:
            early(earlier)
            late(later)
        library.update()
    library.update()
    assert list(check_database(library.database)) == []


@pytest.mark.postgresql
def test_who_holds_one_lock_keeps_nobody_from_the_others(database: Database) -> None:
    """Who adds photos to a job does not wait for one who counts photos."""
    with ExitStack() as transactions:
        for lock in AdvisoryLock:
            take_lock(transactions.enter_context(database.read()), lock)
        with database.read() as late:
            for lock in AdvisoryLock:
                with pytest.raises(LockTimedOut):
                    try_lock(late, lock)
    with database.read() as later:
        try_lock(later, AdvisoryLock.UPDATE_KEPT)
