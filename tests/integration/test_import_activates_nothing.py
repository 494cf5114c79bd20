"""An import puts nothing in use that nobody named on this machine: no model, no schedule, no job."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.empty_databases import create_sqlite_database
from support.exports import EMBEDDED, LOCAL, SCANNING, exported, fill_library, with_row

from tagger.database.connection import Database, open_database
from tagger.database.tables import job_items, jobs, schedules
from tagger.errors import ModelFileNotFound
from tagger.jobs.enqueue.metadata_jobs import fill_chained_jobs
from tagger.ledger.dispatch import waiting_chunks
from tagger.ledger.job_control import recover_stale_jobs, resume
from tagger.library.catalog.registered_models import (
    add_model,
    model_by_name,
    resolve_model,
    use_models,
    verify_model,
)
from tagger.transfer.importer import ImportReport, import_database
from tagger.transfer.integrity import check_database


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("export")
    database = open_database(create_sqlite_database(folder / "tagger.sqlite"))
    fill_library(database, folder)
    assert list(check_database(database)) == []
    content = exported(database)
    database.close()
    return content


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    database = open_database(create_sqlite_database(tmp_path / "tagger.sqlite"))
    yield database
    database.close()


def imported(database: Database, content: bytes, **how: Any) -> ImportReport:
    return import_database(database, io.BytesIO(content), "the file", **how)


def test_an_imported_model_is_neither_in_use_nor_loadable_until_its_file_is_named(
    export: bytes, moved: Database, tmp_path: Path
) -> None:
    report = imported(moved, export)
    assert [(model.name, model.was_in_use) for model in report.inactive.models] == [("tiny", True)]
    assert Path(report.inactive.models[0].file).is_file(), "the exported path must exist for this test"
    assert not model_by_name(moved, "tiny").in_use
    assert resolve_model(moved, None).shipped
    for use in (lambda: verify_model(model_by_name(moved, "tiny")), lambda: use_models(moved, ["tiny"])):
        with pytest.raises(ModelFileNotFound, match="never named here"):
            use()
    add_model(moved, Path(report.inactive.models[0].file))
    verify_model(model_by_name(moved, "tiny"))
    assert use_models(moved, ["tiny"])[0].in_use


def test_naming_the_file_replaces_what_the_export_says_about_the_model(
    export: bytes, moved: Database
) -> None:
    forged = with_row(export, "models", lambda row: row["manifest"].update(threshold=0.01))
    file = Path(imported(moved, forged).inactive.models[0].file)
    assert add_model(moved, file).manifest.threshold == 0.5
    assert list(check_database(moved)) == []


def test_schedules_and_jobs_do_not_run(export: bytes, moved: Database) -> None:
    report = imported(moved, export)
    recover_stale_jobs(moved)
    assert fill_chained_jobs(moved) == []
    assert not any(waiting_chunks(moved).values())
    with moved.read() as connection:
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
    resume(moved, EMBEDDED)
    assert sum(waiting_chunks(moved).values()) == 1


def test_a_job_that_seems_stale_starts_no_metadata_job(export: bytes, moved: Database) -> None:
    """A stale scan without open chunks finishes, and a finished job starts the one that writes its tags."""

    def forge(row: dict[str, Any]) -> None:
        row.update(state="paused", total=0, owner="elsewhere/1", owner_lease_until=1.0)

    imported(moved, with_row(export, "jobs", forge, first=SCANNING - 1))
    recover_stale_jobs(moved)
    with moved.read() as connection:
        assert connection.scalars(select(jobs.c.kind).where(jobs.c.kind == "write")).all() == []
