"""Imports an exported database into an empty one, in one transaction that commits only a complete, valid import, and makes it inert.

Nothing that the export names runs, is loaded or is written before the operator names it: models are not in use and have no
file, schedules are paused, open jobs are paused, or cancelled if no worker could continue them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from sqlalchemy import (
    JSON,
    Connection,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState, Runner, note_columns
from tagger.database.statements import insert_page
from tagger.database.tables import (
    jobs,
    landmarks,
    ledgers,
    model_labels,
    models,
    roots,
    schedules,
)
from tagger.errors import DatabaseNotEmpty
from tagger.ledger.jobs import OPEN_STATES, UNFILLED, WRITE, cancel_job
from tagger.library.catalog import models_in_use
from tagger.library.catalog.landmarks import IS_DESCRIBED, all_landmarks
from tagger.library.catalog.registered_models import UNNAMED
from tagger.library.catalog.settlement import settle_all
from tagger.model.artifact import Manifest, read_manifest
from tagger.photos.paths import path_from_text
from tagger.transfer.export_reader import ExportReader
from tagger.transfer.exporter import Progress, exported_tables, row_counts_text
from tagger.transfer.integrity import cross_problems

_SHIPPED_TABLES = (model_labels, models, landmarks)
"""Tables that commands fill in an otherwise empty database, when they register the shipped model."""


PAUSED_NOTE = "paused by the import"
CANCELLED_NOTE = "its process did not move with the import; run the same command again to continue"


@dataclass(frozen=True)
class ImportedModel:
    """A model whose file has to be named again. `file` is its path where it was exported."""

    name: str
    digest: str
    file: str
    was_in_use: bool


@dataclass(frozen=True)
class PausedJob:
    """A paused job. `writes`: where it writes metadata, now or once its photos are classified; null: nowhere."""

    job: int
    kind: str
    photos: int
    writes: str | None


@dataclass(frozen=True)
class ImportedRoot:
    """A folder that photos are read from, and tags written in, once a job runs."""

    name: str
    folder: str


@dataclass(frozen=True)
class Inactive:
    """What an export would have activated, and what the operator has to name to activate it here."""

    models: list[ImportedModel] = field(default_factory=list)
    schedules: list[str] = field(default_factory=list)
    paused_jobs: list[PausedJob] = field(default_factory=list)
    cancelled_jobs: list[int] = field(default_factory=list)
    roots: list[ImportedRoot] = field(default_factory=list)


@dataclass(frozen=True)
class ImportReport:
    """The number of imported rows, by table, the database's ledger id, and what waits for the operator."""

    ledger: str
    rows: dict[str, int]
    inactive: Inactive

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def import_database(
    database: Database,
    source: IO[bytes],
    name: str,
    *,
    dry_run: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> ImportReport:
    """Fill the empty `database` from an exported file. `name` is the file's name in error messages.

    The database keeps its own ledger id, because two databases with the same one would share their keys in Redis. `dry_run`
    does the same and rolls it back.

    Raises:
        DatabaseNotEmpty: the database has rows.
        ImportRefused: the file is damaged, incomplete, of another version, not an exported database, or holds values
            that this program never stores. Nothing changed.
    """
    with database.write(dry_run=dry_run) as connection:
        reader = ExportReader(source, name, progress)
        if connection.dialect.name == "postgresql":  # the file may come slowly through a pipe
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        _require_empty(database, connection)
        for table in (*_SHIPPED_TABLES, ledgers):
            connection.execute(delete(table))
        for table, rows in reader.pages():
            with reader.refuse_on_error():
                _insert(connection, table, rows)
        connection.execute(update(ledgers).values(ledger_id=database.ledger_id))
        inactive = deactivate(connection)
        settle_all(connection)
        for problem in _problems(connection):
            raise reader.refuse_content(problem)
        total = sum(reader.counts.values())
        record_action(connection, AuditAction.DATABASE_IMPORT, name, ledger=database.ledger_id, rows=total)
        if not dry_run:  # no transaction takes sequences back
            _update_sequences(connection)
    return ImportReport(database.ledger_id, reader.counts, inactive)


def deactivate(connection: Connection) -> Inactive:
    """Deactivate what was imported in this transaction."""
    return Inactive(
        models=_forget_model_files(connection),
        schedules=_pause_schedules(connection),
        cancelled_jobs=_cancel_local_jobs(connection),
        paused_jobs=_pause_jobs(connection),
        roots=[
            ImportedRoot(row.name, path_from_text(row.location, row.location_bytes))
            for row in connection.execute(select(roots).order_by(roots.c.id))
        ],
    )


def _problems(connection: Connection) -> Iterator[str]:
    """What the imported rows say wrongly about each other, and about the model of this package."""
    yield from cross_problems(connection)
    digest = models_in_use.shipped_digest()
    manifest = connection.scalar(select(models.c.manifest).where(models.c.digest == (digest or "")))
    if manifest is not None and Manifest.model_validate(manifest) != read_manifest(
        models_in_use.shipped_file()
    ):
        yield "it describes the model of this package wrongly"


def _require_empty(database: Database, connection: Connection) -> None:
    counts = {
        table.name: count
        for table in exported_tables()
        if table is not ledgers
        and (count := connection.scalar(select(func.count()).select_from(table)))
        and not (table in _SHIPPED_TABLES and _has_only_shipped_models(connection))
    }
    if counts:
        raise DatabaseNotEmpty(url=database.redacted_url, contents=row_counts_text(counts))


def _has_only_shipped_models(connection: Connection) -> bool:
    """Whether the models and landmarks are those of shipped models, and nobody added or edited a landmark."""
    is_added = select(func.count()).select_from(models).where(models.c.file.is_not(None))
    is_changed = any(
        landmark.edited or landmark.merged_slugs for landmark in all_landmarks(connection, IS_DESCRIBED)
    )
    return not is_changed and not connection.scalar(is_added)


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), rows)
        return
    columns = [(name, isinstance(table.columns[name].type, JSON)) for name in rows[0]]
    values = ([json.dumps(row[name]) if is_json else row[name] for name, is_json in columns] for row in rows)
    insert_page(connection, table, list(rows[0]), values)


def _update_sequences(connection: Connection) -> None:
    """Let PostgreSQL's sequences continue after the imported ids. SQLite continues after the largest id by itself."""
    if connection.dialect.name == "sqlite":
        return
    for table in exported_tables():
        column = table.autoincrement_column
        if column is not None:
            names = {"table": table.name, "column": column.name}
            sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), names)
            largest = connection.scalar(select(func.max(column)))
            if sequence and largest:
                connection.execute(
                    text("SELECT setval(:sequence, :largest)"), {"sequence": sequence, "largest": largest}
                )
    # Without statistics, the server would plan badly until it gathers them itself.
    connection.execute(text("ANALYZE"))


def _forget_model_files(connection: Connection) -> list[ImportedModel]:
    """Remove the files of models: a file that an export names may be anybody's. The model of this package needs no such file."""
    own = or_(models.c.file.is_(None), models.c.digest == (models_in_use.shipped_digest() or ""))
    imported = [
        ImportedModel(row.name, row.digest, row.file, row.in_use)
        for row in connection.execute(select(models).where(~own).order_by(models.c.id))
    ]
    file = case((own, models.c.file), else_=UNNAMED)
    connection.execute(update(models).values(in_use=False, use_order=None, file=file))
    return imported


def _pause_schedules(connection: Connection) -> list[str]:
    connection.execute(update(schedules).values(paused=True))
    return list(connection.scalars(select(schedules.c.name).order_by(schedules.c.name)))


def _cancel_local_jobs(connection: Connection) -> list[int]:
    """Cancel the open jobs of processes of another machine, like those of a process that died."""
    local = (jobs.c.runner == Runner.LOCAL, jobs.c.state.in_(OPEN_STATES))
    numbers = list(connection.scalars(select(jobs.c.id).where(*local).order_by(jobs.c.id)))
    for number in numbers:
        cancel_job(connection, number, CANCELLED_NOTE)
    return numbers


def _pause_jobs(connection: Connection) -> list[PausedJob]:
    """Pause the other open jobs. A scan does not continue: a process of another machine was its owner.

    Any process may add the items of a job that writes the tags of another, which changes no file.
    """
    is_open = jobs.c.state.in_(OPEN_STATES)
    from_parent = and_(jobs.c.kind == JobKind.WRITE, jobs.c.parent_id.is_not(None), jobs.c.owner.is_not(None))
    connection.execute(
        update(jobs)
        .where(is_open)
        .values(
            state=JobState.PAUSED,
            **note_columns(PAUSED_NOTE),
            owner=case((from_parent, literal(UNFILLED)), else_=None),
            owner_lease_until=None,
        )
    )
    rows = connection.execute(select(jobs).where(is_open).order_by(jobs.c.id))
    return [
        PausedJob(row.id, row.kind, row.total, row.options[WRITE]["to"] if WRITE in row.options else None)
        for row in rows
    ]
