"""Positions of stored photos: from cameras, landmarks, neighbours in time and cameras that are used together, updated as evidence changes, also in the background; GPS positions that nobody can have reached."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select, update
from support.databases import execute, read_rows, read_scalar
from support.position_library import NOON, PositionLibrary

from tagger.cli.commands.locate import LARGEST_OFFSET_H
from tagger.database import Priority, Runner
from tagger.database.connection import Database
from tagger.database.statements import AdvisoryLock, take_lock
from tagger.database.tables import cameras, changed_days, photos, positions
from tagger.kept.update import (
    EstimateSettings,
    PositionCounts,
    locate,
    update_kept,
    update_some,
    update_some_days,
)
from tagger.landmarks.edits import edit_landmark
from tagger.ledger import NewJob, create_job
from tagger.ledger.job_control import pause
from tagger.positions import companions, evidence, update as position_updates
from tagger.positions.evidence import contradicted_photos
from tagger.tags import record_matching_photos, record_photos

EIFFEL = ("eiffel-tower", 0.97, True)
PARIS = (48.8584, 2.2945)
ROME = (41.89, 12.49)
SHOTS = 7
DAY = 24 * 60
GATE = ("brandenburg-gate", 0.97, True)
BERLIN, TURIN = (52.5163, 13.3777), (45.0703, 7.6869)


@pytest.fixture
def library(database, tmp_path) -> PositionLibrary:
    return PositionLibrary.with_camera(database, tmp_path)


@pytest.mark.postgresql
def test_each_source_gives_its_positions(library):
    gps = library.shot(0, gps=(48.7, 2.2))
    between = library.shot(10)
    tower = library.shot(20, EIFFEL)
    undated = library.shot(None, EIFFEL)
    nothing = library.shot(300)
    assert library.update() == 4
    assert library.found() == {
        gps: ("camera", 48.7, 2.2),
        between: ("neighbour", 48.7792, 2.2472),
        tower: ("landmark", *PARIS),
        undated: ("landmark", *PARIS),
    }
    assert library.evidence(gps) == {}
    assert library.evidence(tower) == {"landmark": library.landmark_ids["eiffel-tower"]}
    assert library.evidence(between) == {"before": gps, "before_s": 600, "after": tower, "after_s": 600}
    assert nothing not in library.found()
    assert library.update() == 0


def test_only_photos_of_the_same_camera_are_neighbours(library):
    other = library.camera("Nikon")
    library.shot(0, gps=(48.0, 2.0))
    library.shot(0, camera=None, gps=(48.0, 2.0))
    alone = {library.shot(1, camera=other), library.shot(1, camera=None)}
    library.update()
    assert not alone & library.found().keys()


def test_photos_of_other_cameras_and_impossible_years_say_nothing(library):
    library.camera("Nikon")
    library.shot(0, gps=PARIS)
    library.shot(10, gps=ROME, camera=2)
    library.shot(10, gps=ROME, camera=None)
    library.shot((NOON.replace(year=1980) - NOON) / timedelta(minutes=1), gps=ROME)
    assert contradicted(library) == set()


@pytest.mark.postgresql
def test_only_times_of_a_running_clock_give_positions(library):
    """On 1 January, clocks begin that were never set, but not one that a person knows."""
    known = library.camera("known", clock_offset_s=-631_152_000, clock_source="given")
    first_day = NOON.replace(year=2000, month=1, day=1)
    located = []
    for at, camera in ((NOON.replace(year=2099), 1), (first_day, 1), (first_day, known)):
        minutes = (at - NOON) / timedelta(minutes=1)
        library.shot(minutes, gps=PARIS, camera=camera)
        located.append(library.shot(minutes + 3, camera=camera))
    library.update()
    assert [photo in library.found() for photo in located] == [True, False, True]


def test_a_screenshot_is_no_anchor_and_a_confirmed_landmark_counts_first(library):
    library.shot(0, EIFFEL, origin="screenshot")
    library.shot(5)
    library.shot(6, origin="screenshot")
    library.shot(200, gps=(1.0, 1.0), origin="screenshot")
    library.shot(201)
    library.update()
    assert [source for source, _, _ in library.found().values()] == ["camera"]
    photo = library.shot(0, EIFFEL, ("brandenburg-gate", 0.6, False), digest="both")
    library.verdict("both", "brandenburg-gate", "confirmed")
    library.update()
    assert library.found()[photo][1:] == (52.5163, 13.3777)


def test_local_times_of_two_time_zones_are_compared_in_utc(library):
    """A phone flies from Paris to New York: six hours are repeated."""
    library.shot(0, gps=PARIS, utc_offset_s=7200)
    paris = library.shot(10, utc_offset_s=7200)
    york = library.shot(11, utc_offset_s=-14400)
    library.shot(12, gps=(40.7, -74.0), utc_offset_s=-14400)
    library.update()
    assert library.found()[paris] == ("neighbour", *PARIS)
    assert library.found()[york] == ("neighbour", 40.7, -74.0)


def test_a_moved_landmark_moves_its_photos_and_their_neighbours(library):
    tower, near = library.shot(0, EIFFEL), library.shot(5)
    library.update()
    edit_landmark(library.database, "eiffel-tower", {"position": (10.0, 20.0)})
    assert library.update() == 2
    assert library.found() == {tower: ("landmark", 10.0, 20.0), near: ("neighbour", 10.0, 20.0)}


def test_a_forgotten_photo_takes_its_neighbours_positions_along(library):
    photo = library.shot(0, gps=(48.0, 2.0))
    library.shot(5)
    library.update()
    with library.database.write() as connection:
        record_photos(connection, [photo])
        connection.execute(delete(photos).where(photos.c.id == photo))
    assert library.update() == 1
    assert library.found() == {}
    assert read_rows(library.database, select(changed_days)) == []


def test_an_interrupted_update_is_continued(library, monkeypatch):
    monkeypatch.setattr("tagger.kept.update.BATCH", 2)
    numbers = [library.shot(60 * 24 * 30 * month, gps=(48.0, 2.0)) for month in range(6)]

    def stop(_step: str, done: int, _total: int | None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_kept(library.database, stop)
    assert sorted(library.found()) == numbers[:4]
    assert library.update() == 2
    assert sorted(library.found()) == numbers


def test_an_update_says_how_much_of_each_step_is_done(library, monkeypatch):
    monkeypatch.setattr("tagger.kept.update.BATCH", 2)
    monkeypatch.setattr("tagger.kept.MOST_STORED", 2)
    library.update()
    for month in range(5):
        library.shot(60 * 24 * 30 * month, gps=(48.0, 2.0))
    told: dict[str, list[tuple[int, int]]] = {}

    def tell(step: str, done: int, total: int | None) -> None:
        if total is not None:
            told.setdefault(step, []).append((done, total))

    update_kept(library.database, tell)
    pages = [(2, 5), (4, 5), (5, 5)]
    assert told.keys() == {"locating photos", "finding trips", "counting photos"}
    assert told["locating photos"] == pages
    # Marks of photos become marks of their days, so these steps have more than days to do.
    for steps in told.values():
        assert all(0 < done <= total for done, total in steps)
        assert steps[-1][0] == steps[-1][1]


def test_a_long_time_is_computed_in_parts_with_the_same_result(library, monkeypatch):
    gps = [(48 + number / 100, 2.0) if number % 3 == 0 else None for number in range(40)]
    shots = [library.shot(40 * number, gps=position) for number, position in enumerate(gps)]
    library.update()
    found = library.found()
    before = {shot: library.evidence(shot) for shot in found}
    monkeypatch.setattr(position_updates, "LOCAL_TIMES", timedelta())
    monkeypatch.setattr(evidence, "LONGEST_RUN", timedelta(hours=3))
    with library.database.write() as connection:
        connection.execute(delete(positions))
        record_photos(connection, shots)
    assert library.update() == len(found)
    assert library.found() == found
    assert {shot: library.evidence(shot) for shot in found} == before


def contradicted(library: PositionLibrary, *photo_ids: int) -> set[int]:
    with library.database.read() as connection:
        return contradicted_photos(connection, photo_ids or range(1, 1000), 7200.0)


@pytest.mark.parametrize("longest", [timedelta(days=100), timedelta(hours=12)])
def test_the_answer_does_not_depend_on_which_photos_are_asked_about(library, monkeypatch, longest):
    monkeypatch.setattr(evidence, "LONGEST_RUN", longest)
    rng, minutes = Random(7), 0.0
    shots = []
    for _ in range(40):
        minutes += rng.choice([5, 30, 110, 700])
        offset = rng.choice([None, None, 7200])
        shots.append(library.shot(minutes, gps=rng.choice([PARIS, PARIS, ROME]), utc_offset_s=offset))
    one_by_one = [contradicted(library, shot) for shot in shots]
    together = contradicted(library)
    assert together == set().union(*one_by_one)
    assert together
    assert len(together) < len(shots)


@pytest.fixture
def unlocated(library) -> PositionLibrary:
    for minutes in range(SHOTS):
        library.shot(minutes, gps=(48.0, 2.0))
    return library


def changes(database: Database) -> int:
    return read_scalar(database, select(func.count()).where(changed_days.c.step == "positions")) or 0


def test_a_sweep_locates_photos_only_while_no_job_runs(unlocated, sweeper):
    new = NewJob(unlocated.model.id, top_k=5, threshold=0.5, runner=Runner.WORKERS, priority=Priority.BULK)
    job = create_job(unlocated.database, new)
    sweeper.sweep()
    assert unlocated.found() == {}
    pause(unlocated.database, job)
    sweeper.sweep()
    assert len(unlocated.found()) == SHOTS
    assert changes(unlocated.database) == 0


def test_a_small_update_takes_a_limited_number_of_changes(unlocated, monkeypatch):
    monkeypatch.setattr("tagger.kept.update.BATCH", 2)
    update_some(unlocated.database)
    assert changes(unlocated.database) == SHOTS - 2
    while update_some(unlocated.database):
        pass
    assert changes(unlocated.database) == 0
    assert len(unlocated.found()) == SHOTS


def test_an_update_ends_although_each_page_changes_its_evidence_again(unlocated, monkeypatch):
    pages = []

    def change_again(connection: Connection, changes: Sequence[position_updates.Change]) -> int:
        pages.append(len(changes))
        record_matching_photos(connection, photos.c.id.in_([change.photo_id for change in changes]))
        return 0

    monkeypatch.setattr("tagger.kept.update.update_positions", change_again)
    monkeypatch.setattr("tagger.kept.update.MOST_ROUNDS", 3)
    monkeypatch.setattr("tagger.kept.update.BATCH", SHOTS - 1)
    update_kept(unlocated.database)
    assert pages == 2 * 3 * [SHOTS - 1, 1]  # before and after trips are found


def test_photos_of_a_day_are_located_together_whichever_camera_took_them(library, monkeypatch):
    monkeypatch.setattr("tagger.kept.update.BATCH", 2)
    library.camera("phone")
    day_of = {library.shot(day * DAY, camera=camera): day for camera in (1, 2) for day in (2, 0, 1)}
    pages = []
    taken = set[int]()
    while len(taken) < len(day_of):
        update_some(library.database)
        with library.database.read() as connection:
            of_positions = changed_days.c.step == "positions"
            left = set(connection.scalars(select(changed_days.c.photo_id).where(of_positions)))
        pages.append(sorted(day_of[photo_id] for photo_id in day_of.keys() - left - taken))
        taken = day_of.keys() - left
    assert pages == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_a_small_update_does_not_wait_for_a_long_one(unlocated):
    with unlocated.database.write() as connection:
        take_lock(connection, AdvisoryLock.UPDATE_KEPT)
        assert not update_some(unlocated.database)
        update_some_days(unlocated.database)  # as after a chunk
    assert unlocated.found() == {}
    assert update_some(unlocated.database)


@pytest.fixture
def two_cameras(database, tmp_path) -> PositionLibrary:
    two_cameras = PositionLibrary.with_tiny_model(database, tmp_path)
    two_cameras.camera("camera|canon", clock_offset_s=7200, clock_source="given")
    two_cameras.camera("camera|pixel")
    return two_cameras


def test_a_camera_and_a_phone_locate_each_others_photos(two_cameras):
    _travel(two_cameras)
    photo = two_cameras.shot(DAY + 40)
    of_phone = two_cameras.shot(2 * DAY + 5, camera=2, utc_offset_s=7200)
    (found,) = locate_all(two_cameras).companions
    assert found == companions.Companions(("camera|canon", "camera|pixel"), 4, 4)
    assert _stored(two_cameras) == {1: 1, 2: 1}
    assert two_cameras.found()[photo] == ("neighbour", *BERLIN)
    assert two_cameras.found()[of_phone][0] == "neighbour"
    assert locate_all(two_cameras).moved == 0


def test_cameras_whose_time_is_not_known_in_utc_are_alone(two_cameras):
    execute(two_cameras.database, update(cameras).values(clock_offset_s=None, clock_source=None))
    two_cameras.camera("camera|nikon", clock_offset_s=-700_000_000, clock_source="given")
    for minutes, gps in ((0, PARIS), (DAY, BERLIN), (2 * DAY, (45.0, 7.0))):
        two_cameras.shot(minutes, gps=gps)
        two_cameras.shot(minutes, camera=2, gps=gps)
        two_cameras.shot(minutes, camera=3, gps=gps)
    assert locate_all(two_cameras).companions == []


def test_companions_part_when_photos_say_otherwise(two_cameras):
    _travel(two_cameras)
    photo = two_cameras.shot(DAY + 40)
    locate_all(two_cameras)
    assert photo in two_cameras.found()
    with two_cameras.database.write() as connection:
        connection.execute(update(photos).where(photos.c.camera_id == 2).values(latitude=10.0))
        of_phone = connection.scalars(select(photos.c.id).where(photos.c.camera_id == 2)).all()
        record_photos(connection, of_phone)
    assert locate_all(two_cameras).companions == []
    assert _stored(two_cameras) == {1: None, 2: None}
    assert photo not in two_cameras.found()


def test_a_clock_that_is_set_moves_photos_of_companions(two_cameras):
    """The phone's photo without GPS was near a landmark that the camera photographed an hour later."""
    _travel(two_cameras)
    two_cameras.shot(10 * DAY, EIFFEL)
    of_phone = two_cameras.shot(10 * DAY, camera=2, utc_offset_s=7200)
    locate_all(two_cameras)
    assert two_cameras.found()[of_phone] == ("neighbour", *PARIS)
    locate_all(two_cameras, canon=10800)
    assert of_phone not in two_cameras.found()


def test_a_dry_run_stores_no_companions(two_cameras):
    _travel(two_cameras)
    two_cameras.update()
    assert len(locate_all(two_cameras, dry_run=True).companions) == 1
    assert _stored(two_cameras) == {1: None, 2: None}
    assert read_rows(two_cameras.database, select(changed_days)) == []


@pytest.mark.postgresql
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_clock_offset_is_stored(two_cameras, sign):
    """Cameras can show the first and the last year that there is."""
    for days in (0, -738_000, 2_900_000):
        two_cameras.shot(days * DAY, gps=PARIS)
        two_cameras.shot(days * DAY + 5)
    locate_all(two_cameras, canon=sign * 3600 * LARGEST_OFFSET_H)
    assert len(two_cameras.found()) == 6


def _travel(two_cameras: PositionLibrary) -> None:
    """Four days: the camera sees landmarks, the phone has GPS, and stays longer on the second day."""
    for minutes, landmark, gps in ((0, EIFFEL, PARIS), (DAY, GATE, BERLIN), (2 * DAY, EIFFEL, PARIS)):
        two_cameras.shot(minutes, landmark)
        two_cameras.shot(minutes + 5, camera=2, gps=gps, utc_offset_s=7200)
    two_cameras.shot(3 * DAY, gps=TURIN)
    two_cameras.shot(3 * DAY + 5, camera=2, gps=TURIN, utc_offset_s=7200)
    two_cameras.shot(DAY + 60, camera=2, gps=BERLIN, utc_offset_s=7200)


def locate_all(two_cameras: PositionLibrary, *, dry_run: bool = False, **clocks: int) -> PositionCounts:
    settings = EstimateSettings(None, clocks)
    return locate(two_cameras.database, settings, None, lambda _step, _done, _total: None, dry_run=dry_run)


def _stored(two_cameras: PositionLibrary) -> dict[int, Any]:
    return {row.id: row.companions_id for row in read_rows(two_cameras.database, select(cameras))}
