"""People who decide about one photo or landmark at once: nothing is lost or contradicts itself."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import exists, func, select
from support.colour_folders import EIFFEL, GATE
from support.databases import read_scalars
from support.stored_photos import StoredPhotos
from support.threads import in_threads

from tagger.database import VerdictKind
from tagger.database.tables import contents, dismissals, photos, verdicts
from tagger.errors import PhotoIdNotFound, PhotoNotClassified, TaggerError
from tagger.landmarks import find_landmark
from tagger.landmarks.edits import NewLandmark, add_landmark, edit_landmark, merge_landmark, remove_landmark
from tagger.roots import forget_path
from tagger.tags import has_verdict
from tagger.transfer import check_database
from tagger.verdicts import dismiss_photos, give_verdicts, restore_photos, star_photos, withdraw_verdicts

pytestmark = pytest.mark.postgresql

CONFIRMED, REJECTED = VerdictKind.CONFIRMED, VerdictKind.REJECTED
OWN = ("Old Tower", "Old Bridge", "Old Gate")
ROUNDS = 15
Call = Callable[[], object]


class Library(StoredPhotos):
    """Photos, landmarks of the tiny model, and what people do with them."""

    def add(self, name: str) -> None:
        add_landmark(self.database, NewLandmark(name))

    def merge(self, name: str, into: str) -> None:
        merge_landmark(self.database, name, into)

    def remove(self, name: str) -> None:
        remove_landmark(self.database, name, with_verdicts=True)

    def name_in(self, landmark: str, language: str, name: str) -> None:
        edit_landmark(self.database, landmark, {"names": {language: name}})

    def give(self, photo: int, landmark: str, kind: VerdictKind = CONFIRMED) -> None:
        give_verdicts(self.database, [photo], landmark, kind, "ada", {})

    def withdraw(self, photo: int, landmark: str, kind: VerdictKind = CONFIRMED) -> None:
        withdraw_verdicts(self.database, [photo], landmark, kind, {})

    def dismiss(self, photo: int) -> None:
        dismiss_photos(self.database, [photo], "bob")

    def restore(self, photo: int) -> None:
        restore_photos(self.database, [photo])

    def star(self, photo: int, *, starred: bool = True) -> None:
        star_photos(self.database, [photo], "bob", starred=starred)

    def forget(self, path: str) -> None:
        forget_path(self.database, Path(path), {})

    def contradictions(self) -> list[int]:
        """The images that are put away as not a landmark, although one is confirmed on them."""
        both = select(dismissals.c.content_id).join(
            verdicts, verdicts.c.content_id == dismissals.c.content_id
        )
        return read_scalars(self.database, both.where(verdicts.c.verdict == "confirmed"))

    def assert_consistent(self) -> None:
        assert self.contradictions() == []
        assert list(check_database(self.database)) == []


@pytest.fixture
def library(database, tmp_path) -> Library:
    library = Library.with_tiny_model(database, tmp_path)
    for number in range(1, 4):
        library.photo(f"{number}.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), digest=f"1-{number:064x}")
    return library


def test_decisions_and_names_of_the_same_moment_are_kept(library):
    for _ in range(ROUNDS):
        in_threads([partial(library.give, 1, EIFFEL), partial(library.dismiss, 1)])
        library.assert_consistent()
        library.withdraw(1, EIFFEL)
        library.restore(1)
    languages = ("de", "fr", "es", "it")
    in_threads([partial(library.name_in, EIFFEL, each, f"Tower in {each}") for each in languages])
    with library.database.read() as connection:
        names = find_landmark(connection, EIFFEL).names
    assert {each: names[each] for each in languages} == {each: f"Tower in {each}" for each in languages}
    library.assert_consistent()


def test_of_two_opposite_merges_one_is_done(library):
    for number in range(ROUNDS):
        one, other = f"One {number}", f"Other {number}"
        library.add(one)
        library.add(other)
        library.give(1, one)
        library.give(2, other)
        failed: list[TaggerError] = []

        def merge(name: str, into: str, failed: list[TaggerError] = failed) -> None:
            try:
                library.merge(name, into)
            except TaggerError as error:
                failed.append(error)

        in_threads([partial(merge, one, other), partial(merge, other, one)])
        assert len(failed) == 1
        with library.database.read() as connection:
            united = find_landmark(connection, one)
            assert united == find_landmark(connection, other)
            of_it = select(func.count()).where(verdicts.c.landmark_id == united.id)
            assert connection.scalar(of_it) == 2
    library.assert_consistent()


def test_a_verdict_is_kept_when_its_landmark_is_merged_at_the_same_moment(library):
    for number in range(ROUNDS):
        library.add(f"One {number}")
        library.add(f"Other {number}")
        in_threads(
            [
                partial(library.give, 1, f"One {number}"),
                partial(library.give, 2, f"One {number}", REJECTED),
                partial(library.merge, f"One {number}", f"Other {number}"),
            ]
        )
        with library.database.read() as connection:
            united = find_landmark(connection, f"One {number}")
            kinds = select(verdicts.c.verdict).where(verdicts.c.landmark_id == united.id)
            assert sorted(connection.scalars(kinds)) == ["confirmed", "rejected"]
    library.assert_consistent()


@pytest.mark.parametrize("decision", ["withdrawn verdict", "taken star", "given star"])
def test_an_image_stays_with_a_photo_or_a_decision_when_its_photo_is_forgotten_at_the_same_moment(
    library, decision
):
    for number in range(10, 10 + ROUNDS):
        path = library.photo(f"{number}.jpg", digest=f"1-{number:064x}")
        photo = library.newest_id()
        if decision == "withdrawn verdict":
            library.give(photo, EIFFEL)
        elif decision == "taken star":
            library.star(photo)
        in_threads([partial(_decide, library, decision, photo), partial(library.forget, path)])
        with library.database.read() as connection:
            has_photo = exists().where(photos.c.content_id == contents.c.id)
            abandoned = select(contents.c.digest).where(~has_photo, ~has_verdict())
            assert connection.scalars(abandoned).all() == []
    library.assert_consistent()


def _decide(library: Library, decision: str, photo: int) -> None:
    with suppress(PhotoIdNotFound, PhotoNotClassified):
        if decision == "withdrawn verdict":
            library.withdraw(photo, EIFFEL)
        else:
            library.star(photo, starred=decision == "given star")


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_whatever_people_do_at_the_same_moment_leaves_a_consistent_library(library, seed):
    for name in OWN:
        library.add(name)
    in_threads([partial(_act, library, _actions(library, random.Random(f"{seed} {n}"))) for n in range(4)])
    library.assert_consistent()


def _actions(library: Library, rng: random.Random) -> Sequence[Call]:
    def action() -> Call:
        photo, landmark, other = rng.randint(1, 3), rng.choice([*OWN, EIFFEL]), rng.choice(OWN)
        kind = rng.choice([CONFIRMED, REJECTED])
        return rng.choice(
            [
                partial(library.give, photo, landmark, kind),
                partial(library.withdraw, photo, landmark, kind),
                partial(library.dismiss, photo),
                partial(library.restore, photo),
                partial(library.star, photo, starred=rng.random() < 0.5),
                partial(library.name_in, landmark, "de", f"Name {rng.randint(1, 5)}"),
                partial(library.merge, other, landmark),
                partial(library.remove, other),
                partial(library.add, other),
            ]
        )

    return [action() for _ in range(40)]


def _act(library: Library, actions: Sequence[Call]) -> None:
    """Take the actions, which may be impossible, and then say so."""
    for action in actions:
        with suppress(TaggerError):
            action()
