"""Exports for tests of the import: of a small library, written as rows, and with changed lines and a correct checksum."""

import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert, update
from support.artifacts import tiny_artifact
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState, Priority, Runner
from tagger.database.tables import chunks, job_items, jobs, metadata_writes, photos
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.job_options import MetadataOptions, Target
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.ledger.jobs import NewJob, create_job
from tagger.library.catalog.registered_models import add_model, use_models
from tagger.metadata.splices import Splice, inverse_of
from tagger.transfer.exporter import export_database
from tagger.transfer.importer import ImportReport, import_database

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WRITE = MetadataOptions(Target.EMBED).to_job_options()
EMBEDDED, LOCAL, SCANNING = 1, 2, 3
"""Open jobs: of workers, which writes metadata afterwards; of a local process; and of a process that still scans."""


def fill_library(database: Database, folder: Path) -> None:
    """Two photos, one of which fails, their verdict, three open jobs, a schedule, a written file, and a model in use."""
    tiny_artifact(folder / "tiny.pt")
    model = add_model(database, folder / "tiny.pt")
    use_models(database, [model.name])
    library = StoredPhotos(database, folder / "photos", model)
    digest = f"1-{'b2' * 32}"
    library.photo("a.jpg", ("eiffel-tower", 0.9, True), ("nameless-hill", 0.05, False), digest=digest)
    library.photo("caf\udce9.jpg", classified=False)
    library.verdict(digest, "eiffel-tower", "confirmed")
    for runner in (Runner.WORKERS, Runner.LOCAL, Runner.WORKERS):
        create_job(
            database,
            NewJob(model.id, 5, 0.5, runner, Priority.BULK, JobKind.TAG, options={"paths": [], **WRITE}),
        )
    add_schedule(database, "nightly", "0 3 * * *", Backfill(BackfillScope.UNTAGGED), Priority.BULK, "UTC")
    with database.write() as connection:
        failure = {"failure_kind": "corrupt", "failure_text": "It is damaged.", "failure_job_id": 1}
        connection.execute(
            update(photos).where(photos.c.path != "a.jpg").values(**failure, failure_attempts=1)
        )
        connection.execute(
            update(jobs)
            .where(jobs.c.id != SCANNING)
            .values(state=JobState.RUNNING, total=1, started_at=NOW, owner=None, owner_lease_until=None)
        )
        for job in (EMBEDDED, LOCAL):
            connection.execute(insert(chunks).values(job_id=job, chunk=0, first=0, last=0))
            connection.execute(insert(job_items).values(job_id=job, position=0, photo_id=1))
        connection.execute(
            insert(metadata_writes).values(
                photo_id=1,
                image_digest=digest,
                target="embed",
                file="a.jpg",
                written_digest="a1" * 32,
                base_digest="a2" * 32,
                undo=inverse_of(b"original", [Splice(3, 5, b"new")]),
                landmarks=["eiffel-tower"],
                written_at=NOW,
                complete=True,
            )
        )


def exported(database: Database) -> bytes:
    """The export of a database."""
    out = io.BytesIO()
    export_database(database, out, "1.2.3")
    return out.getvalue()


def imported(database: Database, content: bytes, **how: Any) -> ImportReport:
    return import_database(database, io.BytesIO(content), "the file", **how)


def with_row(export: bytes, table: str, change: Callable[[dict[str, Any]], None], *, first: int = 0) -> bytes:
    """The export with a change to one row of a table, and a correct checksum. `first`: its index in the table."""
    lines = export.splitlines(keepends=True)
    of_table = [i for i, line in enumerate(lines) if line.startswith(b'{"table":"%s"' % table.encode())]
    index = of_table[first]
    document = json.loads(lines[index])
    change(document["row"])
    lines[index] = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    return with_checksum(lines)


def with_checksum(lines: list[bytes]) -> bytes:
    """The export of these lines, the last of which is its end."""
    end = json.loads(lines[-1])
    end["end"]["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    return b"".join(lines[:-1]) + json.dumps(end).encode() + b"\n"
