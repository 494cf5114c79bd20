"""Trips and numbers that the database keeps: whatever changes, what is read is what photos and tags say."""

from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, literal, select, text, update
from support.databases import execute, read_scalars, statements
from support.position_library import NOON, PositionLibrary

from tagger.database.connection import Database, open_database
from tagger.database.statements import AdvisoryLock, part_of, try_lock
from tagger.database.tables import (
    cameras,
    changed_days,
    contents,
    day_landmarks,
    day_places,
    landmarks,
    photos,
    trip_edits,
    trips,
    verdicts,
    visits,
)
from tagger.kept import update as kept_update
from tagger.kept.trips import (
    all_trips,
    find_trip,
    merge_trips,
    rename_trip,
    split_trip,
    undo_trip_edit,
    undoable_edits,
)
from tagger.kept.update import MENDED, update_kept
from tagger.query.counts import (
    TripSummary,
    city_counts,
    familiar_landmark_counts,
    landmark_counts,
    trip_summaries,
)
from tagger.query.options import PhotoQuery
from tagger.query.position_clusters import position_cells
from tagger.query.timeline import timeline_sections
from tagger.tags import record_photos
from tagger.tags.settlement import settle
from tagger.transfer import check_database, copy_database

DAY = 24 * 60
PLACES = ((48.8584, 2.2945), (41.8902, 12.4922), (40.85, 14.26), (53.55, 9.99))
TOWER, GATE = "eiffel-tower", "brandenburg-gate"
# Days after the first photo, each with a place.
STAYS = ((0, 0), (3, 1), (7, 2), (40, 1), (420, 0), (700, 2), (1500, 1), (1503, 0), (3000, 2))


@pytest.fixture
def library(database, tmp_path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    for key in ("phone", "camera"):
        library.camera(key)
    for day, place in STAYS:
        for number in range(8):
            gps = PLACES[place] if number % 4 != 1 else None
            tower = ((TOWER, 0.9, True),) if place == 0 and number == 2 else ()
            library.shot(day * DAY + 300 * number, *tower, gps=gps, camera=1 + number % 2)
    library.update()
    assert len(trip_summaries(database)) >= 7
    return library


def seen(database: Database) -> dict[str, object]:
    """All that is kept: trips, and numbers of photos by landmark, city, position and day."""
    by_day = (
        timeline_sections(database, PhotoQuery(sort="newest", distinct=True, any_rank=any_rank))
        for any_rank in (False, True)
    )
    return {
        "trips": [_facts(each) for each in trip_summaries(database)],
        "landmarks": landmark_counts(database),
        "landmarks of images": familiar_landmark_counts(database),
        "cities": city_counts(database),
        "positions": sorted((replace(each, photo_id=0) for each in position_cells(database)), key=astuple),
        "days": [[replace(each, aspect=round(each.aspect, 6)) for each in found] for found in by_day],
    }


def _facts(summary: TripSummary) -> tuple[object, ...]:
    trip = summary.trip
    places = [
        (each.city, each.photos, round(each.latitude, 6), round(each.longitude, 6)) for each in trip.places
    ]
    of_trip = trip.id, trip.name, trip.given_name, trip.days, trip.spans, trip.edits, places
    return *of_trip, summary.title, summary.photos, summary.landmarks, summary.cover


_PART = part_of.sql("taken_at", "id", is_sqlite=True)
_NOTHING_KEPT = (
    *(f"DELETE FROM {table}" for table in ("visits", "trips", "day_places", "day_landmarks")),
    f"INSERT INTO changed_days (step, part) SELECT 'days', {_PART} FROM photos",
)


def computed_from_nothing(library: PositionLibrary, folder: Path) -> dict[str, object]:
    file = folder / "copy.db"
    file.unlink(missing_ok=True)
    copy_database(library.database, f"sqlite:///{file}")
    copy = open_database(f"sqlite:///{file}")
    with copy.write() as connection:
        for statement in _NOTHING_KEPT:
            connection.execute(text(statement))
    found = seen(copy)
    copy.close()
    return found


class Changes:
    """The changes of a library that a program or a person may make, each by chance."""

    def __init__(self, library: PositionLibrary, random: Random) -> None:
        self.library, self.random = library, random

    def change(self) -> None:
        changes: tuple[Callable[[], None], ...] = (
            *(self.add, self.lose, self.remove, self.date, self.move, self.locate, self.clock),
            *(
                self.tell,
                self.judge,
                self.name,
                self.split,
                self.merge,
                self.undo,
                self.read_again,
                self.rename_landmark,
            ),
        )
        self.random.choice(changes)()

    def add(self) -> None:
        day, place = self.random.choice(STAYS)
        minutes = day * DAY + self.random.randrange(2 * DAY)
        tags = self.random.choice(((), ((TOWER, 0.8, True),), ((GATE, 0.95, True),)))
        gps = self.random.choice((None, PLACES[place], self.random.choice(PLACES)))
        copied = self.random.choice((None, None, "digest of 2.jpg"))
        self.library.shot(minutes, *tags, gps=gps, camera=self.random.choice((1, 2, None)), digest=copied)

    def lose(self) -> None:
        since = self.random.choice((None, NOON.astimezone()))
        self._update(gone_since=since)

    def remove(self) -> None:
        with self.library.database.write() as connection:
            record_photos(connection, [photo_id := self._photo(connection)])
            connection.execute(delete(photos).where(photos.c.id == photo_id))

    def date(self) -> None:
        day, _ = self.random.choice(STAYS)
        taken_at = NOON + timedelta(days=day, minutes=self.random.randrange(DAY))
        self._update(taken_at=self.random.choice((None, taken_at)))

    def move(self) -> None:
        self._update(path=f"elsewhere/{self.random.random()}.jpg")

    def locate(self) -> None:
        latitude, longitude = self.random.choice(((None, None), *PLACES))
        self._update(latitude=latitude, longitude=longitude)
        self.library.update()

    def clock(self) -> None:
        with self.library.database.write() as connection:
            offset_s = self.random.choice((None, 0, 7200))
            connection.execute(update(cameras).where(cameras.c.id == 2).values(clock_offset_s=offset_s))
            of_camera = photos.c.camera_id == 2
            record_photos(connection, connection.scalars(select(photos.c.id).where(of_camera)).all())

    def tell(self) -> None:
        """A photo says more: of which zone its time is, that it shows a screen, or whose camera took it."""
        told = (
            {"utc_offset_s": self.random.choice((None, 3600))},
            {"origin": self.random.choice((None, "screenshot"))},
            {"camera_id": self.random.choice((1, 2, None))},
        )
        self._update(**self.random.choice(told))

    def judge(self) -> None:
        with self.library.database.read() as connection:
            digests = select(contents.c.digest).order_by(contents.c.id)
            digest = self.random.choice(connection.scalars(digests).all())
            content_id = connection.scalar(select(contents.c.id).where(contents.c.digest == digest))
        slug, verdict = self.random.choice((TOWER, GATE)), self.random.choice(("confirmed", "rejected"))
        with self.library.database.write() as connection:
            is_same = verdicts.c.content_id == content_id
            connection.execute(delete(verdicts).where(is_same))
            settle(connection, [content_id or 0])
        if self.random.random() < 0.7:
            self.library.verdict(digest, slug, verdict)

    def name(self) -> None:
        with self.library.database.write() as connection:
            if (trip_id := self._trip(connection)) is not None:
                rename_trip(connection, find_trip(connection, trip_id), self.random.choice(("", "Holidays")))

    def split(self) -> None:
        with self.library.database.write() as connection:
            if (trip_id := self._trip(connection)) is not None:
                trip = find_trip(connection, trip_id)
                split_trip(connection, trip, trip.days[self.random.randrange(2)])

    def merge(self) -> None:
        with self.library.database.write() as connection:
            found = all_trips(connection)
            near = [(one, two) for one, two in pairwise(found) if (two.first - one.last).days < 50]
            if near:
                merge_trips(connection, *self.random.choice(near))

    def undo(self) -> None:
        with self.library.database.write() as connection:
            edited = [trip for trip in all_trips(connection) if trip.edits]
            if edited:
                trip = self.random.choice(edited)
                undo_trip_edit(connection, trip, self.random.choice(sorted(undoable_edits(trip))))

    def read_again(self) -> None:
        content_id = self.random.choice(read_scalars(self.library.database, select(contents.c.id)))
        self._update(content_id=content_id)

    def rename_landmark(self) -> None:
        with self.library.database.write() as connection:
            is_tower = landmarks.c.slug == TOWER
            name = self.random.choice(("Eiffel Tower", "La tour Eiffel"))
            connection.execute(update(landmarks).where(is_tower).values(name=name))

    def _update(self, **values: Any) -> None:
        with self.library.database.write() as connection:
            record_photos(connection, [photo_id := self._photo(connection)])
            connection.execute(update(photos).where(photos.c.id == photo_id).values(values))
            record_photos(connection, [photo_id])

    def _photo(self, connection: Connection) -> int:
        return self.random.choice(connection.scalars(select(photos.c.id).order_by(photos.c.id)).all())

    def _trip(self, connection: Connection) -> str | None:
        return self.random.choice([trip.id for trip in all_trips(connection)] or [None])


@pytest.mark.postgresql
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_is_kept_is_what_is_computed_from_nothing(library, tmp_path, seed):
    changes = Changes(library, Random(seed))
    for _ in range(20):
        for _ in range(changes.random.randrange(1, 4)):
            changes.change()
        if changes.random.random() < 0.5:
            library.update()
            assert list(check_database(library.database)) == []
        assert seen(library.database) == computed_from_nothing(library, tmp_path)
    library.update()
    assert list(check_database(library.database)) == []


@pytest.mark.postgresql
def test_what_another_process_has_just_stored_is_not_stored_again(library, monkeypatch):
    library.shot(DAY, gps=PLACES[0])

    def lock_late(connection: Connection, lock: AdvisoryLock) -> None:
        monkeypatch.setattr(kept_update, "try_lock", try_lock)
        library.update()  # between seeing that something is due and the lock
        try_lock(connection, lock)

    monkeypatch.setattr(kept_update, "try_lock", lock_late)
    assert library.update() == 0
    assert list(check_database(library.database)) == []


def test_trips_are_grouped_again_around_the_days_that_change(library):
    with library.database.write() as connection:
        for trip_id, first_at in connection.execute(select(trips.c.id, trips.c.first_at)).all():
            later = update(trips).where(trips.c.id == trip_id)
            connection.execute(later.values(first_at=first_at + timedelta(seconds=1)))
    library.shot(DAY, gps=PLACES[0])
    library.update()
    seconds = read_scalars(library.database, select(trips.c.first_at).order_by(trips.c.first_at))
    untouched = [each - NOON > timedelta(days=600) for each in seconds if each.second == 1]
    assert untouched
    assert all(untouched)
    assert len(untouched) < len(seconds)


def test_kept_trips_and_numbers_are_read_without_photos_visits_and_tags(library):
    with statements(library.database, "") as executed:
        assert trip_summaries(library.database)
    assert not [text for text, _ in executed if "FROM visits" in text or "effective_tags" in text]
    with statements(library.database, "") as executed:
        assert landmark_counts(library.database)
        assert city_counts(library.database)
        assert timeline_sections(library.database, PhotoQuery(sort="newest", distinct=True))
    assert not [text for text, _ in executed if "FROM photos" in text or "effective_tags" in text]
    library.photo("suggested.jpg", (TOWER, 0.3, False), taken_at=NOON)
    with library.database.read() as connection:
        of_tags = (changed_days.c.step == "days") & changed_days.c.content_id.is_not(None)
        assert connection.execute(select(changed_days).where(of_tags)).all() == []


_DAMAGE = (
    update(visits).where(visits.c.part < NOON.toordinal() + 2).values(photos=visits.c.photos + 1),
    delete(visits).where(visits.c.part > NOON.toordinal() + 1000),
    delete(trips).where(trips.c.first_at < NOON + timedelta(days=1)),
    update(day_places).values(tagged=day_places.c.tagged + 1),
    delete(day_landmarks),
)


def test_what_the_check_finds_is_computed_again_with_the_next_update(library, tmp_path):
    before = seen(library.database)
    with library.database.write() as connection:
        for damage in _DAMAGE:
            connection.execute(damage)
        connection.execute(delete(changed_days))
    assert seen(library.database) != before
    problems = list(check_database(library.database))
    assert {problem.partition(" ")[0] for problem in problems} == {"trip", "photos"}
    assert all(problem.endswith(MENDED) for problem in problems)
    library.update()
    assert list(check_database(library.database)) == []
    assert seen(library.database) == before == computed_from_nothing(library, tmp_path)


@pytest.fixture
def uncounted(library) -> PositionLibrary:
    """A library of which no numbers are stored. Each of its stays has two days."""
    with library.database.write() as connection:
        connection.execute(delete(day_places))
        connection.execute(delete(day_landmarks))
        parts = select(literal("numbers"), part_of(photos.c.taken_at, photos.c.id))
        connection.execute(insert(changed_days).from_select(["step", "part"], parts))
    return library


def test_days_that_change_are_counted_again_some_at_a_time(uncounted, monkeypatch):
    monkeypatch.setattr("tagger.kept.MOST_STORED", 8)
    pages = []
    update_kept(uncounted.database, lambda *told: pages.append(told))
    assert len(pages) == len(STAYS)
    assert list(check_database(uncounted.database)) == []


def test_reading_counts_no_more_photos_again_than_it_may(uncounted, monkeypatch):
    def photos_of_cities() -> int:
        return sum(each.photos for each in city_counts(uncounted.database))

    every = photos_of_cities()
    monkeypatch.setattr("tagger.kept.MOST_READ", 16)
    assert photos_of_cities() <= 16 < every
    update_kept(uncounted.database)
    assert photos_of_cities() == every


def test_a_kept_trip_says_the_same_as_a_grouped_one_without_removed_edits(library):
    with library.database.write() as connection:
        rename_trip(connection, all_trips(connection)[0], "Holidays")
    library.update()

    with library.database.read() as connection:
        grouped_trips = {trip.id: trip for trip in all_trips(connection)}
        assert not connection.scalar(select(func.count()).select_from(changed_days))
    for summary in trip_summaries(library.database):
        kept, grouped = summary.trip, grouped_trips[summary.trip.id]
        for name in dir(kept):
            if not name.startswith("_") and not callable(getattr(kept, name)):
                assert getattr(kept, name) == getattr(grouped, name), name
        assert kept == grouped.without_visits()
        assert kept.contains(grouped.moment)
    execute(library.database, delete(trip_edits))
    assert trip_summaries(library.database)[-1].trip.edits == ()
