"""The open database, its transactions `read` and `write`, and what they record: events and the audit log."""

from __future__ import annotations

import getpass
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Row,
    Select,
    Update,
    delete,
    func,
    insert,
    select,
    update,
)

from tagger.database.engine import (
    create_database_engine,
    redact,
    turn_to_write,
    unavailable_on_error,
    with_retry,
)
from tagger.database.schema import require_current_schema
from tagger.database.statements import row_pages
from tagger.database.tables import audit_log, ledgers
from tagger.errors import DatabaseRemoved, LibraryClosed, ProcessBound, SchemaOutdated
from tagger.extensions import EVENT_RECEIVERS, Event, EventReceiver, extensions
from tagger.texts.text_format import gettext, reader_language

if TYPE_CHECKING:
    from tagger.settings import Settings

T = TypeVar("T")


def open_database(
    url: str,
    actor: Actor | None = None,
    *,
    language: str | None = None,
    raw_pairs: bool = True,
    receivers: Receivers = tuple,
    is_upgrade: bool = False,
    waits: bool = False,
) -> Database:
    """Open the database at `url`. A missing SQLite file is created.

    `actor`: by default the user of this process. `language`: of landmarks' names. `raw_pairs`: see
    `Database`. `receivers`: of events, by default nobody. `is_upgrade`: although tags do not follow this
    version's rule yet. `waits`: for a database that is away, as `with_retry` does.

    Raises:
        DatabaseUnavailable: the database does not answer or cannot be opened.
        DiskFull: the disk has no space for it.
        SchemaOutdated: it is missing on a server, of an earlier version, or not upgraded to the end.
    """
    engine = create_database_engine(url)

    def read_ledger() -> Row[Any, Any]:
        require_current_schema(engine)
        with engine.connect() as connection:
            query = select(ledgers.c.ledger_id, ledgers.c.settled_to)
            return connection.execute(query).one()

    with unavailable_on_error(engine):
        ledger = with_retry(read_ledger) if waits else read_ledger()
    if ledger.settled_to is not None and not is_upgrade:
        raise SchemaOutdated(url=redact(engine.url))
    return Database(
        engine,
        ledger.ledger_id,
        actor or command_line_actor(),
        language,
        raw_pairs=raw_pairs,
        receivers=receivers,
    )


def open_configured(
    settings: Settings, actor: Actor | None = None, *, waits: bool = False
) -> Database:
    """Open the database of the settings, with the language, pairs and receivers of events that they name.

    Raises:
        as `open_database`
    """
    return open_database(
        settings.effective_database_url,
        actor,
        language=settings.language,
        raw_pairs=settings.raw_pairs,
        receivers=cache(lambda: event_receivers(settings)),
        waits=waits,
    )


def display_language(connection: Connection) -> str | None:
    """The language of landmarks' names: the reader's, else that of the settings; None: their models'."""
    language: str | None = reader_language() or connection.get_execution_options().get(
        "tagger_language"
    )
    return language


class Database:
    """Threads may share it."""

    def __init__(
        self,
        engine: Engine,
        ledger_id: str,
        actor: Actor,
        language: str | None = None,
        *,
        raw_pairs: bool = True,
        receivers: Receivers = tuple,
    ) -> None:
        self._engine = engine
        self._receivers = receivers
        self._language = language
        # Whether scans take a RAW file and its JPEG as one photo.
        self.raw_pairs = raw_pairs
        self.ledger_id = ledger_id
        # Who makes the changes: each transaction for writing carries it to the audit log.
        self.actor = actor
        # Called after verdicts or dismissals have changed. Who opens the database sets it, to
        # learn.
        self.after_decisions: Callable[[], object] = lambda: None
        self._file = _file_identity(engine)
        # Threads wait for each other here, as SQLite's own wait sleeps: up to 100 ms for each transaction.
        self._write_lock = threading.RLock() if self.is_sqlite else nullcontext()
        self._process = os.getpid()
        self._is_closed = False
        self._rehearsal: Connection | None = None
        self._commits = _Commits(engine)

    def __reduce__(self) -> NoReturn:
        raise self._bound()

    def acting_as(self, actor: Actor) -> Database:
        view = object.__new__(Database)
        vars(view).update(vars(self), actor=actor)
        return view

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @property
    def is_in_memory(self) -> bool:
        """Whether it ends with this process, which then should leave no other files either."""
        return self.is_sqlite and self._file is None

    def change_mark(self) -> int | None:
        """A number that differs once anybody has written; None: unknown, as on PostgreSQL."""
        self._require_open()
        is_known = self.is_sqlite and not self.is_in_memory and self._rehearsal is None
        return self._commits.version() if is_known else None

    def require_file(self) -> None:
        """Check that the SQLite file is the one that was opened. SQLite itself keeps using a deleted file.

        Raises:
            DatabaseRemoved: it was deleted, moved or replaced.
        """
        if _file_identity(self._engine) != self._file:
            raise DatabaseRemoved(path=self._engine.url.database)

    @property
    def redacted_url(self) -> str:
        return redact(self._engine.url)

    @contextmanager
    def read(self, *, in_transaction: bool = True) -> Iterator[Connection]:
        """A connection for reading, which no writer blocks. On PostgreSQL, each statement sees a newer state.

        Outside of a transaction, a single statement costs half as much.
        """
        self._require_open()
        if self._rehearsal is not None:
            yield self._rehearsal
            return
        options: dict[str, Any] = {"tagger_language": self._language}
        if not in_transaction:
            options |= (
                {"tagger_begin": None}
                if self.is_sqlite
                else {"isolation_level": "AUTOCOMMIT"}
            )
        with self._engine.connect().execution_options(**options) as connection:
            yield connection

    def scalar(self, query: Select[T]) -> T | None:
        with self.read() as connection:
            return connection.scalar(query)

    def rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self.read() as connection:
            return connection.execute(query).all()

    def execute(self, statement: Update | Delete) -> None:
        with self.write() as connection:
            connection.execute(statement)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        with self.read() as connection:
            if not self.is_sqlite:  # a read transaction of SQLite is a snapshot anyway
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            yield connection

    def row_pages(
        self, query: Select[Any], *keys: ColumnElement[Any], size: int
    ) -> Iterator[Sequence[Row[Any]]]:
        return row_pages(self.rows, query, keys, size)

    @contextmanager
    def write(self, *, dry_run: bool = False) -> Iterator[Connection]:
        """A transaction that locks for writing at its start. With `dry_run`, it always rolls back."""
        self._require_open()
        if self._rehearsal is not None:
            yield self._rehearsal
            return
        has_decisions = threading.Event()
        options = {
            _HAS_DECISIONS: has_decisions,
            "tagger_begin": "IMMEDIATE",
            "tagger_actor": self.actor,
            "tagger_language": self._language,
            RECEIVERS: self._receivers,
        }
        file = self._engine.url.database if self._file is not None else None
        with self._write_lock, ExitStack() as stack:
            with nullcontext() if file is None else turn_to_write(Path(file)):
                connection = stack.enter_context(
                    self._engine.connect().execution_options(**options)
                )
                transaction = stack.enter_context(connection.begin())
            yield connection
            if dry_run:
                transaction.rollback()
                return
        if has_decisions.is_set():
            self.after_decisions()

    def update_statistics(self) -> None:
        """Gather anew what the planner of queries knows of the tables. Writers wait for a second at most."""
        if self.is_sqlite:
            with self.write() as connection:
                connection.exec_driver_sql(f"PRAGMA analysis_limit = {_ANALYSED_ROWS}")
                connection.exec_driver_sql("ANALYZE")
        else:
            with self.read(in_transaction=False) as connection:
                connection.exec_driver_sql("ANALYZE")

    @contextmanager
    def rehearsal(self) -> Iterator[Database]:
        """The same database, all in one transaction that rolls back at the end. Other writers wait."""
        with self.write(dry_run=True) as connection:
            view = self.acting_as(self.actor)
            view._rehearsal = connection  # noqa: SLF001 - of the same class
            yield view

    def close(self) -> None:
        self._is_closed = True
        self._commits.close()
        self._engine.dispose()

    def _require_open(self) -> None:
        # Refuse a fork of the process, too: shared connections damage SQLite files and confuse servers.
        if os.getpid() != self._process:
            raise self._bound()
        if self._is_closed:
            raise LibraryClosed

    @staticmethod
    def _bound() -> ProcessBound:
        return ProcessBound(
            what="A library with its jobs and queries", call="tagger.open"
        )


# Rows of each index that SQLite reads for statistics: all of them would take minutes in large
# databases.
_ANALYSED_ROWS = 1000


class _Commits:
    # The number that SQLite changes for a connection with each commit of another one.
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def version(self) -> int:
        with self._lock:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(
                    tagger_begin=None
                )
            return int(
                self._connection.exec_driver_sql("PRAGMA data_version").scalar_one()
            )

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


_HAS_DECISIONS = "tagger_has_decisions"


def record_decisions(connection: Connection) -> None:
    """Let `Database.after_decisions` be called after the commit."""
    connection.get_execution_options()[_HAS_DECISIONS].set()


def _file_identity(engine: Engine) -> tuple[int, int] | None:
    # What distinguishes the SQLite file from another one at its path; None if there is none.
    if engine.dialect.name != "sqlite":
        return None
    try:
        status = os.stat(engine.url.database or "")  # noqa: PTH116 - the address is a text
    except OSError:
        return None
    return status.st_dev, status.st_ino


# Events of jobs and landmarks: receivers of extensions get them in the transaction in which they
# happen.

# The option of a connection with the receivers of events.
RECEIVERS = "tagger_receivers"
# Returns the receivers; called only when something happens that can be an event.
Receivers = Callable[[], Sequence[EventReceiver]]


def has_receivers(connection: Connection, event: Event) -> bool:
    return any(receiver.wants(event) for receiver in _receivers(connection))


def record_event(
    connection: Connection, event: Event, subject: object, data: Mapping[str, Any]
) -> None:
    for receiver in _receivers(connection):
        if receiver.wants(event):
            receiver.record(connection, event, subject, data)


def event_receivers(settings: Settings) -> Sequence[EventReceiver]:
    return [receiver(settings) for receiver in extensions(EVENT_RECEIVERS).values()]


def _receivers(connection: Connection) -> Sequence[EventReceiver]:
    receivers: Receivers = connection.get_execution_options().get(RECEIVERS, tuple)
    return receivers()


# The audit log: who makes changes, and what they did, written in the transaction of the change.

KEPT_DAYS = 400
MAX_ENTRIES = 1_000_000
# Old entries that are removed with each new one, so that no change has to wait for many.
MAX_REMOVED = 100


class AuditAction(StrEnum):
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    JOB_CREATE = "job-create"
    JOB_PAUSE = "job-pause"
    JOB_RESUME = "job-resume"
    JOB_CANCEL = "job-cancel"
    VERDICTS_IMPORT = "verdicts-import"
    VERDICTS_WITHDRAW = "verdicts-withdraw"
    QUESTION_ANSWER = "question-answer"
    QUESTION_WITHDRAW = "question-withdraw"
    LANDMARK_ADD = "landmark-add"
    LANDMARK_EDIT = "landmark-edit"
    LANDMARK_MERGE = "landmark-merge"
    LANDMARK_REMOVE = "landmark-remove"
    MODEL_ADD = "model-add"
    MODEL_USE = "model-use"
    MODEL_REMOVE = "model-remove"
    TRACK_ADD = "track-add"
    TRACK_REMOVE = "track-remove"
    TRIP_EDIT = "trip-edit"
    SCHEDULE_ADD = "schedule-add"
    SCHEDULE_REMOVE = "schedule-remove"
    SCHEDULE_PAUSE = "schedule-pause"
    SCHEDULE_RESUME = "schedule-resume"
    PHOTOS_FORGET = "photos-forget"
    PHOTOS_MOVE = "photos-move"


def record_action(
    connection: Connection,
    action: AuditAction,
    subject: object = None,
    **details: object,
) -> int:
    """Returns the entry's number. No secrets in `details`."""
    now = datetime.now(UTC)
    new = insert(audit_log).values(
        at=now,
        actor=actor_of(connection).name,
        action=action,
        # The name of a file may have bytes that are not UTF-8, which PostgreSQL does not store.
        subject=None
        if subject is None
        else str(subject).encode(errors="backslashreplace").decode(),
        details=_stored_details(connection, details),
    )
    entry = int(connection.execute(new.returning(audit_log.c.id)).scalar_one())
    _remove(connection, audit_log.c.at < now - timedelta(days=KEPT_DAYS))
    if entry > MAX_ENTRIES:
        _remove(connection, audit_log.c.id <= entry - MAX_ENTRIES)
    return entry


def withdraw_action(
    connection: Connection, action: AuditAction, subject: object
) -> None:
    newest = select(func.max(audit_log.c.id)).where(
        audit_log.c.action == action, audit_log.c.subject == str(subject)
    )
    connection.execute(
        delete(audit_log).where(audit_log.c.id == newest.scalar_subquery())
    )


def update_details(connection: Connection, entry: int, **details: object) -> None:
    """Replace the details of an action that takes several transactions."""
    connection.execute(
        update(audit_log)
        .where(audit_log.c.id == entry)
        .values(details=_stored_details(connection, details))
    )


def _stored_details(
    connection: Connection, details: dict[str, object]
) -> dict[str, object]:
    # The details that are not None, with the actor's address.
    details = {"address": actor_of(connection).address} | details
    return {name: value for name, value in details.items() if value is not None}


def _remove(connection: Connection, is_old: ColumnElement[bool]) -> None:
    # Rows that another transaction is removing are skipped: waiting for them could end in a deadlock.
    old = (
        select(audit_log.c.id)
        .where(is_old)
        .limit(MAX_REMOVED)
        .with_for_update(skip_locked=True)
    )
    connection.execute(delete(audit_log).where(audit_log.c.id.in_(old)))


# Who makes changes: the user, token or machine, which the audit log records.


@dataclass(frozen=True)
class Actor:
    """Who makes a change. `name`: the door and the user, token or machine, like `cli ada@laptop`.

    `address`: the address of the page's client.
    """

    name: str
    address: str | None = None


def actor_of(connection: Connection) -> Actor:
    actor: Actor = connection.get_execution_options()["tagger_actor"]
    return actor


def author_text(author: str | None) -> str:
    door, _, name = (author or "").partition(" ")
    if not name:
        return ""
    if door == "web":
        return name
    return (
        gettext("%(name)s (command)", name=name) if door == "cli" else f"{door} {name}"
    )


def login_name() -> str | None:
    """Who gives a verdict, unless another name is given; None if the user has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def command_line_actor() -> Actor:
    return Actor(f"cli {_system_user()}@{socket.gethostname()}")


def _system_user() -> str:
    # The name in the system's accounts. The environment, which getpass reads, could contain any.
    try:
        import pwd
    except ImportError:  # Windows
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        return str(os.getuid())
