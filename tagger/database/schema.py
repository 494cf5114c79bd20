"""The version of the schema: reading, creating and upgrading it; views for SQL; loading many rows."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection, Engine, func, insert, inspect, select, text
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import OperationalError

from tagger.database.engine import create_database_engine, redact, unavailable_on_error
from tagger.database.tables import ledgers, metadata, views
from tagger.errors import DatabaseUnavailable, SchemaOutdated, Unavailable

# The newest migration. A test keeps it equal to Alembic's head.
SCHEMA_REVISION = "1020"

# The schema of 2.0, where the migrations begin.
_FIRST_REVISION = "1014"
# How long migrations wait for a lock of PostgreSQL, and others behind them.
LOCK_S = 30.0
# Missing parts of a schema that are named.
SHOWN = 10
_UPGRADE_LOCK = 0x7A66E6  # an arbitrary key of PostgreSQL's advisory locks
# Alembic keeps what it works on in module variables.
_MIGRATIONS = threading.Lock()
_LOCK_NOT_AVAILABLE, _DEADLOCK = "55P03", "40P01"


def upgrade_schema(url: str) -> str:
    """Upgrade the schema at `url`. Returns its previous revision ("" for an empty database).

    Raises:
        DatabaseUnavailable: the database does not answer or cannot be opened.
        Unavailable: another transaction does not end.
    """
    engine = create_database_engine(url)
    with unavailable_on_error(engine):
        _require_unicode(engine)
        before = schema_revision(engine) or ""
        upgrade(engine)
    engine.dispose()
    return before


def read_revision(url: str) -> str:
    """The revision of the schema at `url`, "" for an empty or missing database. Creates and changes nothing.

    Raises:
        DatabaseUnavailable: the database does not answer or cannot be opened.
        PermissionsUnsafe: other users can change the SQLite file.
    """
    engine = create_database_engine(url, make_folder=False)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        return ""
    with unavailable_on_error(engine):
        _require_unicode(engine)
        revision = schema_revision(engine)
    engine.dispose()
    return revision or ""


def _require_unicode(engine: Engine) -> None:
    # Check that a server's database can hold all texts. One of SQL_ASCII keeps the UTF-8 that it gets.
    #
    # Raises:
    #     DatabaseUnavailable: it cannot.
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        encoding = str(connection.scalar(text("SHOW server_encoding")))
    if encoding not in {"UTF8", "SQL_ASCII"}:
        raise DatabaseUnavailable(
            url=redact(engine.url),
            reason=f"it has the encoding {encoding}, in which not all names can be stored",
            remedy="Create one with `createdb --encoding=UTF8 --template=template0 NAME`, and name it with "
            "TAGGER_DATABASE_URL",
        )


def require_current_schema(engine: Engine) -> None:
    """Check the schema's version. It is created in an SQLite database without one.

    Raises:
        SchemaOutdated: the schema is older, or missing on a server.
    """
    revision = schema_revision(engine)
    if revision == SCHEMA_REVISION:
        return
    if revision is None and engine.dialect.name == "sqlite":
        upgrade(engine)
    elif revision is None or revision in supported_revisions():
        raise SchemaOutdated(url=redact(engine.url))
    else:
        raise _unsupported(engine, revision)


def _unsupported(engine: Engine, revision: str) -> DatabaseUnavailable:
    url = redact(engine.url)
    if revision < _FIRST_REVISION:
        reason = f"a version before 2.0 created it (schema {revision})"
        return DatabaseUnavailable(
            url=url,
            reason=reason,
            remedy="Run `tagger db upgrade` of version 2.1 first, then this one's",
        )
    reason = f"a newer version of tagger created it (schema {revision})"
    return DatabaseUnavailable(
        url=url, reason=reason, remedy="Upgrade tagger on this machine"
    )


def schema_revision(engine: Engine) -> str | None:
    """None if it has no tables of this program."""
    with engine.connect() as connection:
        return _stored_revision(connection)


def _stored_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(
        text("SELECT version_num FROM alembic_version")
    )
    return revision


def upgrade(engine: Engine) -> None:
    """Run the migrations in one transaction. One process at a time upgrades.

    Raises:
        DatabaseUnavailable: the schema would not be this version's. Nothing was changed.
        Unavailable: another transaction has kept a lock for LOCK_S.
    """
    is_server = engine.dialect.name == "postgresql"
    try:
        with (
            engine.connect().execution_options(tagger_begin="IMMEDIATE") as connection,
            connection.begin(),
        ):
            if is_server:
                connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
                connection.exec_driver_sql(
                    f"SET LOCAL lock_timeout = {LOCK_S * 1000:.0f}"
                )
            with _MIGRATIONS:
                _migrate(connection)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) not in {
            _LOCK_NOT_AVAILABLE,
            _DEADLOCK,
        }:
            raise
        raise Unavailable(reason=_BLOCKED.format(url=redact(engine.url))) from error


_BLOCKED = (
    "The schema of the database {url} was not upgraded: another transaction uses its tables, and does not "
    "end. "
    "The longest is the first row of `SELECT pid, query FROM pg_stat_activity ORDER BY xact_start`. "
    "End it, then run `tagger db upgrade` again."
)


def _migrate(connection: Connection) -> None:
    # Create the schema in an empty database, and stamp it; upgrade any other.
    from alembic import command
    from alembic.config import Config

    current = _stored_revision(connection)
    if current is not None and current not in supported_revisions():
        raise _unsupported(connection.engine, current)
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    if current is None:
        _create_schema(connection)
        command.stamp(config, SCHEMA_REVISION)
    command.upgrade(config, "head")
    # The tables and columns that this version uses and the database lacks.
    found = inspect(connection)
    names = {
        table: {column["name"] for column in columns}
        for (_, table), columns in found.get_multi_columns(kind=ObjectKind.ANY).items()
    }
    tables = [*metadata.tables.values(), *views.tables.values()]
    missing = [table.name for table in tables if table.name not in names]
    missing += [
        str(column)
        for table in tables
        for column in table.columns
        if table.name in names and column.name not in names[table.name]
    ]
    if missing:
        raise DatabaseUnavailable(
            url=redact(connection.engine.url),
            reason=f"no release has its schema, {current}. After an upgrade, it would lack "
            f"{', '.join(missing[:SHOWN])}. Nothing was changed",
            remedy="Restore a backup, or move the database away and tag the photos again",
        )


def _create_schema(connection: Connection) -> None:
    # Create all that the database of a new ledger has, and the row of its identity.
    # Only here: few commands create a database.
    from tagger.database.changed_days import trigger_statements

    is_sqlite = connection.dialect.name == "sqlite"
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options[connection.dialect.name]["where"] = index.info[
                    "where"
                ]
    metadata.create_all(connection, checkfirst=False)
    for name, query in view_statements(is_sqlite=is_sqlite).items():
        connection.execute(text(f"CREATE VIEW {name} AS {query}"))
    for statement in trigger_statements(is_sqlite=is_sqlite):
        connection.exec_driver_sql(statement)
    connection.execute(
        insert(ledgers).values(
            id=1, ledger_id=str(uuid4()), created_at=datetime.now(UTC)
        )
    )


def supported_revisions() -> set[str]:
    """The revisions that this version can upgrade. A newer version created any other."""
    from alembic.script import ScriptDirectory

    return {
        script.revision
        for script in ScriptDirectory(str(migrations_folder())).walk_revisions()
    }


def migrations_folder() -> Path:
    return Path(str(files("migrations")))


_PATH = "CASE WHEN r.location LIKE '%/' THEN r.location || p.path ELSE r.location || '/' || p.path END"
_PRESENT = "p.gone_since IS NULL AND p.primary_id IS NULL"


def view_statements(*, is_sqlite: bool) -> Mapping[str, str]:
    true = "1" if is_sqlite else "true"
    return {"photo_tags": _PHOTO_TAGS.format(true=true), "photos_view": _PHOTOS_VIEW}


_PHOTO_TAGS = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root, l.slug AS landmark, l.name AS name,
       l.country AS country, l.city AS city, e.score AS score, e.accepted AS accepted,
       e.verdict AS verdict, e.source AS source, p.taken_at AS taken_at, o.latitude AS latitude,
       o.longitude AS longitude, o.source AS position_source, o.error_m AS error_m, m.name AS model,
       CASE WHEN p.taken_at IS NOT NULL THEN p.taken_source END AS taken_source
FROM effective_tags AS e
JOIN landmarks AS l ON l.id = e.landmark_id
JOIN photos AS p ON p.content_id = e.content_id AND {_PRESENT}
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN positions AS o ON o.photo_id = p.id
LEFT JOIN models AS m ON m.id = e.model_id
WHERE e.accepted = {{true}}"""

_PHOTOS_VIEW = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root,
       CASE WHEN p.failure_kind IS NOT NULL THEN 'failed' ELSE COALESCE(c.outcome, 'untagged') END AS outcome,
       p.taken_at AS taken_at, CASE WHEN substr(k.key, 1, 7) = 'camera|' THEN k.name END AS camera,
       o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source, o.error_m AS error_m,
       o.country AS country, o.city AS city, o.sight AS sight, c.width AS width, c.height AS height,
       c.digest AS digest, p.failure_kind AS failure_kind, p.failure_text AS failure_text,
       CASE WHEN p.taken_at IS NOT NULL THEN p.taken_source END AS taken_source
FROM photos AS p
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN contents AS c ON c.id = p.content_id
LEFT JOIN cameras AS k ON k.id = p.camera_id
LEFT JOIN positions AS o ON o.photo_id = p.id
WHERE {_PRESENT}"""


# Loading many rows into empty tables: their indexes and keys follow the rows, and triggers do not
# run.
#
# Building an index from all rows takes a fraction of the time of keeping it up to date with each.

_SQLITE = text(
    """SELECT 'DROP ' || type || ' ' || name AS removal, sql AS creation FROM sqlite_schema
    WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"""
)
_POSTGRESQL = (
    # Foreign keys come first: they need the indexes of what they refer to.
    """SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS removal,
        format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
            AS creation
    FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (CAST(:tables AS regclass[]))""",
    """SELECT format('DROP INDEX %s', indexrelid::regclass) AS removal,
        pg_get_indexdef(indexrelid) AS creation
    FROM pg_index WHERE indrelid = ANY (CAST(:tables AS regclass[]))
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)""",
    """SELECT DISTINCT format('ALTER TABLE %s DISABLE TRIGGER USER', tgrelid::regclass) AS removal,
        format('ALTER TABLE %s ENABLE TRIGGER USER', tgrelid::regclass) AS creation
    FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY (CAST(:tables AS regclass[]))""",
)


@contextmanager
def bulk_load(connection: Connection) -> Iterator[None]:
    """Remove indexes, triggers and foreign keys, but no primary keys; and create them again at the end.

    All of it is one transaction. Foreign keys of SQLite stay: they are checked for each row.
    """
    if connection.dialect.name == "sqlite":
        parts = connection.execute(_SQLITE).all()
    else:
        tables = {"tables": list(metadata.tables)}
        parts = [
            part
            for query in _POSTGRESQL
            for part in connection.execute(text(query), tables)
        ]
    for part in parts:
        connection.exec_driver_sql(part.removal)
    yield
    for part in reversed(parts):
        connection.exec_driver_sql(part.creation)
