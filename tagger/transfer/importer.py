"""Imports an exported database into an empty one, in one transaction that commits only a complete, valid import.

Nothing of it runs by itself (see deactivation).
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from sqlalchemy import JSON, Connection, Table, delete, func, insert, select, text, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.statements import insert_in_bulk
from tagger.database.tables import dismissals, landmarks, ledgers, model_labels, models, verdicts
from tagger.errors import DatabaseNotEmpty
from tagger.library.catalog import shipped_model
from tagger.library.catalog.landmarks import all_landmarks
from tagger.model.artifact import Manifest, read_manifest
from tagger.people.names import count_authors
from tagger.transfer.deactivation import Inactive, deactivate
from tagger.transfer.export_format import exported_tables, row_counts_text
from tagger.transfer.export_reader import ExportReader
from tagger.transfer.exporter import Progress
from tagger.transfer.integrity.database_check import cross_problems

_SHIPPED_TABLES = (model_labels, models, landmarks)
"""Tables that commands fill in an otherwise empty database, when they register the shipped model."""


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
    new_ledger: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> ImportReport:
    """Fill the empty `database` from an exported file. `name` is the file's name in error messages.

    `new_ledger` gives the database a ledger id of its own, needed if the exported one stays in use. `dry_run` does the
    same and rolls it back.

    Raises:
        DatabaseNotEmpty: the database has rows.
        ImportRefused: the file is damaged, incomplete, of another version, not an exported database, or holds values
            that this program never stores. Nothing changed.
    """
    with database.write(dry_run=dry_run) as connection:
        reader = ExportReader(source, name, progress)
        _allow_pauses(connection)
        _require_empty(database, connection)
        for table in (*_SHIPPED_TABLES, ledgers):
            connection.execute(delete(table))
        for table, rows in reader.pages():
            with reader.refuse_on_error():
                _insert(connection, table, rows)
        if new_ledger:
            connection.execute(update(ledgers).values(ledger_id=str(uuid.uuid4())))
        _count_authors(connection)
        inactive = deactivate(connection)
        for problem in _problems(connection):
            raise reader.refuse_content(problem)
        ledger = str(connection.scalar(select(ledgers.c.ledger_id)))
        total = sum(reader.counts.values())
        record_action(connection, AuditAction.DATABASE_IMPORT, name, ledger=ledger, rows=total)
        if not dry_run:  # no transaction takes sequences back
            _update_sequences(connection)
    return ImportReport(ledger, reader.counts, inactive)


def _problems(connection: Connection) -> Iterator[str]:
    """What the imported rows say wrongly about each other, and about the model of this package."""
    yield from cross_problems(connection)
    digest = shipped_model.shipped_digest()
    manifest = connection.scalar(select(models.c.manifest).where(models.c.digest == (digest or "")))
    if manifest is not None and Manifest.model_validate(manifest) != read_manifest(
        shipped_model.shipped_file()
    ):
        yield "it describes the model of this package wrongly"


def _count_authors(connection: Connection) -> None:
    """Whoever is added later with the name of an author is somebody else, as in the exported database."""
    for table in (verdicts, dismissals):
        count_authors(connection, connection.scalars(select(table.c.given_by).distinct()).all())


def _allow_pauses(connection: Connection) -> None:
    """Lift PostgreSQL's limit on a writer that sends nothing: the file may come slowly through a pipe."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


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
    is_changed = any(landmark.edited or landmark.merged_slugs for landmark in all_landmarks(connection))
    return not is_changed and not connection.scalar(is_added)


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), rows)
        return
    columns = [(name, isinstance(table.columns[name].type, JSON)) for name in rows[0]]
    values = ([json.dumps(row[name]) if is_json else row[name] for name, is_json in columns] for row in rows)
    insert_in_bulk(connection, table, list(rows[0]), values)


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
