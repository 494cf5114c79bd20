"""Copies of whole databases between SQLite and PostgreSQL: every row arrives, or none."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Row, Table, delete, insert, select, text, update
from support.artifacts import tiny_artifact
from support.colour_folders import EIFFEL, TaggedFolder
from support.teaching import draw_place, teachable_artifact

from tagger import transfer
from tagger.database.connection import Database, open_database
from tagger.database.enums import Runner, VerdictKind
from tagger.database.schema import bulk_load
from tagger.database.tables import (
    cameras,
    changed_days,
    classifications,
    ledgers,
    metadata_writes,
    positions,
    schedule_runs,
    schedules,
    track_parts,
    tracks,
    trip_edits,
    verdicts,
    workers,
)
from tagger.errors import Conflict
from tagger.landmarks.edits import NewLandmark, add_landmark
from tagger.metadata.formats.jpeg import Splice, inverse_of
from tagger.photos.paths import path_to_json
from tagger.registry.registered_models import add_model
from tagger.tags.settlement import settle
from tagger.teaching.learning import update_taught
from tagger.transfer import TABLES, check_database, copy_database
from tagger.verdicts.verdicts import dismiss_photos, give_verdicts, star_photos

NOW = datetime(2026, 6, 1, 12, 0, 30, 123456, tzinfo=UTC)
A_DIGEST = "a1" * 32
ODD = os.fsdecode(b"caf\xe9 \n.jpg")


@pytest.fixture
def folder(tmp_path) -> Iterator[TaggedFolder]:
    with closing(open_database(f"sqlite:///{tmp_path}/library.sqlite")) as database:
        yield _filled(database, tmp_path)


def _filled(database: Database, tmp_path: Path) -> TaggedFolder:
    """Photos in every state, verdicts, a taught landmark, two jobs, a schedule."""
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
    give_verdicts(database, [folder.folder / "0.jpg"], EIFFEL, VerdictKind.REJECTED, "ada", {})
    give_verdicts(database, [folder.folder / "grey.jpg"], EIFFEL, VerdictKind.CONFIRMED, None, {})
    dismiss_photos(database, [folder.photo("2.jpg").id], "ada")
    star_photos(database, [folder.photo("2.jpg").id], "ada", starred=True)
    (folder.folder / "1.jpg").unlink()
    tiny_artifact(tmp_path / "other.pt", name="other")
    other = add_model(database, tmp_path / "other.pt")
    with database.write() as connection:
        of_image = {"content_id": 1, "model_id": other.id, "top_k": 5, "threshold": 0.5}
        connection.execute(insert(classifications).values(of_image))
        settle(connection, [1])
        noon = datetime(2024, 5, 1, 12)  # noqa: DTZ001 - local time
        renamed = {"kind": "rename", "camera_id": 1, "taken_at": noon, "name": "Easter"}
        connection.execute(insert(trip_edits).values(renamed))
    folder.record(reprocess=True, others=[other], runner=Runner.WORKERS)
    _insert_schedule(database)
    _insert_track(database)
    return folder


def _teach(folder: TaggedFolder, examples: list[Path]) -> None:
    church = add_landmark(folder.database, NewLandmark("Our church"))
    for example in examples:
        give_verdicts(folder.database, [example], church.slug, VerdictKind.CONFIRMED, "ada", {})
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
        connection.execute(insert(changed_days).values(step="positions", content_id=1))
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


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All rows that are copied, by primary key. Each database has a ledger id of its own."""
    with database.read() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in TABLES
            if table is not ledgers
        }


@pytest.mark.postgresql
def test_every_row_is_the_same_after_the_way_to_postgresql_and_back(
    folder, empty_postgres_url, tmp_path, monkeypatch
):
    monkeypatch.setattr("tagger.database.diagnostics.PAGE", 2)
    before = rows(folder.database)
    filled = [name for name, stored in before.items() if stored]
    assert len(filled) > 30, sorted(before.keys() - set(filled))
    counts = copy_database(folder.database, empty_postgres_url)
    assert counts == {name: len(stored) for name, stored in before.items()} | {"ledgers": 1}
    back_url = f"sqlite:///{tmp_path}/back.sqlite"
    with closing(open_database(empty_postgres_url)) as copy:
        assert rows(copy) == before
        assert list(check_database(copy)) == []
        assert copy.ledger_id != folder.database.ledger_id
        copy_database(copy, back_url)
        add_landmark(copy, NewLandmark("New place"))  # sequences continue
    with closing(open_database(back_url)) as back:
        assert rows(back) == before
        assert list(check_database(back)) == []


def test_a_database_with_rows_is_refused(folder, tmp_path):
    url = f"sqlite:///{tmp_path}/other.sqlite"
    with closing(open_database(url)) as other:
        add_landmark(other, NewLandmark("Our church"))
        before = rows(other)
        with pytest.raises(Conflict, match="contains 1 audit log, 1 landmark"):
            copy_database(folder.database, url)
        assert rows(other) == before


def test_a_copy_that_misses_rows_stores_nothing(folder, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/copy.sqlite"
    insert_all = transfer._insert

    def lose(connection: Connection, table: Table, page: Sequence[Row[Any]]) -> None:
        insert_all(connection, table, page[1:] if table is verdicts else page)

    monkeypatch.setattr(transfer, "_insert", lose)
    with pytest.raises(Conflict, match="rows of verdicts"):
        copy_database(folder.database, url)
    with closing(open_database(url)) as copy:
        assert not any(rows(copy).values())


@pytest.mark.postgresql
def test_rows_are_loaded_before_indexes_and_keys_are_created(database):
    with database.write() as connection:
        schema = _parts(connection)
        with bulk_load(connection):
            assert not _parts(connection)
        assert _parts(connection) == schema
        assert len(schema) > 40


def _parts(connection: Connection) -> set[str]:
    """The statements that create the indexes, foreign keys and triggers, except what a key implies."""
    if connection.dialect.name == "sqlite":
        every = "SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql > ''"
        return set(connection.scalars(text(every)))
    queries = (
        "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'ix%'",
        "SELECT pg_get_constraintdef(oid) || conrelid FROM pg_constraint WHERE contype = 'f'",
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'",
    )
    return {part for query in queries for part in connection.scalars(text(query))}
