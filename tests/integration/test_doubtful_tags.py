"""Tags of the model that a person, or what a person taught, contradicts: doubtful everywhere, until the verdict is withdrawn."""

from pathlib import Path

import pytest
from sqlalchemy import select
from support.artifacts import tiny_artifact
from support.counted_rows import assert_exact
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.tables import photo_tags, photos_view
from tagger.library.catalog.registered_models import add_model
from tagger.library.query.counts import landmark_counts
from tagger.library.query.covers import find_covers
from tagger.library.query.details import photo_details_by_id
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import Tag, photo_document
from tagger.library.verdicts import VerdictKind, give_verdict, withdraw_verdict

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
CONFIRMED, REJECTED = VerdictKind.CONFIRMED, VerdictKind.REJECTED

pytestmark = pytest.mark.postgresql


class Library(PositionLibrary):
    """Photos with verdicts; what each reader of tags says of them."""

    def give(self, photo: int, slug: str, kind: VerdictKind = CONFIRMED) -> None:
        give_verdict(self.database, photo, slug, kind, "ada", {})

    def withdraw(self, photo: int, slug: str, kind: VerdictKind = CONFIRMED) -> None:
        withdraw_verdict(self.database, photo, slug, kind, {})

    def teach(self, photo: int, slug: str, score: float = 0.95) -> None:
        self.taught(photo, slug, score, accepted=True)

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
        assert accepted == queried == in_view == listed == counted.keys() == find_covers(self.database).keys()
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


def test_a_taught_landmark_decides_over_the_model_alone(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True), (GATE, 0.1, False))
    library.teach(photo, VERSAILLES)
    assert library.shown(photo) == {VERSAILLES}
    tag = library.tag(photo, EIFFEL)
    assert (tag.doubtful, tag.reason) == ("taught-other", "doubtful: Château de Versailles is taught")
    library.teach(photo, EIFFEL)
    assert library.shown(photo) == {VERSAILLES, EIFFEL}


def test_what_is_taught_on_one_photo_decides_there_alone(library: Library) -> None:
    first, second = library.shot(0, (EIFFEL, 0.98, True)), library.shot(5, (EIFFEL, 0.98, True))
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
    photo = library.shot(0, (EIFFEL, 0.98, True))
    library.teach(photo, VERSAILLES)
    library.give(photo, GATE)
    assert library.shown(photo) == {GATE}
    doubts = [library.tag(photo, slug).doubtful for slug in (EIFFEL, VERSAILLES)]
    assert doubts == ["confirmed-other"] * 2


def test_a_rejected_taught_landmark_gives_the_tag_of_the_model_back(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True))
    library.teach(photo, VERSAILLES)
    library.give(photo, VERSAILLES, REJECTED)
    assert library.shown(photo) == {EIFFEL}


def test_documents_say_why_a_tag_is_doubtful(library: Library) -> None:
    photo = library.shot(0, (EIFFEL, 0.98, True))
    library.give(photo, GATE)
    (found,) = find_tagged(library.database, PhotoQuery(any_rank=True))
    doubts = {tag.landmark: tag.doubtful for tag in photo_document(found).tags}
    assert doubts == {EIFFEL: "confirmed-other", GATE: None}
