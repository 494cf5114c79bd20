"""The SQL database: opening it, its two kinds of transaction, its schema version.

Knows nothing of what the tables mean (see tables). SQLite runs in WAL mode with BEGIN IMMEDIATE for whatever
writes: a deferred transaction that reads first fails at once when another process writes in between.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, inspect, select, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Float

from tagger.errors import DatabaseUnavailable, SchemaNewer, SchemaOutdated, SettingsInvalid, TaggerError
from tagger.tables import ledgers

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_REVISION = "0004"
"""The newest migration; a test holds it equal to Alembic's head."""

BUSY_TIMEOUT_S = 30.0
PATIENCE_S = 600.0
"""How long work in hand waits for a database that is away before it is given up."""
STOPPING_PATIENCE_S = 10.0
"""The same in a process that has been told to stop."""
_UPGRADE_LOCK = 0x7A66E6  # any number that no other program's advisory lock has


_PATIENCE = {
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
}
"""How long a server may be silent, as libpq has it (s, ms, s, s): one that is frozen or cut off is away."""


class db_now(FunctionElement[float]):  # noqa: N801 - reads as a SQL function where it is used
    """Seconds since 1970 by the database's clock; leases of several machines compare by no other."""

    type = Float()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(_element: Any, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgresql_now(_element: Any, _compiler: SQLCompiler, **_options: Any) -> str:
    return "extract(epoch FROM clock_timestamp())::float8"


class Question:
    """A small query that is asked of every photo, and has to cost less than the photo.

    On SQLite it goes to the driver as text, over a connection that is kept for it: what lies between costs ten times the answer.
    So values and answer are what the driver itself takes and gives (numbers, text), and every value has a name.
    """

    def __init__(self, query: Select[tuple[Any]]) -> None:
        self.query = query
        self._words: tuple[str, Sequence[str]] | None = None

    def in_words_of(self, engine: Engine) -> tuple[str, Sequence[str]]:
        """The query as SQLite's driver takes it, and the names of its values in their order."""
        if self._words is None:
            compiled = self.query.compile(engine)
            self._words = str(compiled), compiled.positiontup or ()
        return self._words


class Database:
    """An open database whose schema is the one this program was written for."""

    def __init__(self, engine: Engine, ledger_id: str) -> None:
        self._engine = engine
        self.ledger_id = ledger_id
        # SQLite's own waiting is by turns of sleep, and unfair: of four busy threads one waited 5 s for 20 ms of work.
        self._one_writer = threading.RLock()
        self._asking = threading.Lock()
        self._asked: Connection | None = None

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @property
    def shown_url(self) -> str:
        """The address without its password."""
        return _shown(self._engine.url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading: one consistent snapshot, never blocked by a writer."""
        with self._engine.connect() as connection:
            yield connection

    def ask(self, question: Question, values: Mapping[str, Any]) -> Any:
        """The first value of the answer, None where there is none, outside any snapshot."""
        if not self.is_sqlite:
            with self.read() as connection:
                return connection.scalar(question.query, values)
        text, names = question.in_words_of(self._engine)
        with self._asking:
            if self._asked is None:
                self._asked = self._engine.connect().execution_options(tagger_begin=None)
            driver: Any = self._asked.connection.driver_connection
            try:
                row = driver.execute(text, [values[name] for name in names]).fetchone()
            except sqlite3.Error as error:
                self._forget_asked()
                raise DBAPIError.instance(text, None, error, sqlite3.Error) from error
        return row[0] if row else None

    def _forget_asked(self) -> None:
        if self._asked is not None:
            self._asked.invalidate()  # in the pool it would serve others, whatever is wrong with it
            self._asked.close()
            self._asked = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the writer's lock from its start; commits at the end, rolls back on an exception."""
        with (
            self._one_writer if self.is_sqlite else nullcontext(),
            self._engine.connect().execution_options(tagger_begin="IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield connection

    def close(self) -> None:
        with self._asking:
            self._forget_asked()
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open the database at `url`; a SQLite file is made, and brought up to date, by itself.

    Raises:
        DatabaseUnavailable: it does not answer or cannot be opened.
        SchemaOutdated: a server whose schema is older; `tagger db upgrade` is the operator's to run.
        SchemaNewer: made by a newer version of this program.
    """
    engine = _engine(url)
    with _unavailable(engine):
        revision = schema_revision(engine)
        if revision != SCHEMA_REVISION:
            if engine.dialect.name != "sqlite":
                _refuse(engine, revision)
            upgrade(engine)
        with engine.connect() as connection:
            ledger_id = connection.scalar(select(ledgers.c.ledger_id))
    return Database(engine, str(ledger_id))


def upgrade_database(url: str) -> str:
    """Bring the schema at `url` up to date; returns the revision it had before ("" for an empty database)."""
    engine = _engine(url)
    with _unavailable(engine):
        before = schema_revision(engine) or ""
        upgrade(engine)
    engine.dispose()
    return before


def revision_of(url: str) -> str:
    """The revision of the schema at `url`, "" where nothing is set up yet; nothing is made or changed."""
    engine = _engine(url, make_folder=False)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        return ""
    with _unavailable(engine):
        revision = schema_revision(engine)
    engine.dispose()
    return revision or ""


def schema_revision(engine: Engine) -> str | None:
    """The revision the database says it has; None for one without our tables."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run the migrations in one transaction; of two processes that start at once, one waits for the other."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_migrations_folder()))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.connect().execution_options(tagger_begin="IMMEDIATE") as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        present = inspect(connection).has_table("alembic_version")
        current = connection.scalar(text("SELECT version_num FROM alembic_version")) if present else None
        if current is not None and current not in known:
            raise SchemaNewer(url=_shown(engine.url), revision=current)
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def known_revisions() -> set[str]:
    """The revisions that this version of the program knows; another one was made by a newer version."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(_migrations_folder())).walk_revisions()}


def _refuse(engine: Engine, revision: str | None) -> None:
    if revision is None or revision in known_revisions():
        raise SchemaOutdated(url=_shown(engine.url))
    raise SchemaNewer(url=_shown(engine.url), revision=revision)


def _migrations_folder() -> Path:
    spec = find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the migrations package is not installed beside tagger")
    return Path(next(iter(spec.submodule_search_locations)))


def _engine(url: str, *, make_folder: bool = True) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in {"postgres", "postgresql"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
            raise SettingsInvalid(reason="database_url: only sqlite:/// and postgresql:// are supported")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed, make_folder=make_folder)
        return create_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=24,
            hide_parameters=True,  # they may be photos' paths, and errors go to logs
            connect_args={name: value for name, value in _PATIENCE.items() if name not in parsed.query},
        )
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise SettingsInvalid(
            reason="database_url: it is not a database address like sqlite:///FILE"
        ) from error
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            reason="database_url: PostgreSQL needs the extra, `pip install 'landmark-tagger[postgres]'`"
        ) from error


def _sqlite_engine(url: URL, *, make_folder: bool) -> Engine:
    if url.database in {None, "", ":memory:"}:
        raise SettingsInvalid(reason="database_url: an SQLite database has to be a file, like sqlite:///FILE")
    folder = Path(str(url.database)).absolute().parent
    try:
        if make_folder:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(url=_shown(url), reason=f"{folder}: {error.strerror}") from error
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        pool_size=8,
        max_overflow=56,
        hide_parameters=True,  # they may be photos' paths, and errors go to logs
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN is deferred; ours is emitted below
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("tagger_begin", "DEFERRED")
        if mode is not None:
            connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


@contextmanager
def _unavailable(engine: Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        engine.dispose()
        raise DatabaseUnavailable(url=_shown(engine.url), reason=lines[0]) from error
    except TaggerError:
        engine.dispose()
        raise


def is_passing_trouble(error: SQLAlchemyError) -> bool:
    """True where waiting can help: the server is away, another process holds SQLite's lock, all connections are in use."""
    return isinstance(error, OperationalError | PoolTimeout) or getattr(
        error, "connection_invalidated", False
    )


def patiently(work: Callable[[], T], stop: threading.Event, give_up: threading.Event | None = None) -> T:
    """Do what needs the database; while it is away or locked, wait and try again, within a bound."""
    began = time.monotonic()
    pause = 0.2
    while True:
        try:
            return work()
        except SQLAlchemyError as error:
            bound = STOPPING_PATIENCE_S if stop.is_set() else PATIENCE_S
            waited = time.monotonic() - began
            if not is_passing_trouble(error) or waited > bound or (give_up and give_up.is_set()):
                raise
            log.warning("the database does not answer, waiting: %s", error)
        if stop.is_set():
            time.sleep(pause)
        else:
            stop.wait(pause)
        pause = min(5.0, pause * 2)


def _shown(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return url.set(query={}).render_as_string(hide_password=True)


def insert_missing(connection: Connection, target: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose natural key is not there yet; of two processes that insert one key at once, both succeed."""
    if rows:
        dialect = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
        connection.execute(dialect(target).on_conflict_do_nothing(), rows)
