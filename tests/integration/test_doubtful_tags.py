"""Tags of the model that a person, or what a person taught, contradicts: doubtful everywhere, until the verdict is withdrawn."""

from pathlib import Path

import pytest
from PIL import Image
from support.artifacts import colour_of
from support.colour_folders import TaggedFolder
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.query.details import PhotoDetails, photo_details, photo_details_by_id
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import DAMAGED, Tag, photo_document
from tagger.verdicts.verdicts import give_verdicts, withdraw_verdicts

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
HILL = "nameless-hill"


class Library(PositionLibrary):
    """Photos with verdicts."""

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
def library(database: Database, tmp_path: Path) -> Library:
    library = Library.with_tiny_model(database, tmp_path)
    library.camera()
    return library


@pytest.mark.postgresql
def test_tags_and_positions_follow_a_confirmed_landmark_until_it_is_withdrawn(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True), (GATE, 0.1, False))
    paris = library.position_of(photo)
    library.give(photo, GATE)
    assert library.accepted(photo) == {GATE}
    tag = library.tag(photo, EIFFEL)
    assert (tag.accepted, tag.doubtful, tag.score) == (False, "confirmed-other", 0.98)
    assert (library.tag(photo, GATE).doubtful, library.tag(photo, GATE).reason) == (None, None)
    assert round(library.position_of(photo)[1]) == 13  # Berlin
    library.withdraw(photo, GATE)
    assert library.accepted(photo) == {EIFFEL}
    assert library.tag(photo, EIFFEL).doubtful is None
    assert library.position_of(photo) == paris


@pytest.mark.parametrize(
    ("score", "confirmed", "reason"),
    [
        (0.96, (), "doubtful: Château de Versailles is taught"),
        (0.96, (GATE,), "doubtful: Brandenburg Gate is confirmed"),
        (0.96, (GATE, HILL), "doubtful: Brandenburg Gate and Nameless Hill are confirmed"),
    ],
)
def test_a_doubtful_tag_names_the_landmarks_that_speak_against_it(
    library: Library, score: float, confirmed: tuple[str, ...], reason: str
) -> None:
    photo = library.shot(0, (EIFFEL, score, True))
    library.taught(photo, VERSAILLES, 0.95)
    for slug in confirmed:
        library.give(photo, slug)
    assert library.tag(photo, EIFFEL).reason == reason


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


def test_a_damaged_photo_is_told_again_whole_once_it_was_copied_again(folder: Folder) -> None:
    folder.cut("a.jpg", 0.5)
    folder.tag(threshold=0.3)
    folder.cut("a.jpg", 1)
    assert folder.tag(threshold=0.3) == {"a.jpg": "tagged"}
    assert not folder.details("a.jpg").photo.damaged
