"""Tags of the model that a person, or what a person taught, contradicts: doubtful everywhere, until the verdict is withdrawn."""

from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select, update
from support.artifacts import colour_of, tiny_artifact
from support.colour_folders import TaggedFolder
from support.counted_rows import assert_exact
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.tables import contents, photo_tags, photos, photos_view, tags
from tagger.jobs.processing.metadata_preview import load_photo_tags
from tagger.library.catalog.contents import record_photos
from tagger.library.catalog.registered_models import add_model
from tagger.library.positions.update import update_positions
from tagger.library.query.counts import find_covers, landmark_counts
from tagger.library.query.details import PhotoDetails, photo_details, photo_details_by_id
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import DAMAGED, Tag, photo_document
from tagger.library.verdicts.service import give_verdict, withdraw_verdict

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
CONFIRMED, REJECTED = VerdictKind.CONFIRMED, VerdictKind.REJECTED


class Library(PositionLibrary):
    """Photos with verdicts; what each reader of tags says of them."""

    def give(self, photo: int, slug: str, kind: VerdictKind = CONFIRMED) -> None:
        give_verdict(self.database, photo, slug, kind, "ada", {})

    def withdraw(self, photo: int, slug: str, kind: VerdictKind = CONFIRMED) -> None:
        withdraw_verdict(self.database, photo, slug, kind, {})

    def teach(self, photo: int, slug: str, score: float = 0.95, pack: str = "") -> None:
        self.taught(photo, slug, score, accepted=True, pack=pack)

    def tag(self, photo: int, slug: str) -> Tag:
        tags = photo_details_by_id(self.database, photo).photo.tags
        return next(tag for tag in tags if tag.landmark == slug)

    def shown(self, photo: int) -> set[str]:
        """The accepted landmarks of the only photo with one; every reader agrees on them."""
        accepted = {
            tag.landmark for tag in photo_details_by_id(self.database, photo).photo.tags if tag.accepted
        }
        queried = {
            slug
            for slug in (EIFFEL, GATE, VERSAILLES)
            if any(found.id == photo for found in find_tagged(self.database, PhotoQuery(landmark=(slug,))))
        }
        with self.database.read() as connection:
            in_view = set(connection.scalars(select(photo_tags.c.landmark)))
            outcome = connection.scalar(select(photos_view.c.outcome).where(photos_view.c.photo_id == photo))
        counted = {count.landmark: count.photos for count in landmark_counts(self.database)}
        (found,) = find_tagged(self.database, PhotoQuery())
        listed = {tag.landmark for tag in found.tags}
        written = {tag.slug for tag in load_photo_tags(self.database, [photo])[photo].landmarks}
        assert (
            accepted
            == queried
            == in_view
            == listed
            == written
            == counted.keys()
            == find_covers(self.database).keys()
        )
        assert set(counted.values()) == {1}
        assert outcome == "tagged"
        assert_exact(self.database)
        return accepted

    def position_of(self, photo: int) -> tuple[float, float]:
        self.update()
        _source, *position = self.found()[photo]
        return position[0], position[1]


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    tiny_artifact(tmp_path / "tiny.pt")
    library = Library(database, tmp_path / "photos", add_model(database, tmp_path / "tiny.pt"))
    library.camera()
    return library


@pytest.mark.postgresql
def test_a_confirmed_landmark_decides_over_the_model_until_it_is_withdrawn(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True), (GATE, 0.1, False))
    assert library.shown(photo) == {EIFFEL}
    paris = library.position_of(photo)
    library.give(photo, GATE)
    assert library.shown(photo) == {GATE}
    tag = library.tag(photo, EIFFEL)
    assert (tag.accepted, tag.doubtful, tag.reason) == (
        False,
        "confirmed-other",
        "doubtful: Brandenburg Gate is confirmed",
    )
    assert tag.score == 0.98
    assert (library.tag(photo, GATE).doubtful, library.tag(photo, GATE).reason) == (None, None)
    assert round(library.position_of(photo)[1]) == 13  # Berlin
    library.withdraw(photo, GATE)
    assert library.shown(photo) == {EIFFEL}
    assert library.tag(photo, EIFFEL).doubtful is None
    assert library.position_of(photo) == paris


def test_two_landmarks_stay_where_a_person_confirms_both(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True), (GATE, 0.9, True))
    assert library.shown(photo) == {EIFFEL, GATE}
    library.give(photo, VERSAILLES)
    assert library.shown(photo) == {VERSAILLES}
    library.give(photo, EIFFEL)
    assert library.shown(photo) == {VERSAILLES, EIFFEL}
    assert library.tag(photo, GATE).reason == "doubtful: Château de Versailles and Eiffel Tower are confirmed"


def test_copies_follow_the_verdict_on_one_of_them(library: Library) -> None:
    first = library.shot(0, (EIFFEL, 0.98, True), digest="same")
    copy = library.shot(5, (EIFFEL, 0.98, True), digest="same")
    library.give(first, GATE)
    assert library.tag(copy, EIFFEL).doubtful == "confirmed-other"
    assert [found.id for found in find_tagged(library.database, PhotoQuery(landmark=(EIFFEL,)))] == []


def test_a_rejected_landmark_casts_no_doubt_on_others(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True), (GATE, 0.9, True))
    library.give(photo, GATE, REJECTED)
    assert library.shown(photo) == {EIFFEL}
    assert library.tag(photo, GATE).doubtful is None


@pytest.mark.postgresql
def test_a_taught_landmark_decides_over_the_model_alone(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.96, True), (GATE, 0.1, False))
    library.teach(photo, VERSAILLES)
    assert library.shown(photo) == {VERSAILLES}
    tag = library.tag(photo, EIFFEL)
    assert (tag.doubtful, tag.reason) == ("taught-other", "doubtful: Château de Versailles is taught")
    library.teach(photo, EIFFEL)
    assert library.shown(photo) == {VERSAILLES, EIFFEL}


@pytest.mark.postgresql
def test_what_is_taught_on_one_photo_decides_there_alone(library: Library) -> None:
    first, second = library.shot(0, (EIFFEL, 0.96, True)), library.shot(5, (EIFFEL, 0.96, True))
    for slug in (EIFFEL, VERSAILLES):
        library.teach(first, slug)
    library.teach(second, VERSAILLES)
    assert [library.tag(photo, EIFFEL).accepted for photo in (first, second)] == [True, False]
    assert {count.landmark: count.photos for count in landmark_counts(library.database)} == {
        EIFFEL: 1,
        VERSAILLES: 2,
    }
    assert_exact(library.database)


def test_what_was_taught_is_doubtful_beside_a_confirmed_landmark(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.96, True))
    library.teach(photo, VERSAILLES)
    library.give(photo, GATE)
    assert library.shown(photo) == {GATE}
    doubts = [library.tag(photo, slug).doubtful for slug in (EIFFEL, VERSAILLES)]
    assert doubts == ["confirmed-other"] * 2


def test_a_rejected_taught_landmark_gives_the_tag_of_the_model_back(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.96, True))
    library.teach(photo, VERSAILLES)
    library.give(photo, VERSAILLES, REJECTED)
    assert library.shown(photo) == {EIFFEL}


@pytest.mark.parametrize(
    ("by_model", "taught", "shown", "reason"),
    [
        (0.96, {VERSAILLES: (0.95, "a")}, EIFFEL, "doubtful: Eiffel Tower has a higher score"),
        (0.93, {VERSAILLES: (0.95, "a")}, VERSAILLES, "doubtful: Château de Versailles has a higher score"),
        (0.93, {VERSAILLES: (0.95, "a"), EIFFEL: (0.97, "b")}, EIFFEL, "doubtful: Eiffel Tower has a higher score"),
        (0.96, {VERSAILLES: (0.91, "")}, VERSAILLES, "doubtful: Château de Versailles is taught"),
        (0.96, {VERSAILLES: (0.91, ""), EIFFEL: (0.99, "a")}, VERSAILLES, "doubtful: Château de Versailles is taught"),
        (None, {VERSAILLES: (0.92, "a"), EIFFEL: (0.95, "b")}, EIFFEL, "doubtful: Eiffel Tower has a higher score"),
        pytest.param(None, {VERSAILLES: (0.91, ""), EIFFEL: (0.95, "b")}, VERSAILLES, "doubtful: Château de Versailles is taught", marks=pytest.mark.postgresql),
    ],
)  # fmt: skip
def test_own_teaching_decides_over_model_and_pack_and_of_these_the_higher_score(
    library: Library,
    by_model: float | None,
    taught: dict[str, tuple[float, str]],
    shown: str,
    reason: str,
) -> None:
    photo = library.shot(0, *([] if by_model is None else [(EIFFEL, by_model, True)]))
    for slug, (score, pack) in taught.items():
        library.teach(photo, slug, score, pack)
    assert library.shown(photo) == {shown}
    (loser,) = {EIFFEL, VERSAILLES} - {shown}
    assert library.tag(photo, loser).reason == reason
    library.give(photo, shown, REJECTED)  # what remains wins
    assert library.shown(photo) == {loser}
    library.give(photo, GATE)
    assert library.shown(photo) == {GATE}


@pytest.mark.parametrize("by_model", [None, 0.92])
def test_landmarks_of_one_pack_stay_beside_each_other(library: Library, by_model: float | None) -> None:
    photo = library.shot(0, *([] if by_model is None else [(EIFFEL, by_model, True)]))
    library.teach(photo, EIFFEL, 0.93, "a")
    library.teach(photo, VERSAILLES, 0.95, "a")
    assert library.shown(photo) == {EIFFEL, VERSAILLES}


@pytest.mark.postgresql
def test_landmarks_that_are_taught_here_stay_beside_each_other_and_so_do_those_of_a_model(
    library: Library,
) -> None:
    photo = library.shot(0, (EIFFEL, 0.6, True), (GATE, 0.5, True))
    assert library.shown(photo) == {EIFFEL, GATE}
    library.teach(photo, EIFFEL, 0.95, "a")
    assert library.shown(photo) == {EIFFEL}
    library.teach(photo, GATE)
    library.teach(photo, VERSAILLES)
    assert library.shown(photo) == {GATE, VERSAILLES}


def test_documents_say_why_a_tag_is_doubtful(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True))
    library.give(photo, GATE)
    (found,) = find_tagged(library.database, PhotoQuery(any_rank=True))
    doubts = {tag.landmark: tag.doubtful for tag in photo_document(found).tags}
    assert doubts == {EIFFEL: "confirmed-other", GATE: None}


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
def folder(database: Database, tmp_path: Path) -> Folder:
    return Folder(database, tmp_path)


def test_a_photo_that_is_decoded_in_part_gets_no_tag_by_itself(folder: Folder) -> None:
    folder.cut("whole.jpg", 1)
    folder.cut("cut.jpg", 0.5)
    assert folder.tag(threshold=0.3) == {"whole.jpg": "tagged", "cut.jpg": "unknown"}
    assert not folder.details("whole.jpg").photo.damaged
    photo = folder.details("cut.jpg").photo
    best = photo.tags[0]
    assert (photo.damaged, photo.outcome, photo.refusal) == (True, "unknown", DAMAGED)
    assert (best.landmark, best.accepted, best.doubtful) == (EIFFEL, False, "damaged")
    assert best.reason == "doubtful: a part of the image is missing"
    assert [Path(found.path).name for found in find_tagged(folder.database, PhotoQuery())] == ["whole.jpg"]
    assert_exact(folder.database)


def test_a_person_confirms_a_landmark_on_a_damaged_photo(folder: Folder) -> None:
    path = folder.cut("cut.jpg", 0.5)
    folder.tag(threshold=0.3)
    give_verdict(folder.database, path, EIFFEL, CONFIRMED, "ada", {})
    best = folder.details("cut.jpg").photo.tags[0]
    assert (best.accepted, best.doubtful, best.reason) == (True, None, None)


def test_a_position_gives_a_damaged_photo_no_tag(folder: Folder) -> None:
    folder.cut("cut.jpg", 0.5)
    folder.tag(threshold=0.999)
    with folder.database.write() as connection:
        record_photos(connection, [1])
        connection.execute(update(photos).values(latitude=48.8584, longitude=2.2945))
        connection.execute(update(tags).values(score=0.99))
        connection.execute(update(contents).values(threshold=0.995))
    update_positions(folder.database)
    assert not any(tag.accepted for tag in folder.details("cut.jpg").photo.tags)


def test_a_damaged_photo_is_told_again_whole_once_it_was_copied_again(folder: Folder) -> None:
    folder.cut("a.jpg", 0.5)
    folder.tag(threshold=0.3)
    folder.cut("a.jpg", 1)
    assert folder.tag(threshold=0.3) == {"a.jpg": "tagged"}
    assert not folder.details("a.jpg").photo.damaged
