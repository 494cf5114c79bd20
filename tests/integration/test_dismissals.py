"""Photos that are not of a landmark are put away for good, and favourites get a star, with their copies."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support.colour_folders import EIFFEL, TaggedFolder

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.tables import dismissals
from tagger.query.details import photo_details
from tagger.query.facets import count_facets
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.roots.roots import forget_path
from tagger.transfer.integrity import check_database
from tagger.verdicts.importing import ImportedVerdicts, import_verdicts, read_entries
from tagger.verdicts.listing import VerdictFilter, list_verdicts
from tagger.verdicts.verdicts import StarredPhotos, dismiss_photos, give_verdicts, restore_photos, star_photos

MONDAY = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Folder(TaggedFolder):
    """A folder of photos, of which some are put away or have a star."""

    def dismiss(self, *names: str, dry_run: bool = False) -> dict[str, list[str]]:
        ids = [self.photo(name).id for name in names]
        return self._named(vars(dismiss_photos(self.database, ids, "ada", dry_run=dry_run)))

    def restore(self, *names: str) -> dict[str, list[str]]:
        return self._named(vars(restore_photos(self.database, [self.photo(name).id for name in names])))

    def star(self, *names: str, starred: bool = True) -> StarredPhotos:
        return star_photos(self.database, [self.photo(name).id for name in names], "ada", starred=starred)

    def found(self, **options: Any) -> list[str]:
        return sorted(Path(photo.path).name for photo in find_tagged(self.database, PhotoQuery(**options)))

    def import_(self, *documents: dict[str, Any]) -> ImportedVerdicts:
        source = io.BytesIO(json.dumps(documents).encode())
        return import_verdicts(self.database, read_entries(source, "file"))

    def dismissed(self) -> int:
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(dismissals)) or 0

    def _named(self, result: dict[str, list[int]]) -> dict[str, list[str]]:
        names = {
            photo.id: Path(photo.path).name for photo in find_tagged(self.database, PhotoQuery(any_rank=True))
        }
        return {kind: [names.get(number, "?") for number in ids] for kind, ids in result.items() if ids}


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> Folder:
    return Folder(database, tmp_path)


def document(
    digest: str, at: datetime, verdict: str = "not-a-landmark", landmark: str | None = None
) -> dict[str, Any]:
    return {"digest": digest, "landmark": landmark, "verdict": verdict, "by": "bob", "at": at.isoformat()}


@pytest.mark.postgresql
def test_a_photo_that_is_put_away_is_not_unknown_with_its_copies(folder: Folder) -> None:
    folder.draw("dog.jpg", None)
    folder.draw("copy.jpg", None)
    folder.draw("cat.jpg", None, shade=3)
    folder.tag()
    assert folder.found(unknown=True) == ["cat.jpg", "copy.jpg", "dog.jpg"]
    assert folder.dismiss("dog.jpg", dry_run=True) == {"changed": ["dog.jpg"]}
    assert folder.dismissed() == 0
    assert folder.dismiss("dog.jpg") == {"changed": ["dog.jpg"]}
    assert folder.dismiss("copy.jpg", "cat.jpg") == {"unchanged": ["copy.jpg"], "changed": ["cat.jpg"]}
    assert folder.found(unknown=True) == []
    for sort in (None, "newest", "score"):
        assert folder.found(dismissed=True, sort=sort) == ["cat.jpg", "copy.jpg", "dog.jpg"]
    assert folder.restore("copy.jpg", "cat.jpg") == {"changed": ["cat.jpg", "copy.jpg"]}
    assert folder.restore("dog.jpg") == {"unchanged": ["dog.jpg"]}
    assert folder.found(unknown=True, sort="newest") == ["cat.jpg", "copy.jpg", "dog.jpg"]


def test_a_confirmed_landmark_and_a_dismissal_exclude_each_other(folder: Folder) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.dismiss("a.jpg")
    give_verdicts(folder.database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.REJECTED, "ada", {})
    assert folder.dismissed() == 1
    give_verdicts(folder.database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.CONFIRMED, "ada", {})
    assert folder.dismissed() == 0
    assert folder.dismiss("a.jpg") == {"confirmed": ["a.jpg"]}
    assert folder.found(landmark=EIFFEL) == ["a.jpg"]


def test_photos_that_are_not_classified_are_left_out(folder: Folder) -> None:
    folder.draw("a.jpg", None)
    folder.record()
    assert folder.dismiss("a.jpg") == {"left_out": ["?"]}
    assert folder.star("a.jpg") == StarredPhotos(changed=[], left_out=[folder.photo("a.jpg").id])


def test_dismissal_and_star_survive_forgetting_the_photo(folder: Folder) -> None:
    folder.draw("a.jpg", None)
    folder.tag()
    folder.dismiss("a.jpg")
    folder.star("a.jpg")
    forget_path(folder.database, folder.folder, {})
    (listed,) = list_verdicts(folder.database, VerdictFilter())
    assert (listed.path, listed.verdict, listed.landmark) == (None, "not-a-landmark", None)
    folder.tag()
    assert folder.found(unknown=True) == []
    assert folder.found(dismissed=True) == folder.found(favourite=True) == ["a.jpg"]


def test_dismissals_are_listed_apart_from_verdicts_on_landmarks(folder: Folder) -> None:
    folder.draw("in/a.jpg", None)
    folder.draw("b.jpg", None, shade=2)
    folder.tag()
    folder.dismiss("in/a.jpg", "b.jpg")
    below = VerdictFilter(photos=PhotoQuery(under=(folder.folder / "in",)))
    assert [Path(each.path or "").name for each in list_verdicts(folder.database, below)] == ["a.jpg"]
    assert list(list_verdicts(folder.database, VerdictFilter(by="bob"))) == []
    assert list(list_verdicts(folder.database, VerdictFilter(photos=PhotoQuery(landmark=EIFFEL)))) == []
    assert list(list_verdicts(folder.database, VerdictFilter("confirmed"))) == []


@pytest.mark.postgresql
def test_the_newer_of_two_imported_dismissals_applies(folder: Folder) -> None:
    folder.draw("a.jpg", None)
    folder.tag()
    digest = photo_details(folder.database, folder.folder / "a.jpg").photo.digest or ""
    assert folder.import_(document(digest, MONDAY)).added == 1
    assert folder.import_(document(digest, MONDAY)).unchanged == 1
    assert folder.import_(document(digest, MONDAY - timedelta(days=1))).older == 1
    assert folder.import_(document(digest, MONDAY + timedelta(days=1))).replaced == 1
    (listed,) = list_verdicts(folder.database, VerdictFilter())
    assert (listed.by, listed.at) == ("bob", MONDAY + timedelta(days=1))


def test_an_imported_confirmation_outranks_a_dismissal(folder: Folder) -> None:
    folder.draw("a.jpg", None)
    folder.tag()
    digest = photo_details(folder.database, folder.folder / "a.jpg").photo.digest or ""
    confirmed = document(digest, MONDAY, "confirmed", EIFFEL)
    report = folder.import_(document(digest, MONDAY + timedelta(days=1)), confirmed)
    assert (report.added, report.older) == (1, 1)
    assert folder.dismissed() == 0


def test_an_imported_confirmation_that_is_older_than_a_rejection_leaves_the_dismissal(folder: Folder) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.dismiss("a.jpg")
    give_verdicts(folder.database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.REJECTED, "ada", {})
    digest = photo_details(folder.database, folder.folder / "a.jpg").photo.digest or ""
    confirmed = document(digest, MONDAY, "confirmed", EIFFEL)
    assert folder.import_(confirmed).older == 1
    assert folder.dismissed() == 1
    report = folder.import_(confirmed, document(digest, datetime.now(UTC) + timedelta(days=1)))
    assert (report.older, report.replaced) == (1, 1)


@pytest.mark.postgresql
def test_favourites_are_found_with_their_copies_whatever_they_show(folder: Folder) -> None:
    folder.draw("in/tower.jpg", 0)
    folder.draw("in/copy.jpg", 0)
    folder.draw("dog.jpg", None, shade=3)
    folder.draw("other.jpg", 1, shade=5)
    folder.tag()
    assert folder.star("in/tower.jpg", "dog.jpg").left_out == []
    folder.star("dog.jpg")  # a second star changes nothing
    for sort in (None, "newest", "score"):
        assert folder.found(favourite=True, sort=sort) == ["copy.jpg", "dog.jpg", "tower.jpg"]
    assert folder.found(favourite=True, landmark=EIFFEL) == ["copy.jpg", "tower.jpg"]
    assert folder.found(favourite=True, under=(folder.folder / "in",)) == ["copy.jpg", "tower.jpg"]
    assert {
        Path(photo.path).name: photo.is_favourite for photo in find_tagged(folder.database, PhotoQuery())
    } == {
        "tower.jpg": True,
        "copy.jpg": True,
        "other.jpg": False,
    }
    (facet,) = count_facets(folder.database, PhotoQuery(), names=["outcome"])
    assert {each.value: each.photos for each in facet.values}["favourite"] == 3
    folder.star("in/copy.jpg", "dog.jpg", starred=False)
    assert folder.found(favourite=True) == []
    assert list(check_database(folder.database)) == []
