"""What people decide about photos: verdicts, dismissals, stars and suggestions; at once, and from other databases."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.artifacts import LABELS, tiny_artifact
from support.colour_folders import TaggedFolder
from support.databases import execute, read_rows
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos
from support.page_server import settings_in
from support.stored_photos import StoredPhotos

from tagger import texts as documents, verdicts as verdicts_module
from tagger.database import VerdictKind
from tagger.database.tables import contents, dismissals, effective_tags, landmarks, models, photos, verdicts
from tagger.errors import ImportRefused, LandmarkNotFound, PhotoNotClassified, PhotoNotFound
from tagger.landmarks.edits import merge_landmark
from tagger.query.counts import landmark_counts
from tagger.query.details import photo_details
from tagger.query.facets import count_facets
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import TaggedPhoto
from tagger.registry import add_model
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
from tagger.verdicts.importing import ImportedVerdicts, VerdictEntry, import_verdicts, read_entries

MONDAY = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Folder(TaggedFolder):
    """A folder of photos with verdicts, of which some are put away or have a star."""

    def give(self, kind: VerdictKind, name: str, landmark: str) -> None:
        give_verdicts(self.database, [self.folder / name], landmark, kind, "ada", {})

    def reject_all(self, query: PhotoQuery) -> None:
        for photo in list(find_tagged(self.database, query)):
            for tag in photo.tags:
                give_verdicts(self.database, [photo.id], tag.landmark, VerdictKind.REJECTED, "ada", {})

    def withdraw(self, kind: VerdictKind, name: str, landmark: str) -> None:
        withdraw_verdicts(self.database, [self.folder / name], landmark, kind, {})

    def found(self, **options: Any) -> list[str]:
        return sorted(Path(photo.path).name for photo in find_tagged(self.database, PhotoQuery(**options)))

    def accepted(self, name: str) -> dict[str, tuple[int | None, float | None]]:
        query = (
            select(landmarks.c.slug, effective_tags.c.rank, effective_tags.c.score, effective_tags.c.accepted)
            .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
            .join(photos, photos.c.content_id == effective_tags.c.content_id)
            .where(photos.c.path == name)
        )
        return {row.slug: (row.rank, row.score) for row in read_rows(self.database, query) if row.accepted}

    def verdicts(self) -> list[tuple[str | None, str, str]]:
        return [
            (verdict.path and Path(verdict.path).name, verdict.landmark, verdict.verdict)
            for verdict in list_verdicts(self.database, VerdictFilter())
        ]

    def exported(self) -> list[dict[str, Any]]:
        return [
            {**vars(verdict), "at": verdict.at.isoformat()}
            for verdict in list_verdicts(self.database, VerdictFilter())
        ]

    def import_(self, *documents: dict[str, Any], dry_run: bool = False) -> ImportedVerdicts:
        source = io.BytesIO(json.dumps(documents).encode())
        return import_verdicts(self.database, read_entries(source, "file"), dry_run=dry_run)

    def dismiss(self, *names: str, dry_run: bool = False) -> dict[str, list[str]]:
        ids = [self.photo(name).id for name in names]
        return self._named(vars(dismiss_photos(self.database, ids, "ada", dry_run=dry_run)))

    def restore(self, *names: str) -> dict[str, list[str]]:
        return self._named(vars(restore_photos(self.database, [self.photo(name).id for name in names])))

    def star(self, *names: str, starred: bool = True) -> StarredPhotos:
        return star_photos(self.database, [self.photo(name).id for name in names], "ada", starred=starred)

    def _named(self, result: dict[str, list[int]]) -> dict[str, list[str]]:
        names = {
            photo.id: Path(photo.path).name for photo in find_tagged(self.database, PhotoQuery(any_rank=True))
        }
        return {kind: [names.get(number, "?") for number in ids] for kind, ids in result.items() if ids}


@pytest.fixture
def folder(database, tmp_path) -> Folder:
    return Folder(database, tmp_path)


def test_rejected_tag_stays_away_after_another_model_accepts_it(folder, tmp_path):
    folder.draw("a.jpg", 0)
    first = folder.record()
    folder.run(first)
    folder.give(VerdictKind.REJECTED, "a.jpg", "Eiffel Tower")
    tiny_artifact(tmp_path / "other.pt", name="other", labels=[LABELS[0], LABELS[1]], threshold=0.4)
    other = add_model(folder.database, tmp_path / "other.pt")
    assert folder.tag(model=other, reprocess=True, threshold=0.1) == {"a.jpg": "unknown"}
    assert folder.content("a.jpg").model_id == other.id
    assert EIFFEL not in folder.accepted("a.jpg")
    assert folder.found(landmark=EIFFEL) == []
    assert folder.found(landmark=EIFFEL, any_rank=True) == []
    assert EIFFEL not in {count.landmark for count in landmark_counts(folder.database)}
    details = photo_details(folder.database, folder.folder / "a.jpg")
    assert not any(tag.accepted for tag in details.photo.tags if tag.landmark == EIFFEL)
    assert [(verdict.landmark, verdict.verdict) for verdict in details.verdicts] == [(EIFFEL, "rejected")]
    assert folder.outcomes(first) == {"a.jpg": "unknown"}  # as its image


def test_confirmed_tag_stays_whatever_models_predict(folder, tmp_path):
    folder.draw("grey.jpg", None)
    folder.draw("gate.jpg", 1)
    job = folder.record()
    folder.run(job)
    folder.give(VerdictKind.CONFIRMED, "grey.jpg", "château de versailles")
    folder.give(VerdictKind.CONFIRMED, "gate.jpg", GATE)
    tiny_artifact(tmp_path / "other.pt", name="other", labels=[LABELS[0], LABELS[1]])
    folder.tag(model=add_model(folder.database, tmp_path / "other.pt"), reprocess=True)
    assert folder.accepted("grey.jpg") == {VERSAILLES: (None, None)}
    rank, score = folder.accepted("gate.jpg")[GATE]
    assert rank is not None
    assert score is not None
    assert folder.found(landmark=VERSAILLES, min_score=0.99) == ["grey.jpg"]
    assert folder.found(unknown=True) == []
    assert folder.outcomes(job) == {"grey.jpg": "tagged", "gate.jpg": "tagged"}  # as their images
    assert folder.progress(job).tagged == 2


def test_verdict_belongs_to_the_image_and_survives_its_photos(folder):
    path = folder.draw("a.jpg", 0)
    shutil.copy(path, folder.folder / "copy.jpg")
    folder.tag()
    folder.give(VerdictKind.REJECTED, "a.jpg", EIFFEL)
    folder.give(VerdictKind.CONFIRMED, "copy.jpg", GATE)
    assert folder.found(landmark=EIFFEL) == []
    assert folder.found(landmark=GATE) == ["a.jpg", "copy.jpg"]
    forget_path(folder.database, folder.folder, {})
    assert folder.verdicts() == [(None, EIFFEL, "rejected"), (None, GATE, "confirmed")]
    path.rename(folder.folder / "moved.jpg")
    folder.tag()
    assert folder.found(landmark=GATE) == ["copy.jpg", "moved.jpg"]
    assert folder.found(landmark=EIFFEL) == []


def test_photo_must_be_stored_and_classified(folder):
    folder.draw("new.jpg", 0)
    (folder.folder / "empty.jpg").write_bytes(b"")
    with pytest.raises(PhotoNotFound):
        folder.give(VerdictKind.CONFIRMED, "new.jpg", EIFFEL)
    folder.run(folder.record(folder.folder / "empty.jpg"))
    waiting = folder.record(folder.folder / "new.jpg")
    with pytest.raises(PhotoNotClassified, match="tagger tag"):
        folder.give(VerdictKind.CONFIRMED, "new.jpg", EIFFEL)
    with pytest.raises(PhotoNotClassified, match="empty"):
        folder.give(VerdictKind.CONFIRMED, "empty.jpg", EIFFEL)
    folder.run(waiting)
    with pytest.raises(LandmarkNotFound, match="Did you mean Eiffel Tower"):
        folder.give(VerdictKind.CONFIRMED, "new.jpg", "Eifel Tower")
    assert folder.count(verdicts) == 0


@pytest.fixture
def tagged_folder(folder, monkeypatch) -> Folder:
    """Seven images in two folders: six of two landmarks, one with a copy, and a grey one, in pages of two."""
    for number in range(3):
        folder.draw(f"berlin/{number}.jpg", 0, shade=number)
        folder.draw(f"paris/{number}.jpg", number % 2, shade=10 + number)
    shutil.copy(folder.folder / "berlin" / "0.jpg", folder.folder / "berlin" / "copy.jpg")
    folder.draw("berlin/grey.jpg", None, shade=30)
    folder.tag()
    monkeypatch.setattr("tagger.database.statements.PAGE", 2)
    monkeypatch.setattr(verdicts_module, "PAGE", 2)
    monkeypatch.setattr("tagger.query.find.PAGE", 2)
    return folder


@pytest.mark.postgresql
def test_verdicts_are_listed_by_landmark_folder_person_and_kind(tagged_folder):
    database, berlin = tagged_folder.database, (tagged_folder.folder / "berlin",)
    for query in (PhotoQuery(under=berlin), PhotoQuery(landmark=GATE)):
        tagged_folder.reject_all(query)
    give_verdicts(database, [berlin[0] / "grey.jpg"], GATE, VerdictKind.CONFIRMED, "bob", {})
    assert len(tagged_folder.verdicts()) == 5

    def listed_by(**options: Any) -> list[str]:
        return [Path(each.path or "").name for each in list_verdicts(database, VerdictFilter(**options))]

    assert listed_by(by="bob") == ["grey.jpg"]
    assert listed_by(verdict=VerdictKind.CONFIRMED) == ["grey.jpg"]
    assert len(listed_by(photos=PhotoQuery(landmark=GATE))) == 2
    assert listed_by(photos=PhotoQuery(landmark=GATE, under=(berlin[0].with_name("paris"),))) == ["1.jpg"]
    assert len(listed_by(photos=PhotoQuery(country="France"))) == 3


def test_newer_verdict_of_two_databases_wins(tagged_folder):
    tagged_folder.reject_all(PhotoQuery(landmark=EIFFEL))
    execute(tagged_folder.database, update(verdicts).values(given_at=MONDAY))
    same = tagged_folder.exported()
    assert len(same) == 5
    assert tagged_folder.import_(*same) == ImportedVerdicts(unchanged=5)
    other = [{**verdict, "verdict": "confirmed", "by": "bob"} for verdict in same]
    older = [{**verdict, "at": (MONDAY - timedelta(hours=1)).isoformat()} for verdict in other]
    assert tagged_folder.import_(*older) == ImportedVerdicts(older=5)
    assert tagged_folder.exported() == same
    newer = [{**verdict, "at": (MONDAY + timedelta(hours=1)).isoformat()} for verdict in other]
    assert tagged_folder.import_(*newer, dry_run=True) == ImportedVerdicts(replaced=5)
    assert tagged_folder.exported() == same
    assert tagged_folder.import_(*newer) == ImportedVerdicts(replaced=5)
    assert {(verdict["verdict"], verdict["by"]) for verdict in tagged_folder.exported()} == {
        ("confirmed", "bob")
    }
    assert tagged_folder.import_(*older, *newer, *same).unchanged == 5
    assert tagged_folder.exported() == newer


def test_verdict_on_an_unknown_image_applies_once_the_photo_is_added(folder):
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.give(VerdictKind.REJECTED, "a.jpg", EIFFEL)
    carried = folder.exported()
    folder.withdraw(VerdictKind.REJECTED, "a.jpg", EIFFEL)
    forget_path(folder.database, folder.folder, {})
    assert folder.count(contents) == 0
    for dry_run in (True, False):
        done = folder.import_(*carried, dry_run=dry_run)
        assert (done.added, done.unknown_images) == (1, 1)
        assert done.unknown_paths == [str(folder.folder / "a.jpg")]
        assert folder.count(contents) == (0 if dry_run else 1)
    assert folder.tag() == {"a.jpg": "unknown"}
    assert folder.found(landmark=EIFFEL) == []


SOUND = {"digest": "1-" + "0" * 64, "landmark": EIFFEL, "verdict": "confirmed", "at": MONDAY.isoformat()}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("no json", "it is not JSON.* line 1"),
        ("[", "it is not JSON, or ends early"),
        (json.dumps([SOUND])[:-1], "it is not JSON, or ends early .expected a comma or the end"),
        (json.dumps([SOUND] * 600, indent=0)[:-9], "it is not JSON, or ends early .* line 3600"),
        (json.dumps([SOUND]) + "\n7", "it is not JSON"),
        (f"[{json.dumps(SOUND)} {json.dumps(SOUND)}]", "expected a comma"),
        (f"[{json.dumps(SOUND)},]", "it is not JSON"),
        (f"{json.dumps(SOUND)},\n{json.dumps(SOUND)}", "it is not JSON"),
        (json.dumps([SOUND] * 1000 + [7]), "entry 1001: input should be an object"),
        ("[" + "7" * 5000 + "]", "entry 1: "),
        ("[" * 100_000, "too many levels at line 1"),
        ('["' + "a" * 3_000_000, "it is not JSON"),
        (r'["\ud800"]', "entry 1: "),
        (f"[{json.dumps(SOUND)},\n\n 7]", "entry 2: input should be an object"),
        (json.dumps([SOUND | {"digest": "abc"}]), "entry 1: digest"),
        (json.dumps([SOUND | {"landmark": None}]), "without a landmark"),
        (json.dumps([SOUND | {"landmark": ""}]), "entry 1: landmark"),
        (json.dumps([SOUND | {"verdict": "not-a-landmark"}]), "entry 1: "),
        (json.dumps([SOUND | {"verdict": "perhaps"}]), "entry 1: verdict: .*'confirmed', 'rejected'"),
        (json.dumps([SOUND | {"at": "2026-06-01T12:00:00"}]), "entry 1: at: input should have timezone info"),
        (json.dumps([SOUND | {"by": 7}]), "entry 1: by: "),
        ("[" + json.dumps(SOUND)[:-1] + ', "path": "\xff"}]', "not text in UTF-8"),
    ],
)
def test_invalid_entry_is_refused_with_its_number(text, where):
    with pytest.raises(ImportRefused, match=where):
        list(read_entries(io.BytesIO(text.encode("latin-1")), "file"))


def test_lists_and_lines_are_read_the_same_way(monkeypatch):
    many = [SOUND | {"digest": f"1-{number:064x}", "path": "é" * number} for number in range(20)]
    lines = [json.dumps(verdict, ensure_ascii=False) for verdict in many]
    of_list = ",\n ".join(lines)
    indented = json.dumps(many, indent=2)
    for text in ("\n".join(lines), f"\ufeff[{of_list}]\n", "\n\n".join(lines) + "\n", indented):
        for encoding, block_bytes in (("utf-8", 1 << 16), ("utf-8", 3), ("utf-16-le", 5)):
            monkeypatch.setattr(documents, "_BLOCK_BYTES", block_bytes)
            entries = read_entries(io.BytesIO(text.encode(encoding)), "file")
            assert [entry.path for entry in entries] == [verdict["path"] for verdict in many]


def test_a_long_import_is_read_while_it_is_stored(tagged_folder):
    many = [SOUND | {"digest": f"1-{number:064x}"} for number in range(1000)]
    source = io.BytesIO(json.dumps(many).encode())
    read_at = []

    def entries() -> Iterator[VerdictEntry]:
        for entry in read_entries(source, "file"):
            read_at.append(source.tell())
            yield entry
            if len(read_at) == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_verdicts(tagged_folder.database, entries())
    assert read_at[0] < len(source.getvalue()) / 2
    assert tagged_folder.count(verdicts) == 6  # in pages of two
    assert tagged_folder.import_(*many) == ImportedVerdicts(
        added=994, unchanged=6, unknown_images=994, unknown_paths=[each["digest"] for each in many[6:26]]
    )


def test_nothing_of_a_file_with_an_error_is_stored(tagged_folder):
    many = [SOUND | {"digest": f"1-{number:064x}"} for number in range(1000)]
    with pytest.raises(ImportRefused, match=r"entry 1001: .*Nothing of it was stored"):
        tagged_folder.import_(*many, {**SOUND, "by": 7})
    assert tagged_folder.count(verdicts) == 0


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
    assert folder.count(dismissals) == 0
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
    assert folder.count(dismissals) == 1
    give_verdicts(folder.database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.CONFIRMED, "ada", {})
    assert folder.count(dismissals) == 0
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
    assert folder.count(dismissals) == 0


def test_an_imported_confirmation_that_is_older_than_a_rejection_leaves_the_dismissal(folder):
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.dismiss("a.jpg")
    give_verdicts(folder.database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.REJECTED, "ada", {})
    digest = photo_details(folder.database, folder.folder / "a.jpg").photo.digest or ""
    confirmed = document(digest, MONDAY, "confirmed", EIFFEL)
    assert folder.import_(confirmed).older == 1
    assert folder.count(dismissals) == 1
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
