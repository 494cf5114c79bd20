"""Exporting and importing a database: the same rows on either database, or nothing at all."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from sqlalchemy import delete, insert, select, update
from support.artifacts import tiny_artifact
from support.colour_folders import EIFFEL, TaggedFolder
from support.empty_databases import empty_database
from support.exports import exported, imported, with_row
from support.teaching import draw_place, teachable_artifact

from tagger.database import diagnostics
from tagger.database.connection import Database, open_database, upgrade_database
from tagger.database.enums import Runner, VerdictKind
from tagger.database.tables import (
    cameras,
    chunks,
    classifications,
    contents,
    landmarks,
    ledgers,
    metadata,
    metadata_writes,
    models,
    photos,
    position_changes,
    positions,
    schedule_runs,
    schedules,
    track_parts,
    tracks,
    trip_edits,
    workers,
)
from tagger.errors import DatabaseNotEmpty, ImportRefused
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import resume
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.catalog.registered_models import add_model, list_models
from tagger.library.teaching.learning import update_taught
from tagger.library.verdicts.service import give_verdict
from tagger.library.verdicts.store import dismiss_photos, star_photos
from tagger.metadata.splices import Splice, inverse_of
from tagger.photos.paths import path_to_json
from tagger.transfer import export_reader
from tagger.transfer.exporter import export_database, exported_columns, exported_tables
from tagger.transfer.integrity import check_database
from tagger.transfer.rows import column_type

NOW = datetime(2026, 6, 1, 12, 0, 30, 123456, tzinfo=UTC)
A_DIGEST = "a1" * 32
ODD = os.fsdecode(b"caf\xe9 \n.jpg")


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> TaggedFolder:
    """A folder with photos in every state, verdicts, a taught landmark, a finished and an open job, and a schedule."""
    folder = TaggedFolder(database, tmp_path, teachable_artifact)
    for number in range(3):
        folder.draw(f"{number}.jpg", number, shade=number)
    folder.draw("grey.jpg", None)
    folder.draw("naïve 写真.jpg", 1, shade=9)
    shutil.copy(folder.folder / "0.jpg", folder.folder / ODD)
    (folder.folder / "broken.jpg").write_bytes(b"not a picture")
    church = [draw_place(folder.folder / f"church-{seed}.jpg", 0, seed=seed) for seed in range(4)]
    folder.tag()
    _teach(folder, church[:3])
    give_verdict(database, folder.folder / "0.jpg", EIFFEL, VerdictKind.REJECTED, "ada", {})
    give_verdict(database, folder.folder / "grey.jpg", EIFFEL, VerdictKind.CONFIRMED, None, {})
    dismiss_photos(database, [folder.photo("2.jpg").id], "ada")
    star_photos(database, [folder.photo("2.jpg").id], "ada", starred=True)
    (folder.folder / "1.jpg").unlink()
    tiny_artifact(tmp_path / "other.pt", name="other")
    other = add_model(database, tmp_path / "other.pt")
    with database.write() as connection:
        of_image = {"content_id": 1, "model_id": other.id, "top_k": 5, "threshold": 0.5}
        connection.execute(insert(classifications).values(of_image))
        noon = datetime(2024, 5, 1, 12)  # noqa: DTZ001 - local time
        renamed = {"kind": "rename", "camera_id": 1, "taken_at": noon, "name": "Easter"}
        connection.execute(insert(trip_edits).values(renamed))
    folder.record(reprocess=True, others=[other], runner=Runner.WORKERS)
    _insert_schedule(database)
    _insert_track(database)
    return folder


@pytest.fixture
def few(database: Database, tmp_path: Path) -> TaggedFolder:
    """A folder with three tagged photos."""
    return _tagged(database, tmp_path)


def _tagged(database: Database, path: Path) -> TaggedFolder:
    folder = TaggedFolder(database, path)
    for number in range(3):
        folder.draw(f"{number}.jpg", number, shade=number)
    folder.tag()
    return folder


def _teach(folder: TaggedFolder, examples: list[Path]) -> None:
    with folder.database.write() as connection:
        church = add_landmark(connection, NewLandmark("Our church"))
    for example in examples:
        give_verdict(folder.database, example, church.slug, VerdictKind.CONFIRMED, "ada", {})
    update_taught(folder.database, folder.model)


def _insert_track(database: Database) -> None:
    """A track, a camera and its companion, two trips that were merged, and a photo's position."""
    points = np.array([[NOW.timestamp(), 48.0, 2.0]], "<f8").tobytes()
    place = {"latitude": 48.0, "longitude": 2.0, "country": "France", "region": None, "city": "Paris"}
    with database.write() as connection:
        camera = {"key": "Canon EOS 5D 1", "name": "Canon EOS 5D", "clock_offset_s": -3600}
        first = insert(cameras).values(**camera, clock_source="given").returning(cameras.c.id)
        group = connection.execute(first).scalar_one()
        connection.execute(insert(cameras).values(key="Pixel 3", name="Pixel 3", companions_id=group))
        connection.execute(update(cameras).where(cameras.c.id == group).values(companions_id=group))
        merge = {
            "kind": "merge",
            "taken_at": NOW.replace(tzinfo=None),
            "other_taken_at": NOW.replace(tzinfo=None),
        }
        connection.execute(insert(trip_edits).values(**merge, camera_id=group, other_camera_id=group))
        connection.execute(insert(tracks).values(digest=A_DIGEST, name="a.gpx", points=1, added_at=NOW))
        part = {"track_id": 1, "part": 0, "first_at": NOW, "last_at": NOW}
        connection.execute(insert(track_parts).values(**part, data=points))
        connection.execute(delete(positions))
        connection.execute(insert(position_changes).values(content_id=1))
        evidence = {"track": 1}
        connection.execute(
            insert(positions).values(photo_id=1, **place, error_m=20.0, source="track", evidence=evidence)
        )


def _insert_schedule(database: Database) -> None:
    row = {
        "name": "nightly",
        "cron": "0 3 * * *",
        "time_zone": "UTC",
        "selection": "untagged",
        "options": {"under": [path_to_json(ODD)]},
    }
    with database.write() as connection:
        schedule = connection.execute(
            insert(schedules)
            .values(**row, priority="bulk", paused=False, created_at=NOW, next_due=NOW)
            .returning(schedules.c.id)
        ).scalar_one()
        connection.execute(
            insert(schedule_runs).values(schedule_id=schedule, due_at=NOW, started_at=NOW, job_id=1)
        )
        write = {
            "photo_id": 1,
            "job_id": 1,
            "image_digest": f"1-{A_DIGEST}",
            "target": "embed",
            "file": "a.jpg",
        }
        inverse = inverse_of(b"original", [Splice(3, 5, b"new")])
        digests = {"written_digest": A_DIGEST, "base_digest": A_DIGEST, "undo": inverse, "landmarks": ["a"]}
        connection.execute(insert(metadata_writes).values(**write, **digests, written_at=NOW, complete=True))
        connection.execute(insert(workers).values(name="w", device="cpu", started_at=NOW, heartbeat_at=1.0))


@pytest.fixture
def new_database(tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Creates empty SQLite databases."""
    opened: list[Database] = []

    def make() -> Database:
        opened.append(open_database(f"sqlite:///{tmp_path}/fresh-{len(opened)}.sqlite"))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All exported rows, by primary key. Each database has a ledger id of its own."""
    with database.read() as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(
                    select(*exported_columns(table)).order_by(*table.primary_key.columns)
                )
            ]
            for table in exported_tables()
            if table is not ledgers
        }


@pytest.mark.postgresql
def test_every_row_is_the_same_after_a_round_trip_through_the_other_database(
    folder: TaggedFolder,
    new_database: Callable[[], Database],
    empty_postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnostics, "PAGE", 2)
    monkeypatch.setattr(export_reader, "PAGE", 3)
    upgrade_database(empty_postgres_url)
    other, restored = open_database(empty_postgres_url), new_database()
    assert all(rows(folder.database).values()), "every table must have rows"
    imported(moved := new_database(), exported(folder.database))  # which pauses jobs and schedules
    before = rows(moved)
    report = imported(other, exported(moved))
    assert {name: len(table_rows) for name, table_rows in before.items()} | {"ledgers": 1} == report.rows
    imported(restored, exported(other))
    assert rows(other) == rows(restored) == before
    for database in (other, restored):
        assert list(check_database(database)) == []
    other.close()


def test_tagging_continues_in_an_imported_database(
    few: TaggedFolder, new_database: Callable[[], Database]
) -> None:
    content, few.database = exported(few.database), new_database()
    imported(few.database, content)
    add_model(few.database, few.folder.parent / "tiny.pt")
    few.draw("new.jpg", 2, shade=20)
    outcomes = few.tag()
    assert (outcomes["new.jpg"], outcomes["0.jpg"]) == ("tagged", "skipped")


def test_claims_are_not_exported(few: TaggedFolder, new_database: Callable[[], Database]) -> None:
    job = few.record(reprocess=True, runner=Runner.WORKERS)
    assert claim_next_chunk(few.database, job, Runner.WORKERS, "w") is not None
    other = new_database()
    imported(other, exported(few.database))
    with other.read() as connection:
        chunk = connection.execute(select(chunks).where(chunks.c.job_id == job)).one()
        assert (chunk.token, chunk.lease_until, chunk.worker) == (None, None, None)
        assert chunk.attempts == 0
        assert connection.execute(select(workers)).all() == []
    assert claim_next_chunk(other, job, Runner.WORKERS, "w") is None
    resume(other, job)
    assert claim_next_chunk(other, job, Runner.WORKERS, "w") is not None


class WritingFile(io.BytesIO):
    """A file that changes the database while it is written."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def write(self, content: Any) -> int:
        with self._database.write() as connection:
            connection.execute(insert(contents).values(digest=f"1-{self.tell()}"))
            connection.execute(update(photos).values(size_bytes=photos.c.size_bytes + 1))
        return super().write(content)


@pytest.mark.postgresql
def test_an_export_is_a_snapshot(
    few: TaggedFolder, new_database: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "PAGE", 2)
    before, out, other = rows(few.database), WritingFile(few.database), new_database()
    export_database(few.database, out, "1.2.3")
    assert len(rows(few.database)["contents"]) > 2 * len(before["contents"])
    imported(other, out.getvalue())
    assert rows(other)["contents"] == before["contents"]
    assert rows(other)["photos"] == before["photos"]


def test_databases_of_one_export_have_ledger_ids_of_their_own(
    few: TaggedFolder, new_database: Callable[[], Database]
) -> None:
    content, databases = exported(few.database), [new_database(), new_database()]
    assert [imported(each, content).ledger for each in databases] == [each.ledger_id for each in databases]
    for database in databases:
        with database.read() as connection:
            assert connection.scalars(select(ledgers.c.ledger_id)).all() == [database.ledger_id]
    assert len({few.database.ledger_id, *(each.ledger_id for each in databases)}) == 3


def test_a_database_with_rows_is_refused(
    sound_file: bytes, database: Database, new_database: Callable[[], Database]
) -> None:
    imported(database, sound_file)
    for dry_run in (True, False):
        with pytest.raises(DatabaseNotEmpty, match="3 photos"):
            imported(database, sound_file, dry_run=dry_run)
    other = new_database()
    with other.write() as connection:
        add_landmark(connection, NewLandmark("Our church"))
    with pytest.raises(DatabaseNotEmpty, match="1 landmark"):
        imported(other, sound_file)


def test_a_database_with_only_the_shipped_model_is_empty(
    sound_file: bytes, new_database: Callable[[], Database]
) -> None:
    other = new_database()
    row = {"digest": "d", "name": "shipped", "manifest": {}, "registered_at": NOW, "in_use": False}
    with other.write() as connection:
        connection.execute(insert(models).values(row))
        connection.execute(insert(landmarks).values(slug="s", name="S"))
    imported(other, sound_file)
    assert "s" not in {row[1] for row in rows(other)["landmarks"]}
    assert [model.name for model in list_models(other) if not model.shipped] == ["tiny"]
    third = new_database()
    with third.write() as connection:
        connection.execute(insert(models).values(row | {"file": "/mine.pt"}))
    with pytest.raises(DatabaseNotEmpty, match=r"it contains 1 model\."):
        imported(third, sound_file)


def test_a_dry_run_checks_the_whole_file_and_writes_nothing(sound_file: bytes, database: Database) -> None:
    empty = rows(database)
    assert imported(database, sound_file, dry_run=True).rows["photos"] == 3
    with pytest.raises(ImportRefused, match="it ends early"):
        imported(database, sound_file[:-1], dry_run=True)
    assert rows(database) == empty


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "ends early, after 0 lines"),
    "no json": (lambda _: b"hello\n", "line 1 is not a row"),
    "another file": (lambda _: b'{"a": 1}\n', "it is not an exported database"),
    "another schema": (lambda c: c.replace(b'"schema":"', b'"schema":"9', 1), "written by tagger 1.2.3"),
    "half a line": (lambda c: c[: len(c) // 2], "it ends early"),
    "a changed name": (lambda c: c.replace(b"Eiffel Tower", b"Eiffel Toward"), "checksum"),
    "data after the end": (lambda c: c + c, "data follows"),
    "an unknown table": (lambda c: c.replace(b'"table":"photos"', b'"table":"pictures"'), "is not a row"),
    "an unknown column": (lambda c: with_row(c, "photos", lambda row: row.update(more=1)), "is not a row"),
    "a missing content": (
        lambda c: with_row(c, "photos", lambda row: row.update(content_id=999)),
        "refers to a missing row",
    ),
    "a duplicate row": (
        lambda c: with_row(c, "tags", lambda row: row.update(content_id=2, rank=1)),
        "is duplicated",
    ),
}


@pytest.fixture(scope="module")
def sound_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The export of a few tagged photos."""
    path = tmp_path_factory.mktemp("exported")
    with empty_database(path) as database:
        _tagged(database, path)
        return exported(database)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_and_imports_nothing(
    damage: str, database: Database, sound_file: bytes
) -> None:
    damage_file, reason = DAMAGE[damage]
    empty = rows(database)
    with pytest.raises(ImportRefused, match=reason):
        imported(database, damage_file(sound_file))
    assert rows(database) == empty


def test_every_exported_column_has_a_type_that_knows_whether_it_may_be_null() -> None:
    for table in exported_tables():
        for column in exported_columns(table):
            assert (type(None) in get_args(column_type(column))) == column.nullable, column


def test_all_tables_are_exported_except_those_of_one_place_and_what_follows_from_others() -> None:
    local = {
        "effective_tags",
        "workers",
        "backend_selections",
        "access_tokens",
        "users",
        "page_sessions",
        "sign_in_attempts",
        "shares",
        "share_photos",
        "audit_log",
    }
    assert {table.name for table in exported_tables()} == set(metadata.tables) - local
