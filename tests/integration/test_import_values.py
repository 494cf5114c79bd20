"""Rows that this program never stores are refused by `tagger db import`, and found by `tagger db check`."""

import base64
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from support.empty_databases import create_sqlite_database
from support.exports import exported, fill_library, with_checksum, with_row

from tagger.cli.output import files
from tagger.database.connection import Database, open_database
from tagger.errors import ImportRefused
from tagger.transfer import export_reader
from tagger.transfer.exporter import encode_line
from tagger.transfer.importer import import_database
from tagger.transfer.integrity import check_database, connection_problems


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("library")
    database = open_database(create_sqlite_database(folder / "tagger.sqlite"))
    fill_library(database, folder)
    yield database
    database.close()


@pytest.fixture(scope="module")
def export(library: Database) -> bytes:
    return exported(library)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    database = open_database(create_sqlite_database(tmp_path / "tagger.sqlite"))
    yield database
    database.close()


def refusal(database: Database, content: bytes) -> str:
    with pytest.raises(ImportRefused) as refused:
        import_database(database, io.BytesIO(content), "the file", dry_run=True)
    return str(refused.value)


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("photos", {"id": 0}, "id: Input should be greater"),
    ("photos", {"gone_since": "9999-12-31T23:59:59-12:00"}, "gone_since"),
    ("photos", {"taken_at": "2026-01-01T00:00:00+01:00"}, "taken_at"),
    ("photos", {"path": "../secret.jpg"}, "path does not stay inside its root"),
    ("photos", {"path_bytes": base64.b64encode(b"../\xe9").decode()}, "are not the same path"),
    ("photos", {"latitude": 91.0, "longitude": 0.0}, "latitude"),
    ("photos", {"failure_kind": "dull"}, "failure_kind"),
    ("photos", {"path": "a\0.jpg"}, "no null character"),
    ("contents", {"outcome": "perhaps"}, "outcome"),
    ("contents", {"digest": "../../x"}, "digest"),
    ("tags", {"position_odds": float("nan"), "distance_m": 1.0}, "position_odds"),
    ("tags", {"position_odds": 2.0}, "position_odds, distance_m are neither"),
    ("roots", {"location": "photos"}, "location is not an absolute path"),
    ("landmarks", {"slug": "Eiffel Tower"}, "slug"),
    ("landmarks", {"name": "a\x1b[2J"}, "name: it has a line break or another control character"),
    ("landmarks", {"names": {"de": "a\nb"}}, "name: it has a line break or another control character"),
    ("landmarks", {"names": {"no language": "a"}}, "names.no language"),
    ("landmarks", {"aliases": ["a" * 201]}, "alias: it has 201 characters, more than 200"),
    ("landmarks", {"aliases": ["a"] * 1001}, "alias: there are 1001, more than 1000"),
    ("landmarks", {"city": "a\u2028b"}, "city: it has a line break or another control character"),
    ("models", {"manifest": {}}, "manifest: name: Field required"),
    ("jobs", {"options": {"paths": 7}}, "its paths are not a list"),
    ("jobs", {"note_message": {"code": "bored", "values": {}}}, "not the message of a note"),
    ("jobs", {"note_message": {"code": "roots-missing", "values": {}}}, "not the message of a note"),
    (
        "jobs",
        {"options": {"write": {"to": "embed", "gps": False, "description": False, "language": "a b"}}},
        "its metadata options",
    ),
    ("jobs", {"options": {}, "kind": "write"}, "it has no metadata options"),
    ("jobs", {"options": {"what": "all", "landmark": 7}, "kind": "backfill"}, "landmark is not a list"),
    ("chunks", {"last": 2**31}, "last"),
    ("chunks", {"tagged": 2}, "more outcomes than it has items"),
    ("job_items", {"outcome": "failed"}, "reason is missing"),
    ("metadata_writes", {"file": "../a.jpg"}, "file is not the name of a file"),
    ("metadata_writes", {"undo": "AAAA"}, "undo: unknown version"),
    ("schedules", {"cron": "0 0 30 2 *"}, "cron expression"),
    ("schedules", {"until": "25:00"}, "not a time of day"),
    ("schedules", {"time_zone": "../../etc/passwd"}, "there is no time zone"),
    ("schedules", {"options": {"scan": "/"}}, "scan is not a list"),
    ("schedules", {"options": {"taken_after": "2026-01-01T00:00+01:00"}}, "taken_after"),
]


def test_a_row_with_an_invalid_value_is_refused_with_its_line(export: bytes, empty: Database) -> None:
    for table, values, reason in INVALID:
        message = refusal(empty, with_row(export, table, lambda row, values=values: row.update(values)))
        assert re.search(rf"line \d+ is not a row of {table}: .*{re.escape(reason)}", message), message


def test_names_are_imported_as_if_a_person_had_typed_them(export: bytes, empty: Database) -> None:
    content = with_row(export, "landmarks", lambda row: row.update(name="Our\u202e  church", city="\u200b"))
    import_database(empty, io.BytesIO(content), "the file")
    with empty.read() as connection:
        assert connection.execute(text("SELECT name, city FROM landmarks WHERE id = 1")).one() == (
            "Our church",
            None,
        )


def test_an_undo_that_grows_too_much_is_refused(export: bytes, empty: Database) -> None:
    bomb = base64.b64encode(b"\x01" + zlib.compress(bytes(80 * 2**20), 9)).decode()
    message = refusal(empty, with_row(export, "metadata_writes", lambda row: row.update(undo=bomb)))
    assert "undo: too large" in message


def test_what_rows_say_wrongly_about_each_other_is_refused(export: bytes, empty: Database) -> None:
    assert "its counts do not match" in refusal(
        empty, with_row(export, "chunks", lambda row: row.update(tagged=1))
    )
    assert "its labels are not those of its manifest" in refusal(
        empty, with_row(export, "model_labels", lambda row: row.update(label="another"))
    )


@pytest.mark.parametrize("counts", [{"photos": "x"}, {"photos": -1}, {"photos": 1}, {"more": 1}])
def test_a_header_with_invalid_counts_is_refused(
    export: bytes, empty: Database, counts: dict[str, Any]
) -> None:
    header, *others = export.splitlines(keepends=True)
    document = json.loads(header)
    document["counts"] |= counts
    assert "line 1" in refusal(empty, with_checksum([encode_line(document), *others]))


def test_long_lines_and_lines_of_many_values_are_refused_before_they_are_parsed(
    export: bytes, empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_reader, "MOST_VALUES", 50_000)
    header = export.splitlines(keepends=True)[0]
    assert "line 2 has more values than any row" in refusal(empty, header + b"[" + b"[]," * 60_000 + b"[]]\n")
    monkeypatch.setattr(export_reader, "LONGEST_LINE", 100_000)
    assert "line 2 is longer than any row" in refusal(empty, header + b" " * 200_000)


def test_gzip_that_grows_too_much_is_refused(
    export: bytes, empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GZIP_FREE_BYTES", 1 << 20)
    header = export.splitlines(keepends=True)[0]
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(header + bytes(1 << 22)))
    with files.open_stream(tmp_path / "bomb.gz") as source, pytest.raises(ImportRefused, match="200 times"):
        import_database(empty, source, "the file", dry_run=True)
    (tmp_path / "export.gz").write_bytes(gzip.compress(export))
    with files.open_stream(tmp_path / "export.gz") as source:
        assert import_database(empty, source, "the file").rows["photos"] == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE photos SET path = '../x' WHERE id = 1", "photos, id 1: path does not stay inside its root"),
        ("UPDATE landmarks SET name = 'a' || char(10) WHERE id = 1", "landmarks, id 1: name: it has a line"),
        ("UPDATE models SET manifest = '{}'", "models, id 1: manifest: name: Field required"),
        ("UPDATE jobs SET options = '{\"paths\": 7}' WHERE id = 2", "jobs, id 2: its paths are not a list"),
        ("UPDATE schedules SET cron = 'never'", "schedules, id 1: "),
        ("UPDATE photos SET gone_since = 'soon'", "photos: a row cannot be read"),
    ],
)
def test_db_check_finds_the_same_faults(library: Database, change: str, problem: str) -> None:
    assert list(check_database(library)) == []
    with library.read() as connection, connection.begin() as transaction:
        connection.execute(text(change))
        found = list(connection_problems(connection))
        transaction.rollback()
    assert any(line.startswith(problem) for line in found), found
    assert "were not checked" in found[-1]
