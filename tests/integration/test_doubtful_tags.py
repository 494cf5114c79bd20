"""Tags that other photos of the day, people, or what was taught contradict: doubtful, or no suggestion."""

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from sqlalchemy import select, update
from support.artifacts import colour_of
from support.colour_folders import TaggedFolder
from support.databases import execute
from support.position_library import PositionLibrary

from tagger.database import VerdictKind
from tagger.database.connection import Database, open_database
from tagger.database.tables import contents, effective_tags, models, photos
from tagger.ledger.job_control import count_changes
from tagger.query.details import PhotoDetails, photo_details, photo_details_by_id
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import Tag
from tagger.tags import record_matching_photos
from tagger.tags.settlement import unsettled
from tagger.teaching.lessons import find_suggestions
from tagger.verdicts import give_verdicts, withdraw_verdicts

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"
SURE, PROBABLE, CLOSE = (EIFFEL, 0.95, True), (EIFFEL, 0.7, False), (EIFFEL, 0.82, True)
THRESHOLD = 0.8
TOKYO = (35.68, 139.77)
DAY = 24 * 60


class Library(PositionLibrary):
    """Photos of a model that accepts from 0.8 and suggests from 0.4 on."""

    @classmethod
    def with_camera(cls, database: Database, folder: Path) -> Self:
        library = super().with_camera(database, folder)
        execute(database, update(models).values(suggestion_threshold=0.4))
        return library

    def shoot(self, minutes: float | None, *predictions: tuple[str, float, bool], **columns: Any) -> int:
        photo_id = self.shot(minutes, *predictions, **columns)
        execute(self.database, update(contents).values(threshold=THRESHOLD))
        return photo_id

    def state(self, photo_id: int) -> tuple[str | None, str | None]:
        tags = photo_details_by_id(self.database, photo_id).photo.tags
        return next(((tag.state, tag.reason) for tag in tags if tag.landmark == EIFFEL), (None, None))


@pytest.fixture
def library(database, tmp_path) -> Library:
    return Library.with_camera(database, tmp_path)


@pytest.mark.postgresql
def test_several_photos_of_a_landmark_on_one_day_speak_for_another_one(library):
    probable = library.shoot(0, PROBABLE)
    next_day = library.shoot(DAY, PROBABLE)
    library.update()
    assert library.state(probable)[0] == "suggested"
    for minutes in (10, 20, 30):
        library.shoot(minutes, SURE)
    library.update()
    assert library.state(probable) == ("accepted", "accepted: other photos of that day show it")
    assert library.state(next_day)[0] == "suggested"
    assert next(find_suggestions(library.database, None, {})).id == next_day
    assert library.update() == 0


def test_photos_without_a_date_say_nothing_about_others(library):
    probable = library.shoot(None, PROBABLE)
    for _ in range(5):
        library.shoot(None, SURE)
    library.update()
    assert library.state(probable) == ("suggested", None)
    probable = library.shoot(None, (EIFFEL, 0.6, False))
    for predictions, photos_of_each in (((GATE, 0.05, False), 300), ((GATE, 0.95, True), 40)):
        for _ in range(photos_of_each):
            library.shoot(None, predictions)
        library.update()
        assert library.state(probable) == ("suggested", None)


def test_a_landmark_that_nobody_can_have_reached_from_another_is_only_suggested(library):
    alone = library.shoot(0, CLOSE)
    assert library.state(alone) == ("accepted", None)
    for minutes in (5, 6):
        library.shoot(minutes, (GATE, 0.95, True))
    library.update()
    text = "suggested: on that day, another landmark was photographed, too far away"
    assert library.state(alone) == ("suggested", text)
    with library.database.read() as connection:
        assert list(unsettled(connection)) == []


def test_below_the_threshold_the_distance_from_what_the_day_shows_decides(library):
    probable = library.shoot(0, PROBABLE)
    library.shoot(5, (GATE, 0.95, True))
    library.update()
    assert library.state(probable) == (
        None,
        "not suggested: 879 km from where other photos of that time were taken",
    )


def test_other_landmarks_copies_and_other_cameras_lift_nothing(library):
    probable = library.shoot(0, PROBABLE, digest="same")
    library.shoot(5, PROBABLE, digest="same")
    for minutes in (110, 120, 130):
        library.shoot(minutes, (GATE, 0.95, True))
        library.shoot(minutes, SURE, camera=library.camera(f"other {minutes}"))
    library.update()
    assert library.state(probable)[0] != "accepted"


def test_a_landmark_that_a_position_refuses_lifts_nothing(library):
    probable = library.shoot(0, PROBABLE)
    for minutes in (10, 20, 30):
        library.shoot(minutes, SURE, gps=TOKYO, camera=library.camera(f"phone {minutes}"))
    far = library.shoot(40, PROBABLE, gps=TOKYO)
    library.shoot(50, SURE, gps=TOKYO)
    library.update()
    assert library.state(probable)[0] != "accepted"
    assert library.state(far) == (None, "not suggested: 9,718 km from the photo's position (GPS)")


@pytest.mark.parametrize("days", [0, 3])
def test_a_landmark_far_from_the_other_photos_of_that_time_is_not_suggested(library, days):
    phone = library.camera("phone")
    far, sure = library.shoot(0, PROBABLE), library.shoot(5, SURE, camera=library.camera("another"))
    for day in {-days, days}:
        library.shoot(day * DAY + 30, (GATE, 0.1, False), gps=TOKYO, camera=phone)
    library.update()
    assert library.state(far) == (
        None,
        "not suggested: 9,718 km from where other photos of that time were taken",
    )
    assert library.state(sure) == ("accepted", None)


def test_a_lone_camera_keeps_its_suggestions_near_what_it_shows(library):
    far = library.shoot(0, PROBABLE)
    library.shoot(30, (GATE, 0.1, False), gps=TOKYO, camera=library.camera("phone at home"))
    library.update()
    assert library.state(far)[0] is None
    library.shoot(5, (EIFFEL, 0.81, True))
    library.update()
    assert library.state(far)[0] in ("suggested", "accepted")


def test_what_the_gps_of_another_camera_says_of_a_taught_landmark_does_not_wait(library):
    photo = library.shoot(0)
    library.taught(photo, EIFFEL, 0.5)
    library.update()
    assert library.state(photo) == ("suggested", None)
    library.shoot(30, gps=TOKYO, camera=library.camera("phone"))
    library.update()
    assert library.state(photo)[0] is None


@pytest.mark.parametrize(
    ("score", "gps", "phone"),
    [(0.81, None, TOKYO), (0.985, (50.12, 2.29), None)],
    ids=["a trip elsewhere", "a position that does not turn it"],
)
def test_positions_come_to_rest_where_copies_are_of_several_days(library, score, gps, phone):
    library.shoot(0, (EIFFEL, score, True), gps=gps)
    first = library.shoot(700, PROBABLE, digest="same")
    library.shoot(10, gps=phone, camera=library.camera("phone"))
    copy = library.shoot(200 * DAY, PROBABLE, digest="same")
    library.update()
    state = library.state(first)
    with library.database.write() as connection:  # as a track of that day does
        record_matching_photos(connection, photos.c.id == copy)
    library.update()
    assert not count_changes(library.database)
    assert library.state(first) == state


shots = st.lists(
    st.tuples(
        st.sampled_from((0, 1, DAY)),
        st.sampled_from((SURE, PROBABLE, CLOSE, (GATE, 0.9, True), (GATE, 0.1, False))),
    ),
    min_size=2,
    max_size=6,
)


@pytest.fixture
def states_of(tmp_path) -> Any:
    """The effective tags after photos were added in this order, and positions updated after some of them."""
    empty = tmp_path / "empty.sqlite"
    open_database(f"sqlite:///{empty}").close()

    def states(order: Sequence[int], found: Sequence[Any], updates: frozenset[int]) -> Any:
        shutil.copyfile(empty, tmp_path / "copy.sqlite")
        with closing(open_database(f"sqlite:///{tmp_path}/copy.sqlite")) as database:
            library = Library.with_camera(database, tmp_path)
            for number in order:
                library.shoot(found[number][0], found[number][1], digest=f"image {number}")
                if number in updates:
                    library.update()
            library.update()
            of_image = contents.join(effective_tags, effective_tags.c.content_id == contents.c.id)
            columns = (effective_tags.c[name] for name in ("landmark_id", "state", "reason", "position_odds"))
            with database.read() as connection:
                rows = connection.execute(select(contents.c.digest, *columns).select_from(of_image))
                return sorted(map(str, rows.all()))

    return states


@settings(max_examples=4)
@given(found=shots, data=st.data())
def test_the_order_of_jobs_makes_no_difference(states_of, found, data):
    numbers = range(len(found))
    order = data.draw(st.permutations(numbers))
    updates = data.draw(st.frozensets(st.sampled_from(numbers)))
    assert states_of(order, found, updates) == states_of(numbers, found, frozenset())


class JudgedLibrary(PositionLibrary):
    def give(self, photo: int, slug: str) -> None:
        give_verdicts(self.database, [photo], slug, VerdictKind.CONFIRMED, "ada", {})

    def withdraw(self, photo: int, slug: str) -> None:
        withdraw_verdicts(self.database, [photo], slug, VerdictKind.CONFIRMED, {})

    def tag(self, photo: int, slug: str) -> Tag:
        tags = photo_details_by_id(self.database, photo).photo.tags
        return next(tag for tag in tags if tag.landmark == slug)

    def accepted(self, photo: int) -> set[str]:
        tags = photo_details_by_id(self.database, photo).photo.tags
        return {tag.landmark for tag in tags if tag.accepted}

    def position_of(self, photo: int) -> tuple[float, float]:
        self.update()
        _source, *position = self.found()[photo]
        return position[0], position[1]


@pytest.fixture
def judged(database, tmp_path) -> JudgedLibrary:
    return JudgedLibrary.with_camera(database, tmp_path)


def test_tags_and_positions_follow_a_confirmed_landmark_until_it_is_withdrawn(judged):
    photo = judged.shot(0, (EIFFEL, 0.98, True), (GATE, 0.1, False))
    paris = judged.position_of(photo)
    judged.give(photo, GATE)
    assert judged.accepted(photo) == {GATE}
    tag = judged.tag(photo, EIFFEL)
    assert (tag.accepted, tag.doubtful, tag.score) == (False, "confirmed-other", 0.98)
    assert (judged.tag(photo, GATE).doubtful, judged.tag(photo, GATE).reason) == (None, None)
    assert round(judged.position_of(photo)[1]) == 13  # Berlin
    judged.withdraw(photo, GATE)
    assert judged.accepted(photo) == {EIFFEL}
    assert judged.tag(photo, EIFFEL).doubtful is None
    assert judged.position_of(photo) == paris


@pytest.mark.parametrize(
    ("score", "confirmed", "reason"),
    [
        (0.96, (), "doubtful: Château de Versailles is taught"),
        (0.96, (GATE,), "doubtful: Brandenburg Gate is confirmed"),
        (0.96, (GATE, "nameless-hill"), "doubtful: Brandenburg Gate and Nameless Hill are confirmed"),
    ],
)
def test_a_doubtful_tag_names_the_landmarks_that_speak_against_it(judged, score, confirmed, reason):
    photo = judged.shot(0, (EIFFEL, score, True))
    judged.taught(photo, "chateau-de-versailles", 0.95)
    for slug in confirmed:
        judged.give(photo, slug)
    assert judged.tag(photo, EIFFEL).reason == reason


class Folder(TaggedFolder):
    """Photos in one colour above and in noise below, some of them cut off."""

    def cut(self, name: str, part: float) -> Path:
        """Draw a photo of the first landmark, and keep this part of its file."""
        path = self.folder / name
        picture = Image.new("RGB", (320, 240), colour_of(0))
        picture.paste(Image.effect_noise((320, 40), 20).convert("RGB"), (0, 200))
        picture.save(path, quality=90)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])
        return path

    def details(self, name: str) -> PhotoDetails:
        return photo_details(self.database, self.folder / name)


@pytest.fixture
def folder(database, tmp_path) -> Folder:
    return Folder(database, tmp_path)


def test_a_photo_that_is_decoded_in_part_gets_no_tag_by_itself(folder):
    folder.cut("whole.jpg", 1)
    folder.cut("cut.jpg", 0.5)
    assert folder.tag(threshold=0.3) == {"whole.jpg": "tagged", "cut.jpg": "unknown"}
    assert not folder.details("whole.jpg").photo.damaged
    photo = folder.details("cut.jpg").photo
    best = photo.tags[0]
    assert (photo.damaged, photo.outcome, photo.guess) == (True, "unknown", None)
    assert (best.landmark, best.accepted, best.doubtful) == (EIFFEL, False, "damaged")
    assert best.reason == "doubtful: a part of the image is missing"
    assert [Path(found.path).name for found in find_tagged(folder.database, PhotoQuery())] == ["whole.jpg"]


def test_a_damaged_photo_is_told_again_whole_once_it_was_copied_again(folder):
    folder.cut("a.jpg", 0.5)
    folder.tag(threshold=0.3)
    folder.cut("a.jpg", 1)
    assert folder.tag(threshold=0.3) == {"a.jpg": "tagged"}
    assert not folder.details("a.jpg").photo.damaged
