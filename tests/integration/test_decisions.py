"""Decisions about photos: what is suggested, put away and starred; each is settled at once and announced."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from support.colour_folders import TaggedFolder
from support.databases import execute, read_scalar
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos
from support.page_server import settings_in
from support.stored_photos import StoredPhotos

from tagger.database import VerdictKind
from tagger.database.tables import dismissals, effective_tags, models
from tagger.landmarks.edits import merge_landmark
from tagger.query.details import photo_details
from tagger.query.facets import count_facets
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import TaggedPhoto
from tagger.roots import forget_path
from tagger.tags.causes import delete_model_results, delete_verdicts
from tagger.tags.settlement import unsettled
from tagger.teaching import lessons
from tagger.teaching.lessons import count_suggestions, find_suggestions, suggestion_page
from tagger.transfer import check_database
from tagger.verdicts import (
    StarredPhotos,
    VerdictFilter,
    dismiss_photos,
    give_examples,
    give_verdicts,
    list_verdicts,
    restore_photos,
    star_photos,
    withdraw_verdicts,
)
from tagger.verdicts.importing import ImportedVerdicts, import_verdicts, read_entries

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
        return read_scalar(self.database, select(func.count()).select_from(dismissals)) or 0

    def _named(self, result: dict[str, list[int]]) -> dict[str, list[str]]:
        names = {
            photo.id: Path(photo.path).name for photo in find_tagged(self.database, PhotoQuery(any_rank=True))
        }
        return {kind: [names.get(number, "?") for number in ids] for kind, ids in result.items() if ids}


@pytest.fixture
def folder(database, tmp_path) -> Folder:
    return Folder(database, tmp_path)


def document(
    digest: str, at: datetime, verdict: str = "not-a-landmark", landmark: str | None = None
) -> dict[str, Any]:
    return {"digest": digest, "landmark": landmark, "verdict": verdict, "by": "bob", "at": at.isoformat()}


def test_a_photo_that_is_put_away_is_not_unknown_with_its_copies(folder):
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


def test_a_confirmed_landmark_and_a_dismissal_exclude_each_other(folder):
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.dismiss("a.jpg")
    give_verdicts(folder.database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.REJECTED, "ada", {})
    assert folder.dismissed() == 1
    give_verdicts(folder.database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.CONFIRMED, "ada", {})
    assert folder.dismissed() == 0
    assert folder.dismiss("a.jpg") == {"confirmed": ["a.jpg"]}
    assert folder.found(landmark=EIFFEL) == ["a.jpg"]


def test_photos_that_are_not_classified_are_left_out(folder):
    folder.draw("a.jpg", None)
    folder.record()
    assert folder.dismiss("a.jpg") == {"left_out": ["?"]}
    assert folder.star("a.jpg") == StarredPhotos(changed=[], left_out=[folder.photo("a.jpg").id])


def test_dismissal_and_star_survive_forgetting_the_photo(folder):
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


def test_dismissals_are_listed_apart_from_verdicts_on_landmarks(folder):
    folder.draw("in/a.jpg", None)
    folder.draw("b.jpg", None, shade=2)
    folder.tag()
    folder.dismiss("in/a.jpg", "b.jpg")
    below = VerdictFilter(photos=PhotoQuery(under=(folder.folder / "in",)))
    assert [Path(each.path or "").name for each in list_verdicts(folder.database, below)] == ["a.jpg"]
    assert list(list_verdicts(folder.database, VerdictFilter(by="bob"))) == []
    assert list(list_verdicts(folder.database, VerdictFilter(photos=PhotoQuery(landmark=EIFFEL)))) == []
    assert list(list_verdicts(folder.database, VerdictFilter("confirmed"))) == []


def test_the_newer_of_imported_decisions_applies_and_a_confirmation_outranks_a_dismissal(folder):
    folder.draw("a.jpg", None)
    folder.tag()
    digest = photo_details(folder.database, folder.folder / "a.jpg").photo.digest or ""
    assert folder.import_(document(digest, MONDAY)).added == 1
    assert folder.import_(document(digest, MONDAY)).unchanged == 1
    assert folder.import_(document(digest, MONDAY - timedelta(days=1))).older == 1
    assert folder.import_(document(digest, MONDAY + timedelta(days=1))).replaced == 1
    (listed,) = list_verdicts(folder.database, VerdictFilter())
    assert (listed.by, listed.at) == ("bob", MONDAY + timedelta(days=1))
    confirmed = document(digest, MONDAY, "confirmed", EIFFEL)
    report = folder.import_(document(digest, MONDAY + timedelta(days=1)), confirmed)
    assert (report.added, report.older) == (1, 1)
    assert folder.dismissed() == 0


def test_an_imported_confirmation_that_is_older_than_a_rejection_leaves_the_dismissal(folder):
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
def test_favourites_are_found_with_their_copies_whatever_they_show(folder):
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
    } == {"tower.jpg": True, "copy.jpg": True, "other.jpg": False}
    (facet,) = count_facets(folder.database, PhotoQuery(), names=["outcome"])
    assert {each.value: each.photos for each in facet.values}["favourite"] == 3
    folder.star("in/copy.jpg", "dog.jpg", starred=False)
    assert folder.found(favourite=True) == []
    assert list(check_database(folder.database)) == []


@pytest.fixture
def tagged(database, tmp_path) -> StoredPhotos:
    tagged = StoredPhotos.with_tiny_model(database, tmp_path)
    tagged.photo("a.jpg", (EIFFEL, 0.9, True))
    return tagged


def test_a_change_is_settled_in_its_transaction(tagged):
    database = tagged.database
    with database.write() as connection:
        delete_verdicts(connection, [1], tagged.landmark_ids[EIFFEL], VerdictKind.CONFIRMED)
        assert connection.scalar(select(effective_tags.c.accepted))
        assert delete_model_results(connection, tagged.model.id, after=0) == [1]
        assert connection.execute(select(effective_tags)).all() == []
        assert list(unsettled(connection)) == []
    with database.rehearsal() as rehearsed:
        dismiss_photos(rehearsed, [1], "ada")
        with rehearsed.read() as connection:
            assert list(unsettled(connection)) == []


def test_whoever_opened_the_database_hears_of_each_decision_of_people(tagged):
    database, heard = tagged.database, list[str]()
    database.after_decisions = lambda: heard.append("decisions")
    change = [1], GATE, VerdictKind.CONFIRMED
    give_verdicts(database, *change, "ada", {}, dry_run=True)
    star_photos(database, [1], "ada", starred=True)
    tagged.photo("b.jpg", (EIFFEL, 0.9, True))
    assert heard == []
    decisions: tuple[Callable[[], object], ...] = (
        lambda: give_verdicts(database, *change, "ada", {}),
        lambda: withdraw_verdicts(database.acting_as(database.actor), *change, {}),
        lambda: give_examples(database, GATE, [1], [2], "ada"),
        lambda: dismiss_photos(database, [2], "ada"),
        lambda: restore_photos(database, [2]),
    )
    for number, decide in enumerate(decisions, start=1):
        decide()
        assert len(heard) == number
    tagged.landmark("gate", "Gate")
    merge_landmark(database, "gate", GATE)
    assert len(heard) == len(decisions) + 1


@pytest.fixture
def suggested(database, tmp_path) -> LibraryPhotos:
    """Ten photos, with suggestions of a model, which are from 0.3 on, and of two taught landmarks."""
    suggested = LibraryPhotos(database, settings_in(tmp_path), tmp_path / "photos")
    execute(database, update(models).values(suggestion_threshold=0.3))
    for name, score in (("low", 0.3), ("high", 0.48), ("less", 0.29), ("copy", 0.4)):
        suggested.number(f"{name}.jpg", (EIFFEL, score, False), (GATE, 0.1, False), digest=name)
    suggested.number("tagged.jpg", (EIFFEL, 0.6, True), (GATE, 0.35, False), digest="tagged")
    suggested.number("copy-2.jpg", (EIFFEL, 0.4, False), digest="copy")
    suggested.number("refused.jpg", (VERSAILLES, 0.2, False), digest="refused")
    for name, slug, score in (("a", VERSAILLES, 0.33), ("b", VERSAILLES, 0.7), ("c", GATE, 0.45)):
        number = suggested.number(f"{name}.jpg", (EIFFEL, 0.1, False), digest=name)
        suggested.taught(number, slug, score)
    return suggested


def entries(suggested: LibraryPhotos, landmark: str | None = None, limit: int = 50) -> list[TaggedPhoto]:
    landmark_id = suggested.landmark_ids[landmark] if landmark else None
    return list(find_suggestions(suggested.database, landmark_id, {}, limit))


def names(found: list[TaggedPhoto]) -> list[str]:
    return [f"{photo.tags[0].landmark} {Path(photo.path).stem}" for photo in found]


QUEUE = [
    f"{VERSAILLES} b",
    f"{EIFFEL} high",
    f"{GATE} c",
    f"{EIFFEL} copy",
    f"{VERSAILLES} a",
    f"{EIFFEL} low",
]


@pytest.mark.postgresql
def test_suggestions_of_models_and_of_taught_places_are_one_list_the_most_probable_first(
    suggested, monkeypatch
):
    found = entries(suggested)
    assert names(found) == QUEUE
    assert [len(photo.tags) for photo in found] == [1] * len(found)
    assert {photo.outcome for photo in found} == {"unknown"}
    assert count_suggestions(suggested.database) == len(found)
    monkeypatch.setattr(lessons, "PAGE", 2)
    for limit in (2, 4, 9):
        assert entries(suggested, limit=limit) == found[:limit]


def test_the_suggestions_of_one_landmark(suggested):
    for slug in (EIFFEL, VERSAILLES, GATE):
        found = entries(suggested, slug)
        assert names(found) == [name for name in QUEUE if name.startswith(slug)]
        landmark_id = suggested.landmark_ids[slug]
        assert count_suggestions(suggested.database, landmark_id) == len(found)
        first, end = suggestion_page(suggested.database, landmark_id, {}, None, 1)
        assert first + suggestion_page(suggested.database, landmark_id, {}, end, 9)[0] == found


def test_photos_with_a_verdict_and_photos_that_are_gone_are_left_out(suggested):
    suggested.verdict("low", EIFFEL, "rejected")
    suggested.verdict("b", VERSAILLES, "confirmed")
    suggested.verdict("c", EIFFEL, "rejected")  # of another landmark
    suggested.gone("high.jpg")
    suggested.gone("a.jpg")
    assert names(entries(suggested)) == [f"{GATE} c", f"{EIFFEL} copy"]
    assert count_suggestions(suggested.database) == 2
    suggested.gone("copy-2.jpg")
    assert names(entries(suggested)) == [f"{GATE} c", f"{EIFFEL} copy"]


def test_counting_ends_at_its_limit(suggested, monkeypatch):
    for limit in range(1, 6):
        monkeypatch.setattr(lessons, "COUNT_LIMIT", limit)
        assert count_suggestions(suggested.database) == limit
