"""The database is away for longer than a lease, or its disk is full: results are kept and stored."""

import queue
import sqlite3
import threading
import time
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Reject
from rig.ledger_invariants import job_violations, library_violations
from rig.servers import KEYS
from sqlalchemy import Connection, Engine, event, select, text, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from support.artifacts import tiny_artifact
from support.colour_folders import EIFFEL, TaggedFolder
from support.databases import create_sqlite_database, read_scalars
from support.models import record_inferences
from support.threads import wait_until

from tagger.database import JobState, Priority, Runner, VerdictKind
from tagger.database.connection import open_database
from tagger.database.engine import is_transient
from tagger.database.tables import chunks
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.jobs.processing import classification
from tagger.jobs.processing.storage import Item
from tagger.ledger.workers import find_last_tick
from tagger.registry import list_models
from tagger.settings import Settings
from tagger.verdicts import give_verdicts
from worker.broker import RedisEndpoint
from worker.tasks import make_engine, stop_engine, tag_chunk, tick

LEASE_S, RENEW_S = 1.0, 0.3
PHOTOS = 80  # Two chunks that are processed at once, and one more
END_S = 60.0
FEW_PHOTOS = 6


class Outage:
    """From the second time that tags are stored until `end`, the database refuses writes."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self._ended = threading.Event()
        self._stores = 0
        event.listen(Engine, "before_cursor_execute", self._check)

    def end(self) -> None:
        self._ended.set()

    def close(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._check)

    def _check(self, _connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        self._stores += statement.startswith("INSERT INTO tags")
        if (
            self._stores >= 2
            and not self._ended.is_set()
            and statement.startswith(("INSERT", "UPDATE", "DELETE"))
        ):
            self.began.set()
            raise OperationalError(statement, None, Exception("the server is away"))


@pytest.fixture
def outage() -> Iterator[Outage]:
    outage = Outage()
    yield outage
    outage.close()


@pytest.fixture
def folder(database, tmp_path, monkeypatch) -> TaggedFolder:
    monkeypatch.setattr(classification, "STORE_PHOTOS", 8)
    monkeypatch.setattr("tagger.database.engine.LONGEST_PAUSE_S", 0.2)
    for module in ("tagger.ledger.items", "tagger.ledger.workers"):
        monkeypatch.setattr(f"{module}.LEASE_S", LEASE_S)
    for module in ("tagger.ledger", "tagger.ledger.workers"):
        monkeypatch.setattr(f"{module}.RENEW_S", RENEW_S)
    monkeypatch.setattr("tagger.ledger.RETRY_S", 0.1)
    monkeypatch.setattr("worker.tasks.SWEEP_S", 0.1)
    monkeypatch.setattr("tagger.ledger.workers.RETRY_S", 0.1)
    folder = TaggedFolder(database, tmp_path)
    folder.draw_many(PHOTOS)
    return folder


@pytest.fixture
def classified(monkeypatch) -> list[int]:
    return record_inferences(monkeypatch)


def test_a_worker_stores_its_results_after_an_outage(folder, database_url, outage, classified):
    with in_process_worker(
        folder.settings.model_copy(update={"database_url": database_url, "backend": "torchscript"})
    ):
        job = folder.record(runner=Runner.WORKERS)
        assert outage.began.wait(END_S)
        time.sleep(2 * LEASE_S)
        outage.end()
        wait_until(lambda: folder.progress(job).is_over, END_S)
    assert (folder.progress(job).tagged, sum(classified)) == (PHOTOS, PHOTOS)
    assert job_violations(folder.database, job) == []
    assert set(read_scalars(folder.database, select(chunks.c.attempts))) == {1}


def test_tag_stores_its_results_after_an_outage(folder, outage, classified):
    job = folder.record()

    def end_later() -> None:
        assert outage.began.wait(END_S)
        time.sleep(2 * LEASE_S)
        outage.end()

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(end_later)
        progress = folder.run(job)
        ended.result()
    assert (progress.tagged, progress.state, sum(classified)) == (PHOTOS, JobState.FINISHED, PHOTOS)


def test_photos_count_once_if_the_replies_to_commits_are_lost(folder, monkeypatch):
    folder.tag()
    files = list(folder.folder.iterdir())
    give_verdicts(folder.database, files, EIFFEL, VerdictKind.REJECTED, None, folder.settings.roots)
    store = classification.store_results

    def store_twice(*arguments: Any) -> list[Item]:
        store(*arguments)
        return store(*arguments)

    monkeypatch.setattr(classification, "store_results", store_twice)
    job = folder.record(reprocess=True)
    assert folder.run(job).unknown == PHOTOS
    assert job_violations(folder.database, job) == []


def test_a_read_only_server_is_a_transient_error(postgres_url):
    with closing(open_database(postgres_url)) as database, database.write() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(SQLAlchemyError) as error:
            connection.execute(update(chunks).values(attempts=0))
    assert is_transient(error.value)


def test_a_missing_table_is_not_a_transient_error(database):
    with database.read() as connection, pytest.raises(SQLAlchemyError) as error:
        connection.execute(text("SELECT id FROM missing"))
    assert not is_transient(error.value)


@pytest.fixture
def impatient(tmp_path, monkeypatch) -> Settings:
    """The settings of a worker that waits 0.1 s for a locked SQLite file."""
    monkeypatch.setattr("tagger.database.engine.BUSY_TIMEOUT_S", 0.1)
    tiny_artifact(tmp_path / "tiny.pt")
    settings = Settings(
        data_folder=tmp_path / "data",
        database_url=f"sqlite:///{tmp_path / 'tagger.sqlite'}",
        model=str(tmp_path / "tiny.pt"),
        device="cpu",
    )
    open_database(settings.effective_database_url).close()
    return settings


@contextmanager
def locked(settings: Settings) -> Iterator[sqlite3.Connection]:
    file = settings.effective_database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        other.rollback()


def test_a_tick_during_an_outage_is_a_warning_and_the_next_one_runs(impatient, caplog):
    with in_process_worker(impatient), closing(open_database(impatient.effective_database_url)) as database:
        add_schedule(
            database, "nightly", "0 3 * * *", Backfill(BackfillScope.UNTAGGED), Priority.BULK, "Europe/Berlin"
        )
        with locked(impatient):
            tick()
        messages = {record.getMessage(): record.levelname for record in caplog.records}
        expected = "No schedule was checked: the database does not answer (database is locked)"
        assert messages[expected] == "WARNING"
        assert "ERROR" not in messages.values()
        tick()
        last = find_last_tick(database)
        assert last is not None
        assert last.at is not None


def test_a_worker_that_starts_waits_for_a_locked_database(impatient):
    with locked(impatient) as other:
        release = threading.Timer(1.0, other.rollback)
        release.start()
        with in_process_worker(impatient):  # registers the model, which writes
            release.join()
    database = open_database(impatient.effective_database_url)
    assert "tiny" in {model.name for model in list_models(database)}
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("refusals", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_a_job_goes_on_after_any_write_of_a_worker_was_refused(tmp_path, monkeypatch, refusals):
    monkeypatch.setattr(classification, "STORE_PHOTOS", 4)
    monkeypatch.setattr("worker.tasks.SWEEP_S", 0.3)
    monkeypatch.setattr("tagger.ledger.workers.RETRY_S", 0.3)
    monkeypatch.setattr("tagger.database.engine.PAUSE_S", 0.01)
    disk = FullDisk(monkeypatch)
    classified = record_inferences(monkeypatch)
    url = create_sqlite_database(tmp_path / "database" / "tagger.sqlite")
    folder = TaggedFolder(open_database(url), tmp_path)
    folder.draw_many(FEW_PHOTOS)
    first_refused = 1
    with in_process_worker(
        folder.settings.model_copy(update={"database_url": url, "backend": "torchscript"})
    ):
        while True:
            classified.clear()
            disk.refused = ()
            job = folder.record(runner=Runner.WORKERS, reprocess=True)
            disk.start_count(range(first_refused, first_refused + refusals))
            began = time.monotonic()
            while not folder.progress(job).is_over:
                assert time.monotonic() - began < END_S, (first_refused, folder.progress(job))
                time.sleep(0.02)
            if disk.writes < first_refused:
                break
            assert (folder.progress(job).tagged, sum(classified)) == (FEW_PHOTOS, FEW_PHOTOS), first_refused
            assert job_violations(folder.database, job) == []
            first_refused += 1
    assert first_refused > 8, "the job made fewer writes than expected; does the test still see them?"
    assert library_violations(folder.database) == []
    folder.database.close()


class FullDisk:
    """Counts the writes of all SQLite connections opened from now on: changing statements, and commits.

    A write whose number is in `refused` fails, as it does when the disk is full.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: Container[int] = ()
        self._writes = 0
        self._lock = threading.Lock()
        disk = self

        class Cursor(sqlite3.Cursor):
            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                if statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
                    disk._write()
                return super().execute(statement, *values)

            def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
                disk._write()
                return super().executemany(statement, *values)

        class Connection(sqlite3.Connection):
            def cursor(self, *_: Any) -> sqlite3.Cursor:
                return super().cursor(Cursor)

            def commit(self) -> None:
                if self.in_transaction:
                    disk._write()
                super().commit()

        original = sqlite3.dbapi2.connect
        monkeypatch.setattr(
            sqlite3.dbapi2,
            "connect",
            lambda *args, **options: original(*args, **options | {"factory": Connection}),
        )

    def start_count(self, refused: Container[int] = ()) -> None:
        with self._lock:
            self._writes, self.refused = 0, refused

    @property
    def writes(self) -> int:
        return self._writes

    def _write(self) -> None:
        with self._lock:
            self._writes += 1
            if self._writes in self.refused:
                raise sqlite3.OperationalError("database or disk is full")


class _Queue:
    """What the engine uses of a Celery app: it sends to a queue in memory."""

    def __init__(self) -> None:
        self.messages: queue.Queue[bool] = queue.Queue()
        self.conf = SimpleNamespace(broker_url="memory", broker_transport_options={"ledger_keys": KEYS})
        self.amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=KEYS.queues.values()))
        self.producer_pool = self

    @contextmanager
    def acquire(self, *, block: bool) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(channel=self)

    def queue_declare(self, _queue: str) -> SimpleNamespace:
        return SimpleNamespace(message_count=self.messages.qsize())

    def send_task(self, _task: str, **_: Any) -> None:
        self.messages.put(True)


@dataclass(frozen=True)
class _QueueBroker(RedisEndpoint):
    """A broker whose client accepts messages and counts those in memory, all as bulk."""

    messages: queue.Queue[Any]

    @contextmanager
    def client(self) -> Iterator[Any]:
        def llen(name: str) -> int:
            return self.messages.qsize() if name == KEYS.queues[Priority.BULK] else 0

        yield SimpleNamespace(llen=llen, lpushx=lambda *_: 0, exists=lambda *_: 0)


@contextmanager
def in_process_worker(settings: Settings) -> Iterator[None]:
    """Process chunks in this process, until the end of the context."""
    app = _Queue()
    engine = make_engine(app, settings, "in-process")
    engine.redis.broker = _QueueBroker("memory", KEYS, embedded=False, messages=app.messages)

    def consume() -> None:
        while app.messages.get():
            try:
                tag_chunk()
            except Reject:  # the worker waits for the database
                time.sleep(0.05)
                app.messages.put(True)

    threads = [threading.Thread(target=consume) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        engine.start()
        yield
    finally:
        for _ in threads:
            app.messages.put(False)
        engine.executor.stop.set()
        for thread in threads:
            thread.join()
        stop_engine()
