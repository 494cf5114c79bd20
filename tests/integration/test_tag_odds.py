"""Tags that the position of their photo turns: far from the landmark they are not accepted, near it with a lower score."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, insert, select, update
from support.databases import read_scalar
from support.position_library import NOON, PositionLibrary

from tagger.database.tables import (
    contents,
    effective_tags,
    photos,
    positions,
    tags,
    taught_tags,
    track_parts,
    tracks,
)
from tagger.kept.update import EstimateSettings, PositionCounts, locate
from tagger.landmarks.edits import edit_landmark
from tagger.query.counts import landmark_counts
from tagger.query.details import photo_details_by_id
from tagger.tags import record_photos
from tagger.tags.causes import replace_taught_tags
from tagger.teaching.lessons import find_suggestions
from tagger.transfer import cross_problems

EIFFEL = ("eiffel-tower", 0.97, True)
DOUBTFUL = ("eiffel-tower", 0.6, False)
PARIS, TOKYO, KYOTO = (48.8584, 2.2945), (35.68, 139.77), (35.01, 135.77)


class Library(PositionLibrary):
    def accepted(self, photo_id: int) -> bool:
        return any(tag.accepted for tag in self.tags(photo_id))

    def tags(self, photo_id: int) -> list[Any]:
        with self.database.read() as connection:
            content_id = connection.scalar(select(photos.c.content_id).where(photos.c.id == photo_id))
            query = select(effective_tags).where(effective_tags.c.content_id.in_([content_id]))
            return list(connection.execute(query))

    def outcome(self, photo_id: int) -> str | None:
        query = select(contents.c.outcome).join(photos, photos.c.content_id == contents.c.id)
        return read_scalar(self.database, query.where(photos.c.id == photo_id))

    def change(self, photo_id: int, **values: Any) -> None:
        with self.database.write() as connection:
            record_photos(connection, [photo_id])
            connection.execute(update(photos).where(photos.c.id == photo_id).values(values))
        self.update()

    def locate(self, *, position_odds: bool | None = None, dry_run: bool = False) -> PositionCounts:
        settings = EstimateSettings(None, {}, position_odds)
        return locate(self.database, settings, None, lambda _step, _done, _total: None, dry_run=dry_run)

    def state(self) -> list[tuple[Any, ...]]:
        with self.database.read() as connection:
            columns = (table.c[name] for table in (tags,) for name in ("content_id", "rank", "enough"))
            rows = connection.execute(
                select(*columns, tags.c.position_odds, tags.c.distance_m, contents.c.outcome)
                .join(contents, contents.c.id == tags.c.content_id)
                .order_by(tags.c.content_id, tags.c.rank)
            )
            return [tuple(row) for row in rows]

    def positions(self) -> list[tuple[Any, ...]]:
        with self.database.read() as connection:
            rows = connection.execute(select(positions).order_by(positions.c.photo_id))
            return [tuple(row) for row in rows]


@pytest.fixture
def library(database, tmp_path) -> Iterator[Library]:
    library = Library.with_camera(database, tmp_path)
    yield library
    with database.read() as connection:
        assert list(cross_problems(connection, set())) == []


def test_a_landmark_on_the_other_side_of_the_world_is_neither_accepted_nor_an_anchor(library):
    photo = library.shot(0, EIFFEL, gps=TOKYO)
    library.update()
    assert not library.accepted(photo)
    assert library.outcome(photo) == "unknown"
    assert landmark_counts(library.database) == []
    (tag,) = photo_details_by_id(library.database, photo).photo.tags
    assert tag.reason == "doubtful: 9,718 km from the photo's position (GPS)"
    assert (tag.position_odds, tag.distance_m, tag.score) == (0.002, pytest.approx(9_718_000, abs=500), 0.97)
    assert library.update() == 0
    far = library.shot(0, EIFFEL, gps=TOKYO, digest="same")
    copy = library.shot(5, EIFFEL, digest="same")
    alone = library.shot(300, EIFFEL)
    neighbour = library.shot(305)
    library.update()
    assert library.found()[copy] == ("neighbour", *TOKYO)
    assert library.found()[far] == ("camera", *TOKYO)
    assert [library.found()[photo][0] for photo in (alone, neighbour)] == ["landmark", "neighbour"]


def test_positions_of_landmarks_neighbours_and_screenshots_never_count(library):
    library.shot(0, gps=TOKYO)
    neighbour = library.shot(5, EIFFEL)
    library.update()
    assert library.accepted(neighbour)
    photo = library.shot(0, EIFFEL, gps=TOKYO, origin="screenshot")
    library.update()
    assert library.accepted(photo)


def test_a_position_on_a_track_counts_unless_landmarks_say_the_time(library):
    start = datetime(2024, 5, 3, 11, tzinfo=UTC).timestamp()
    points = np.array([(start + 60 * minute, *TOKYO) for minute in range(120)], "<f8")
    with library.database.write() as connection:
        values = {"digest": "a", "name": "a.gpx", "points": len(points), "added_at": datetime.now(UTC)}
        track_id = connection.execute(insert(tracks).values(values).returning(tracks.c.id)).scalar_one()
        first, last = (datetime.fromtimestamp(points[row, 0], UTC) for row in (0, -1))
        part = {"track_id": track_id, "part": 0, "first_at": first, "last_at": last, "data": points.tobytes()}
        connection.execute(insert(track_parts).values(part))
    guessed = library.camera("guessed", clock_offset_s=0, clock_source="estimated")
    known = library.camera("given", clock_offset_s=0, clock_source="given")
    by_photo = library.shot(0, EIFFEL, utc_offset_s=0)
    by_person = library.shot(0, EIFFEL, camera=known)
    by_landmarks = library.shot(0, EIFFEL, camera=guessed)
    library.update()
    assert [library.accepted(photo) for photo in (by_photo, by_person, by_landmarks)] == [False, False, True]
    assert library.found()[by_photo][0] == "track"
    (tag,) = photo_details_by_id(library.database, by_photo).photo.tags
    assert tag.reason == "doubtful: 9,718 km from the photo's position (track)"


def test_the_position_of_any_copy_is_enough_until_it_goes(library):
    far = library.shot(0, EIFFEL, gps=TOKYO, digest="same")
    near = library.shot(900, EIFFEL, gps=PARIS, digest="same")
    library.update()
    assert library.accepted(far)
    library.change(near, latitude=None, longitude=None)
    assert not library.accepted(far)
    assert photo_details_by_id(library.database, near).photo.tags[0].reason == (
        "doubtful: 9,718 km from the position of a copy"
    )
    copy = library.shot(900, EIFFEL, digest="same")
    library.update()
    assert not library.accepted(copy)
    with library.database.write() as connection:
        record_photos(connection, [far])
        connection.execute(delete(photos).where(photos.c.id == far))
    library.update()
    assert library.accepted(copy)
    assert library.outcome(copy) == "tagged"
    assert library.found()[copy][0] == "landmark"


def test_a_position_counts_once_nothing_contradicts_it_and_the_landmark_stays(library):
    photo = library.shot(10, EIFFEL, gps=TOKYO)
    library.update()
    assert not library.accepted(photo)
    others = [library.shot(minutes, gps=PARIS) for minutes in (0, 5, 15, 20)]
    library.update()
    assert library.accepted(photo)
    for other in others:
        library.change(other, latitude=TOKYO[0], longitude=TOKYO[1])
    assert not library.accepted(photo)
    photo = library.shot(0, EIFFEL, gps=TOKYO)
    library.update()
    edit_landmark(library.database, "eiffel-tower", {"position": TOKYO})
    library.update()
    assert library.accepted(photo)


def test_a_taught_landmark_far_away_is_neither_a_tag_nor_a_suggestion(library):
    far = library.shot(0, gps=TOKYO)
    near = library.shot(300, gps=PARIS)
    for photo, score in ((far, 0.95), (near, 0.7)):
        library.taught(photo, "eiffel-tower", score)
    library.update()
    assert (library.accepted(far), library.accepted(near)) == (False, True)
    assert list(find_suggestions(library.database, None, {})) == []
    with library.database.write() as connection:
        images = {content_id: {} for content_id in connection.scalars(select(taught_tags.c.content_id))}
        replace_taught_tags(connection, library.model.id, images)


@pytest.mark.postgresql
def test_the_switch_gives_back_what_scores_say(library):
    far = library.shot(0, EIFFEL, gps=TOKYO)
    near = library.shot(300, DOUBTFUL, gps=PARIS)
    plain = library.state()
    on = library.locate()
    turned = library.state()
    assert (on.doubtful, on.accepted) == (1, 1)
    would = library.locate(position_odds=False, dry_run=True)
    assert (would.doubtful, would.accepted) == (0, 0)
    assert library.state() == turned
    off = library.locate(position_odds=False)
    assert (off.doubtful, off.accepted) == (0, 0)
    assert library.state() == plain
    assert (library.accepted(far), library.accepted(near)) == (True, False)
    library.locate()
    assert library.state() == plain
    library.locate(position_odds=True)
    assert library.state() == turned


@pytest.mark.parametrize("are_companions", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_updates_after_each_change_give_what_a_whole_update_gives(library, monkeypatch, seed, are_companions):
    monkeypatch.setattr("tagger.kept.update.BATCH", 3)
    random = np.random.default_rng(seed)
    library.camera("Nikon")
    if are_companions:
        library.set_companions(1, 2)
    zones = [None, 7200, 7200, -36000] if are_companions else [None]
    places = [None, None, PARIS, (48.8, 2.1), (47.0, 3.0), TOKYO, KYOTO]
    predictions = [(EIFFEL,), (DOUBTFUL,), (("brandenburg-gate", 0.9, True),), (), (), ()]
    known: dict[str, int] = {}
    ids = []
    for _ in range(40):
        digest = str(random.integers(30))
        of_image = predictions[known.setdefault(digest, int(random.integers(len(predictions))))]
        ids.append(
            library.shot(
                float(random.integers(2 * 24 * 60)),
                *of_image,
                camera=int(random.integers(1, 3)),
                gps=places[random.integers(len(places))],
                utc_offset_s=zones[random.integers(len(zones))],
                digest=digest,
            )
        )
    for number in random.permutation(ids)[:15]:
        latitude, longitude = places[random.integers(len(places))] or (None, None)
        values: dict[str, Any] = (
            {"taken_at": NOON + timedelta(minutes=int(random.integers(2 * 24 * 60)))}
            if random.random() < 0.5
            else {"latitude": latitude, "longitude": longitude}
        )
        library.change(int(number), **values)
    step_by_step = library.state(), library.positions()
    with library.database.write() as connection:
        connection.execute(delete(positions))
        record_photos(connection, ids)
    library.update()
    assert (library.state(), library.positions()) == step_by_step
    if not are_companions:  # it finds out who they are
        library.locate(position_odds=False)
        library.locate(position_odds=True)
        assert (library.state(), library.positions()) == step_by_step


BERLIN, SYDNEY = (52.5163, 13.3777), (-33.86, 151.21)
IN_UTC = {"utc_offset_s": 3600}


def test_a_landmark_that_nobody_reaches_in_time_is_doubtful(library):
    library.shot(0, gps=TOKYO)
    photo = library.shot(10, EIFFEL)
    library.shot(20, gps=TOKYO)
    library.update()
    assert not library.accepted(photo)
    assert library.outcome(photo) == "unknown"
    details = photo_details_by_id(library.database, photo).photo
    (tag,) = details.tags
    reason = "9,718 km from where the camera's GPS was before or after; nobody travels that fast"
    assert (tag.doubtful, tag.reason) == ("speed", f"doubtful: {reason}")
    assert details.guess is None
    assert library.found()[photo][0] == "neighbour"
    assert library.locate().doubtful == 1
    assert library.update() == 0


def test_what_an_airliner_reaches_is_accepted(library):
    library.shot(0, gps=TOKYO, **IN_UTC)
    near, far = library.shot(60 * 7, EIFFEL, **IN_UTC), library.shot(60 * 9, EIFFEL, **IN_UTC)
    library.update()
    assert [library.accepted(photo) for photo in (near, far)] == [False, True]


def test_there_and_back_takes_twice_as_long(library):
    """Berlin is 878 km from Paris, 100 of which do not count: 38 minutes at 340 m/s, for each way."""
    library.shot(0, gps=BERLIN, camera=1)
    short = library.shot(39, EIFFEL)
    library.shot(75, gps=BERLIN)
    library.shot(1000, gps=BERLIN)
    long = library.shot(1039, EIFFEL)
    library.shot(1080, gps=BERLIN)
    library.update()
    assert [library.accepted(photo) for photo in (short, long)] == [False, True]


def test_a_clock_without_a_zone_may_have_been_set_to_that_of_the_other_place(library):
    library.shot(0, gps=TOKYO)
    unknown = library.shot(60, EIFFEL)
    library.shot(3000, gps=TOKYO, **IN_UTC)
    known = library.shot(3060, EIFFEL, **IN_UTC)
    library.update()
    assert [library.accepted(photo) for photo in (unknown, known)] == [True, False]


def test_only_gps_of_the_same_camera_that_nothing_contradicts_says_where_it_was(library):
    other = library.camera("Nikon")
    library.shot(0, gps=TOKYO, camera=other)
    library.shot(2, gps=TOKYO, origin="screenshot")
    library.shot(5, ("brandenburg-gate", 0.99, True))
    photo = library.shot(10, EIFFEL)
    library.update()
    assert library.accepted(photo)
    for minute in (0, 5, 15, 20):
        library.shot(minute, gps=PARIS)
    library.shot(9, gps=TOKYO)
    photo = library.shot(10, EIFFEL)
    library.update()
    assert library.accepted(photo)


def test_a_tag_follows_the_positions_around_it_unless_they_do_not_count(library):
    photo = library.shot(10, EIFFEL, digest="tower")
    library.update()
    assert library.accepted(photo)
    around = library.shot(0, gps=SYDNEY)
    library.update()
    assert not library.accepted(photo)
    library.verdict("tower", "eiffel-tower", "confirmed")
    assert library.accepted(photo)
    library.change(around, latitude=None, longitude=None)
    (tag,) = library.tags(photo)
    assert (tag.accepted, tag.doubtful, tag.position_odds) == (True, None, None)
    library.shot(0, gps=SYDNEY)
    photo = library.shot(10, EIFFEL)
    library.locate(position_odds=False)
    assert library.accepted(photo)
    library.locate(position_odds=True)
    assert not library.accepted(photo)
