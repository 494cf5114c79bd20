"""People's words: they hold against every model, belong to the picture, and can be carried, on both databases."""

import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from artifacts import LABELS, tiny_artifact
from folders import EIFFEL, GATE, TaggedFolder
from sqlalchemy import select, update

from tagger.database import Database
from tagger.errors import LandmarkNotFound, PhotoNotKnown, PhotoNotLookedAt, VerdictsInvalid
from tagger.forgetting import forget_path
from tagger.query import PhotoQuery, find_tagged
from tagger.query.details import landmark_counts, photo_details
from tagger.registry import add_model
from tagger.tables import contents, effective_tags, landmarks, photos, verdicts
from tagger.verdicts import (
    GivenToFound,
    ImportedVerdicts,
    VerdictFilter,
    Word,
    give_to_found,
    give_verdict,
    import_verdicts,
    kept,
    list_verdicts,
    listed,
    read_entries,
    take_back,
    take_back_found,
)

VERSAILLES = "chateau-de-versailles"
MONDAY = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Judged(TaggedFolder):
    """A folder on whose photos a person gives verdicts."""

    def say(self, word: Word, name: str, landmark: str) -> None:
        give_verdict(self.database, self.folder / name, landmark, word, "ada", {})

    def take_back(self, word: Word, name: str, landmark: str) -> None:
        take_back(self.database, self.folder / name, landmark, word, {})

    def found(self, **options: object) -> list[str]:
        query = PhotoQuery(**options)  # type: ignore[arg-type]
        return sorted(Path(photo.path).name for photo in find_tagged(self.database, query))

    def accepted(self, name: str) -> dict[str, tuple[int | None, float | None]]:
        """Rank and score of every tag of the photo that counts."""
        query = (
            select(landmarks.c.slug, effective_tags.c.rank, effective_tags.c.score, effective_tags.c.accepted)
            .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
            .join(photos, photos.c.content_id == effective_tags.c.content_id)
            .where(photos.c.path == name)
        )
        with self.database.read() as connection:
            return {row.slug: (row.rank, row.score) for row in connection.execute(query) if row.accepted}

    def words(self) -> list[tuple[str | None, str, str]]:
        return [
            (each.path and Path(each.path).name, each.landmark, each.verdict)
            for each in list_verdicts(self.database, VerdictFilter())
        ]

    def carried(self) -> list[dict[str, Any]]:
        """What another database is given."""
        return [
            {**vars(each), "at": each.at.isoformat()}
            for each in list_verdicts(self.database, VerdictFilter())
        ]

    def bring(self, documents: list[dict[str, Any]], *, dry_run: bool = False) -> ImportedVerdicts:
        source = io.BytesIO(json.dumps(documents).encode())
        return import_verdicts(self.database, read_entries(source, "file"), dry_run=dry_run)


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> Judged:
    return Judged(database, tmp_path)


def test_a_rejected_tag_stays_away_though_another_model_accepts_it(folder: Judged, tmp_path: Path) -> None:
    folder.draw("a.jpg", 0)
    first = folder.record()
    folder.run(first)
    folder.say(Word.REJECTED, "a.jpg", "Eiffel Tower")
    tiny_artifact(tmp_path / "other.pt", name="other", labels=[LABELS[0], LABELS[1]], threshold=0.4)
    other = add_model(folder.database, tmp_path / "other.pt")
    assert folder.tag(model=other, again=True, threshold=0.1) == {"a.jpg": "tagged"}
    assert folder.content("a.jpg").model_id == other.id
    assert EIFFEL not in folder.accepted("a.jpg")
    assert folder.found(landmark=EIFFEL) == []
    assert folder.found(landmark=EIFFEL, any_rank=True) == []
    assert EIFFEL not in {count.landmark for count in landmark_counts(folder.database)}
    details = photo_details(folder.database, folder.folder / "a.jpg")
    assert not any(tag.accepted for tag in details.photo.tags if tag.landmark == EIFFEL)
    assert [(given.landmark, given.verdict) for given in details.verdicts] == [(EIFFEL, "rejected")]
    assert folder.outcomes(first) == {"a.jpg": "tagged"}


def test_a_confirmed_tag_is_there_whatever_models_see(folder: Judged, tmp_path: Path) -> None:
    folder.draw("grey.jpg", None)
    folder.draw("gate.jpg", 1)
    job = folder.record()
    folder.run(job)
    folder.say(Word.CONFIRMED, "grey.jpg", "château de versailles")
    folder.say(Word.CONFIRMED, "gate.jpg", GATE)
    tiny_artifact(tmp_path / "other.pt", name="other", labels=[LABELS[0], LABELS[1]])
    folder.tag(model=add_model(folder.database, tmp_path / "other.pt"), again=True)
    assert folder.accepted("grey.jpg") == {VERSAILLES: (None, None)}
    rank, score = folder.accepted("gate.jpg")[GATE]
    assert rank is not None
    assert score is not None
    assert folder.found(landmark=VERSAILLES, min_score=0.99) == ["grey.jpg"]
    assert folder.found(unknown=True) == []
    assert folder.outcomes(job)["grey.jpg"] == "unknown"
    assert folder.progress(job).unknown == 1


def test_a_word_belongs_to_the_picture_and_outlives_its_photos(folder: Judged) -> None:
    path = folder.draw("a.jpg", 0)
    shutil.copy(path, folder.folder / "copy.jpg")
    folder.tag()
    folder.say(Word.REJECTED, "a.jpg", EIFFEL)
    folder.say(Word.CONFIRMED, "copy.jpg", GATE)
    assert folder.found(landmark=EIFFEL) == []
    assert folder.found(landmark=GATE) == ["a.jpg", "copy.jpg"]
    forget_path(folder.database, folder.folder, {})
    assert folder.words() == [(None, EIFFEL, "rejected"), (None, GATE, "confirmed")]
    path.rename(folder.folder / "moved.jpg")
    folder.tag()
    assert folder.found(landmark=GATE) == ["copy.jpg", "moved.jpg"]
    assert folder.found(landmark=EIFFEL) == []


def test_the_second_word_takes_the_place_of_the_first_and_either_can_be_taken_back(folder: Judged) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.say(Word.REJECTED, "a.jpg", EIFFEL)
    folder.say(Word.CONFIRMED, "a.jpg", EIFFEL)
    assert folder.words() == [("a.jpg", EIFFEL, "confirmed")]
    folder.take_back(Word.REJECTED, "a.jpg", EIFFEL)
    assert folder.words() == [("a.jpg", EIFFEL, "confirmed")]
    folder.say(Word.REJECTED, "a.jpg", EIFFEL)
    assert folder.found() == []
    folder.take_back(Word.REJECTED, "a.jpg", EIFFEL)
    assert folder.words() == []
    assert folder.found() == ["a.jpg"]


def test_a_picture_that_only_its_word_kept_goes_with_it(folder: Judged) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.say(Word.CONFIRMED, "a.jpg", EIFFEL)
    forget_path(folder.database, folder.folder, {})
    assert folder.count(contents) == 1
    assert take_back_found(folder.database, VerdictFilter(word=Word.CONFIRMED), {}) == 1
    assert (folder.count(contents), folder.count(verdicts)) == (0, 0)


def test_a_photo_has_to_be_known_and_looked_at(folder: Judged) -> None:
    folder.draw("new.jpg", 0)
    (folder.folder / "empty.jpg").write_bytes(b"")
    with pytest.raises(PhotoNotKnown):
        folder.say(Word.CONFIRMED, "new.jpg", EIFFEL)
    folder.run(folder.record(folder.folder / "empty.jpg"))
    folder.record(folder.folder / "new.jpg")
    with pytest.raises(PhotoNotLookedAt, match="tagger tag"):
        folder.say(Word.CONFIRMED, "new.jpg", EIFFEL)
    with pytest.raises(PhotoNotLookedAt, match="empty"):
        folder.say(Word.CONFIRMED, "empty.jpg", EIFFEL)
    folder.tag()
    with pytest.raises(LandmarkNotFound, match="Did you mean eiffel-tower"):
        folder.say(Word.CONFIRMED, "new.jpg", "Eifel Tower")
    assert folder.count(verdicts) == 0


@pytest.fixture
def filled(folder: Judged, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """Six pictures of two landmarks in two folders; one of them twice, one grey. Pages of two."""
    for number in range(3):
        folder.draw(f"berlin/{number}.jpg", 0, shade=number)
        folder.draw(f"paris/{number}.jpg", number % 2, shade=10 + number)
    shutil.copy(folder.folder / "berlin" / "0.jpg", folder.folder / "berlin" / "copy.jpg")
    folder.draw("berlin/grey.jpg", None, shade=30)
    folder.tag()
    monkeypatch.setattr(kept, "PAGE", 2)
    monkeypatch.setattr(listed, "PAGE", 2)
    monkeypatch.setattr("tagger.query.find.PAGE", 2)
    monkeypatch.setattr("tagger.query.find.LEAST_PAGE", 2)
    return folder


def test_one_word_is_given_on_all_that_a_query_finds(filled: Judged) -> None:
    in_berlin = PhotoQuery(landmark=EIFFEL, under=(filled.folder / "berlin",))
    planned = give_to_found(filled.database, in_berlin, Word.REJECTED, "ada", {}, dry_run=True)
    assert filled.words() == []
    done = give_to_found(filled.database, in_berlin, Word.REJECTED, "ada", {})
    assert planned == done == GivenToFound(photos=4, tags=4, replaced=0)
    assert len(filled.words()) == 3
    assert filled.found(landmark=EIFFEL) == ["0.jpg", "2.jpg"]
    assert give_to_found(filled.database, in_berlin, Word.REJECTED, "ada", {}) == GivenToFound()


def test_without_a_landmark_the_word_is_on_every_tag_that_fits(filled: Judged) -> None:
    filled.say(Word.CONFIRMED, "paris/1.jpg", GATE)
    filled.say(Word.CONFIRMED, "paris/0.jpg", GATE)
    in_paris = PhotoQuery(under=(filled.folder / "paris",))
    done = give_to_found(filled.database, in_paris, Word.REJECTED, "ada", {})
    assert done == GivenToFound(photos=3, tags=4, replaced=2)
    assert filled.found(under=(filled.folder / "paris",)) == []


def test_a_landmark_that_was_seen_and_not_accepted_can_be_confirmed_by_query(filled: Judged) -> None:
    seen = PhotoQuery(landmark=GATE, any_rank=True, under=(filled.folder / "berlin",))
    done = give_to_found(filled.database, seen, Word.CONFIRMED, "ada", {})
    assert {landmark for _, landmark, _ in filled.words()} == {GATE}
    assert filled.found(landmark=GATE, under=(filled.folder / "berlin",)) == filled.found(
        landmark=GATE, any_rank=True, under=(filled.folder / "berlin",)
    )
    assert done.photos == done.tags == 5


def test_words_are_listed_and_taken_back_by_landmark_folder_person_and_kind(filled: Judged) -> None:
    for query in (PhotoQuery(under=(filled.folder / "berlin",)), PhotoQuery(landmark=GATE)):
        give_to_found(filled.database, query, Word.REJECTED, "ada", {})
    give_verdict(filled.database, filled.folder / "berlin" / "grey.jpg", GATE, Word.CONFIRMED, "bob", {})
    assert len(filled.words()) == 5

    def listed_by(**options: Any) -> list[str]:
        return [
            Path(each.path or "").name for each in list_verdicts(filled.database, VerdictFilter(**options))
        ]

    assert listed_by(by="bob") == ["grey.jpg"]
    assert listed_by(word=Word.CONFIRMED) == ["grey.jpg"]
    assert len(listed_by(photos=PhotoQuery(landmark=GATE))) == 2
    assert listed_by(photos=PhotoQuery(landmark=GATE, under=(filled.folder / "paris",))) == ["1.jpg"]
    assert len(listed_by(photos=PhotoQuery(country="France"))) == 3
    in_berlin = VerdictFilter(
        word=Word.REJECTED, photos=PhotoQuery(landmark=EIFFEL, under=(filled.folder / "berlin",))
    )
    assert take_back_found(filled.database, in_berlin, {}, dry_run=True) == 3
    assert take_back_found(filled.database, in_berlin, {}) == 3
    assert len(filled.words()) == 2
    assert filled.found(landmark=EIFFEL, under=(filled.folder / "berlin",)) == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
        "copy.jpg",
    ]


def _moved_back(folder: Judged, at: datetime) -> None:
    with folder.database.write() as connection:
        connection.execute(update(verdicts).values(given_at=at))


def test_of_two_databases_the_newer_word_holds(filled: Judged) -> None:
    give_to_found(filled.database, PhotoQuery(landmark=EIFFEL), Word.REJECTED, "ada", {})
    _moved_back(filled, MONDAY)
    same = filled.carried()
    assert len(same) == 5
    assert filled.bring(same) == ImportedVerdicts(unchanged=5)
    other = [{**each, "verdict": "confirmed", "by": "bob"} for each in same]
    older = [{**each, "at": (MONDAY - timedelta(hours=1)).isoformat()} for each in other]
    assert filled.bring(older) == ImportedVerdicts(older=5)
    assert filled.carried() == same
    newer = [{**each, "at": (MONDAY + timedelta(hours=1)).isoformat()} for each in other]
    assert filled.bring(newer, dry_run=True) == ImportedVerdicts(replaced=5)
    assert filled.carried() == same
    assert filled.bring(newer) == ImportedVerdicts(replaced=5)
    assert {(each["verdict"], each["by"]) for each in filled.carried()} == {("confirmed", "bob")}
    assert filled.bring([*older, *newer, *same]).unchanged == 5
    assert filled.carried() == newer


def test_a_word_waits_for_its_picture(folder: Judged) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.say(Word.REJECTED, "a.jpg", EIFFEL)
    carried = folder.carried()
    folder.take_back(Word.REJECTED, "a.jpg", EIFFEL)
    forget_path(folder.database, folder.folder, {})
    assert folder.count(contents) == 0
    for dry_run in (True, False):
        done = folder.bring(carried, dry_run=dry_run)
        assert (done.given, done.pictures) == (1, 1)
        assert done.seen_at == [str(folder.folder / "a.jpg")]
        assert folder.count(contents) == (0 if dry_run else 1)
    assert folder.tag() == {"a.jpg": "tagged"}
    assert folder.found(landmark=EIFFEL) == []


def test_a_word_on_a_landmark_that_no_model_knows_is_named_and_left_out(folder: Judged) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.say(Word.CONFIRMED, "a.jpg", GATE)
    (carried,) = folder.carried()
    done = folder.bring([{**carried, "landmark": "atlantis"}, carried])
    assert dict(done.landmarks) == {"atlantis": 1}
    assert (done.given, done.unchanged) == (0, 1)


SOUND = {"digest": "1-" + "0" * 64, "landmark": EIFFEL, "verdict": "confirmed", "at": MONDAY.isoformat()}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("no json", "entry 1, line 1: there is no object"),
        ("[", "entry 1, line 1: it ends early"),
        (json.dumps([SOUND])[:-1], "entry 2, line 1: it ends early"),
        (json.dumps([SOUND]) + "x", "entry 2, line 1: there is no object"),
        (f"[{json.dumps(SOUND)},\n\n 7]", "entry 2, line 3: there is no object"),
        (f"[{json.dumps(SOUND)},\n{{}}]", "entry 2, line 2: its digest"),
        (json.dumps([SOUND | {"digest": "abc"}]), "entry 1, line 1: its digest"),
        (json.dumps([SOUND | {"landmark": None}]), "entry 1, line 1: its landmark"),
        (json.dumps([SOUND | {"verdict": "perhaps"}]), "its verdict is neither"),
        (json.dumps([SOUND | {"verdict": []}]), "its verdict is neither"),
        (json.dumps([SOUND | {"at": "yesterday"}]), "at is no date"),
        (json.dumps([SOUND | {"at": "2026-06-01T12:00:00"}]), "at is no date with a time zone"),
        (json.dumps([SOUND | {"by": 7}]), "by and path"),
        ("[" + json.dumps(SOUND)[:-1] + ', "path": "\xff"}]', "not UTF-8"),
    ],
)
def test_what_is_no_verdict_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(VerdictsInvalid, match=where):
        list(read_entries(io.BytesIO(text.encode("latin-1")), "file"))


@pytest.mark.parametrize("between", [",\n ", "\n", ""])
def test_lists_and_lines_are_read_alike(between: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.verdicts.entries.PART", 7)
    many = [SOUND | {"digest": f"1-{number:064x}", "path": "é" * number} for number in range(20)]
    lines = between.join(json.dumps(each, ensure_ascii=False) for each in many)
    for text in (lines, f"\ufeff[{lines}]\n"):
        entries = list(read_entries(io.BytesIO(text.encode()), "file"))
        assert [entry.path for entry in entries] == [each["path"] for each in many]
