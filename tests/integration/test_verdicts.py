"""Verdicts are final, belong to the image, and can be exported and imported, on both databases."""

import io
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.artifacts import LABELS, tiny_artifact
from support.colour_folders import EIFFEL, GATE, TaggedFolder
from support.databases import execute

from tagger import texts as documents, verdicts as verdicts_module
from tagger.database import VerdictKind
from tagger.database.tables import contents, effective_tags, landmarks, photos, verdicts
from tagger.errors import ImportRefused, LandmarkNotFound, PhotoNotClassified, PhotoNotFound
from tagger.query.counts import landmark_counts
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.registry import add_model
from tagger.roots import forget_path
from tagger.verdicts import VerdictFilter, give_verdicts, list_verdicts, withdraw_verdicts
from tagger.verdicts.importing import ImportedVerdicts, VerdictEntry, import_verdicts, read_entries

VERSAILLES = "chateau-de-versailles"
MONDAY = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class VerdictFolder(TaggedFolder):
    def give(self, kind: VerdictKind, name: str, landmark: str) -> None:
        give_verdicts(self.database, [self.folder / name], landmark, kind, "ada", {})

    def reject_all(self, query: PhotoQuery) -> None:
        for photo in list(find_tagged(self.database, query)):
            for tag in photo.tags:
                give_verdicts(self.database, [photo.id], tag.landmark, VerdictKind.REJECTED, "ada", {})

    def withdraw(self, kind: VerdictKind, name: str, landmark: str) -> None:
        withdraw_verdicts(self.database, [self.folder / name], landmark, kind, {})

    def photo_names(self, **options: object) -> list[str]:
        query = PhotoQuery(**options)
        return sorted(Path(photo.path).name for photo in find_tagged(self.database, query))

    def accepted(self, name: str) -> dict[str, tuple[int | None, float | None]]:
        query = (
            select(landmarks.c.slug, effective_tags.c.rank, effective_tags.c.score, effective_tags.c.accepted)
            .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
            .join(photos, photos.c.content_id == effective_tags.c.content_id)
            .where(photos.c.path == name)
        )
        with self.database.read() as connection:
            return {row.slug: (row.rank, row.score) for row in connection.execute(query) if row.accepted}

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

    def import_(self, documents: list[dict[str, Any]], *, dry_run: bool = False) -> ImportedVerdicts:
        source = io.BytesIO(json.dumps(documents).encode())
        return import_verdicts(self.database, read_entries(source, "file"), dry_run=dry_run)


@pytest.fixture
def folder(database, tmp_path) -> VerdictFolder:
    return VerdictFolder(database, tmp_path)


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
    assert folder.photo_names(landmark=EIFFEL) == []
    assert folder.photo_names(landmark=EIFFEL, any_rank=True) == []
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
    assert folder.photo_names(landmark=VERSAILLES, min_score=0.99) == ["grey.jpg"]
    assert folder.photo_names(unknown=True) == []
    assert folder.outcomes(job) == {"grey.jpg": "tagged", "gate.jpg": "tagged"}  # as their images
    assert folder.progress(job).tagged == 2


def test_verdict_belongs_to_the_image_and_survives_its_photos(folder):
    path = folder.draw("a.jpg", 0)
    shutil.copy(path, folder.folder / "copy.jpg")
    folder.tag()
    folder.give(VerdictKind.REJECTED, "a.jpg", EIFFEL)
    folder.give(VerdictKind.CONFIRMED, "copy.jpg", GATE)
    assert folder.photo_names(landmark=EIFFEL) == []
    assert folder.photo_names(landmark=GATE) == ["a.jpg", "copy.jpg"]
    forget_path(folder.database, folder.folder, {})
    assert folder.verdicts() == [(None, EIFFEL, "rejected"), (None, GATE, "confirmed")]
    path.rename(folder.folder / "moved.jpg")
    folder.tag()
    assert folder.photo_names(landmark=GATE) == ["copy.jpg", "moved.jpg"]
    assert folder.photo_names(landmark=EIFFEL) == []


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
def tagged_folder(folder, monkeypatch) -> VerdictFolder:
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
    assert tagged_folder.import_(same) == ImportedVerdicts(unchanged=5)
    other = [{**verdict, "verdict": "confirmed", "by": "bob"} for verdict in same]
    older = [{**verdict, "at": (MONDAY - timedelta(hours=1)).isoformat()} for verdict in other]
    assert tagged_folder.import_(older) == ImportedVerdicts(older=5)
    assert tagged_folder.exported() == same
    newer = [{**verdict, "at": (MONDAY + timedelta(hours=1)).isoformat()} for verdict in other]
    assert tagged_folder.import_(newer, dry_run=True) == ImportedVerdicts(replaced=5)
    assert tagged_folder.exported() == same
    assert tagged_folder.import_(newer) == ImportedVerdicts(replaced=5)
    assert {(verdict["verdict"], verdict["by"]) for verdict in tagged_folder.exported()} == {
        ("confirmed", "bob")
    }
    assert tagged_folder.import_([*older, *newer, *same]).unchanged == 5
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
        done = folder.import_(carried, dry_run=dry_run)
        assert (done.added, done.unknown_images) == (1, 1)
        assert done.unknown_paths == [str(folder.folder / "a.jpg")]
        assert folder.count(contents) == (0 if dry_run else 1)
    assert folder.tag() == {"a.jpg": "unknown"}
    assert folder.photo_names(landmark=EIFFEL) == []


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
    assert tagged_folder.import_(many) == ImportedVerdicts(
        added=994, unchanged=6, unknown_images=994, unknown_paths=[each["digest"] for each in many[6:26]]
    )


def test_nothing_of_a_file_with_an_error_is_stored(tagged_folder):
    many = [SOUND | {"digest": f"1-{number:064x}"} for number in range(1000)]
    with pytest.raises(ImportRefused, match=r"entry 1001: .*Nothing of it was stored"):
        tagged_folder.import_([*many, {**SOUND, "by": 7}])
    assert tagged_folder.count(verdicts) == 0
