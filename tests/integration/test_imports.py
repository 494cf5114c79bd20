"""Imports: rows that this program never stores are refused (`tagger db check` finds them too), and nothing starts by itself."""

import base64
import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from support.colour_folders import TaggedFolder
from support.empty_databases import empty_database
from support.exports import (
    EMBEDDED,
    LOCAL,
    SCANNING,
    exported,
    fill_library,
    imported,
    with_checksum,
    with_row,
)
from support.teaching import draw_place, teachable_artifact

from tagger.cli.output import files
from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.tables import job_items, jobs, schedules
from tagger.errors import ImportRefused, ModelFileNotFound
from tagger.jobs.enqueue.metadata_jobs import fill_chained_jobs
from tagger.ledger.dispatch import waiting_chunks
from tagger.ledger.job_control import recover_stale_jobs, resume
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.catalog.registered_models import (
    add_model,
    model_by_name,
    resolve_model,
    use_models,
    verify_model,
)
from tagger.library.teaching.classifiers import BOUNDS_BYTES
from tagger.library.teaching.learning import update_taught
from tagger.library.verdicts.service import give_verdict
from tagger.transfer import export_reader
from tagger.transfer.exporter import encode_line
from tagger.transfer.importer import import_database
from tagger.transfer.integrity import check_database, connection_problems

Row = dict[str, Any]
NOT_CLASSIFIED: Row = dict.fromkeys(("model_id", "top_k", "threshold", "outcome", "classified_at"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """With rows in most tables, which tests only read."""
    folder = tmp_path_factory.mktemp("filled")
    with empty_database(folder) as database:
        fill_library(database, folder)
        yield database


@pytest.fixture(scope="module")
def export(library: Database) -> bytes:
    return exported(library)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    with empty_database(tmp_path) as database:
        yield database


def refusal(database: Database, content: bytes) -> str:
    with pytest.raises(ImportRefused) as refused:
        imported(database, content, dry_run=True)
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
    imported(empty, content)
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


def test_an_imported_model_is_neither_in_use_nor_loadable_until_its_file_is_named(
    export: bytes, empty: Database, tmp_path: Path
) -> None:
    report = imported(empty, export)
    assert [(model.name, model.was_in_use) for model in report.inactive.models] == [("tiny", True)]
    assert Path(report.inactive.models[0].file).is_file(), "the exported path must exist for this test"
    assert not model_by_name(empty, "tiny").in_use
    assert resolve_model(empty, None).shipped
    for use in (lambda: verify_model(model_by_name(empty, "tiny")), lambda: use_models(empty, ["tiny"])):
        with pytest.raises(ModelFileNotFound, match="never named here"):
            use()
    add_model(empty, Path(report.inactive.models[0].file))
    verify_model(model_by_name(empty, "tiny"))
    assert use_models(empty, ["tiny"])[0].in_use


def test_naming_the_file_replaces_what_the_export_says_about_the_model(
    export: bytes, empty: Database
) -> None:
    forged = with_row(export, "models", lambda row: row["manifest"].update(threshold=0.01))
    file = Path(imported(empty, forged).inactive.models[0].file)
    assert add_model(empty, file).manifest.threshold == 0.5
    assert list(check_database(empty)) == []


def test_schedules_and_jobs_do_not_run(export: bytes, empty: Database) -> None:
    report = imported(empty, export)
    recover_stale_jobs(empty)
    assert fill_chained_jobs(empty) == []
    assert not any(waiting_chunks(empty).values())
    with empty.read() as connection:
        assert connection.scalars(select(schedules.c.paused)).all() == [True]
        states = dict(connection.execute(select(jobs.c.id, jobs.c.state)).all())
        outcomes = dict(connection.execute(select(job_items.c.job_id, job_items.c.outcome)).all())
    assert states == {EMBEDDED: "paused", LOCAL: "cancelled", SCANNING: "paused"}
    assert outcomes == {EMBEDDED: None, LOCAL: "cancelled"}
    assert [(job.job, job.writes) for job in report.inactive.paused_jobs] == [
        (EMBEDDED, "embed"),
        (SCANNING, "embed"),
    ]
    assert report.inactive.cancelled_jobs == [LOCAL]
    assert report.inactive.schedules == ["nightly"]
    assert [Path(root.folder).name for root in report.inactive.roots] == ["photos"]
    resume(empty, EMBEDDED)
    assert sum(waiting_chunks(empty).values()) == 1


def test_a_job_that_seems_stale_starts_no_metadata_job(export: bytes, empty: Database) -> None:
    """A stale scan without open chunks finishes, and a finished job starts the one that writes its tags."""

    def forge(row: dict[str, Any]) -> None:
        row.update(state="paused", total=0, owner="elsewhere/1", owner_lease_until=1.0)

    imported(empty, with_row(export, "jobs", forge, first=SCANNING - 1))
    recover_stale_jobs(empty)
    with empty.read() as connection:
        assert connection.scalars(select(jobs.c.kind).where(jobs.c.kind == "write")).all() == []


@pytest.fixture(scope="module")
def taught_export(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of four photos of a place, which was taught with one of them."""
    folder = tmp_path_factory.mktemp("taught")
    with empty_database(folder) as database:
        library = TaggedFolder(database, folder, teachable_artifact)
        photos = [draw_place(library.folder / f"{seed}.jpg", 0, seed=seed) for seed in range(4)]
        library.tag()
        with database.write() as connection:
            church = add_landmark(connection, NewLandmark("Our church"))
        give_verdict(database, photos[0], church.slug, VerdictKind.CONFIRMED, None, {})
        update_taught(database, library.model)
        assert list(check_database(database)) == []
        return exported(database)


def bounds(low: float, high: float) -> Callable[[Row], None]:
    """Replace the lowest and the highest value of an embedding."""

    def change(row: Row) -> None:
        data = base64.b64decode(row["data"])
        row["data"] = base64.b64encode(struct.pack("<2f", low, high) + data[BOUNDS_BYTES:]).decode()

    return change


def shorten(row: Row) -> None:
    row["data"] = base64.b64encode(base64.b64decode(row["data"])[:-4]).decode()


def first_weight(weight: float) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        data = base64.b64decode(row["data"])
        row["data"] = base64.b64encode(struct.pack("<f", weight) + data[4:]).decode()

    return change


DAMAGED_TEACHING: list[tuple[str, Callable[[Row], None], str]] = [
    ("embeddings", bounds(float("nan"), 1), "not finite"),
    ("embeddings", bounds(-3e38, 3e38), "too large to be compared"),
    ("embeddings", shorten, "its embeddings have another dimension"),
    ("embeddings", lambda row: row.update(data="AAAAAAAAAAA="), "an embedding has dimensions"),
    ("embeddings", lambda row: row.update(taught_version=2), "of a later version"),
    ("classifiers", first_weight(float("-inf")), "not finite"),
    ("classifiers", shorten, "its classifiers have another dimension"),
    ("classifiers", lambda row: row.update(version=2), "of a later version"),
    ("taught_tags", lambda row: row.update(landmark_id=1), "a taught tag without"),
    ("contents", lambda row: row.update(NOT_CLASSIFIED), "not of a model that classified it"),
]


def test_damaged_teaching_is_refused(taught_export: bytes, empty: Database) -> None:
    for table, change, reason in DAMAGED_TEACHING:
        with pytest.raises(ImportRefused, match=reason):
            imported(empty, with_row(taught_export, table, change), dry_run=True)
    imported(empty, taught_export)
    assert list(check_database(empty)) == []
