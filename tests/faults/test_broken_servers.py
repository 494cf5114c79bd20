"""Databases and Redis are killed, frozen, full or locked during a job: nothing is lost or stored twice."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import psutil
import psycopg
import pytest
from rig.invalid_messages import invalid_messages
from rig.servers import REFUSALS, PostgresServer, RedisServer
from support.artifacts import LABELS
from support.commands import Terminal, draw_many, stop
from support.fault_scenario import PHOTOS, FaultDurations, is_alive

from tagger.database import Priority
from worker.broker import TASK_NAME, RedisEndpoint, RedisKeys
from worker.embedded_redis import start_embedded
from worker.producer import make_app

Server = PostgresServer | RedisServer
READ_ONLY = "default_transaction_read_only"
FULL = "he disk of the database is full: free some space"
Fault = Callable[[RedisServer, FaultDurations], None]


def _killed(server: Server, durations: FaultDurations) -> None:
    server.kill()
    server.start()


def _killed_and_erased(redis: RedisServer, durations: FaultDurations) -> None:
    redis.kill_and_erase()
    redis.start()


def _stopped(server: Server, durations: FaultDurations) -> None:
    server.stop()
    time.sleep(durations.away_s)
    server.start()


def _frozen(server: Server, durations: FaultDurations) -> None:
    server.pause()
    time.sleep(durations.frozen_s)
    server.resume()


def _without_connections(redis: RedisServer, durations: FaultDurations) -> None:
    """All connections are closed, and none is accepted, as when the limit of clients is reached."""
    with redis.client() as client:
        limit = str(client.config_get("maxclients")["maxclients"])
        client.config_set("maxclients", 1)
        for kind in ("normal", "pubsub"):
            client.client_kill_filter(_type=kind, skipme=True)
        time.sleep(durations.away_s)
        client.config_set("maxclients", limit)


def _refusing(kind: str) -> Fault:
    def fault(redis: RedisServer, durations: FaultDurations) -> None:
        redis.refuse_messages(kind)
        time.sleep(durations.away_s)
        redis.accept_messages()

    return fault


def _restarted(server: Server, durations: FaultDurations) -> None:
    server.stop()
    server.start()


def _disconnected(postgres: PostgresServer, durations: FaultDurations) -> None:
    with _session(postgres) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )


def _locked(postgres: PostgresServer, durations: FaultDurations) -> None:
    with _session(postgres) as session, session.transaction():
        session.execute("LOCK TABLE jobs, chunks, job_items, contents IN ACCESS EXCLUSIVE MODE")
        time.sleep(durations.away_s)


def _read_only(postgres: PostgresServer, durations: FaultDurations) -> None:
    """Writes are refused, as by a primary after a failover."""
    with _session(postgres) as session:
        session.execute(f"ALTER SYSTEM SET {READ_ONLY} = on")
        session.execute("SELECT pg_reload_conf()")
        time.sleep(durations.away_s)
        session.execute(f"ALTER SYSTEM RESET {READ_ONLY}")
        session.execute("SELECT pg_reload_conf()")


def _session(postgres: PostgresServer) -> psycopg.Connection:
    return psycopg.connect(postgres.url, autocommit=True, options=f"-c {READ_ONLY}=off")


@pytest.mark.parametrize(
    "fault",
    [
        _killed,
        *(
            pytest.param(fault, marks=pytest.mark.slow)
            for fault in (_restarted, _stopped, _frozen, _disconnected, _locked, _read_only)
        ),
    ],
)
def test_a_job_is_complete_after_postgresql_was(scenario_on_postgres, postgres, durations, fault):
    scenario = scenario_on_postgres
    with scenario.terminal.workers(1) as (worker,):
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        fault(postgres, durations)
        scenario.assert_complete(job)
        assert worker.poll() is None


@pytest.mark.slow
def test_a_job_survives_a_locked_file_of_sqlite(scenario, sqlite_url, durations):
    with scenario.terminal.workers(1):
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=60)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(durations.away_s)
            connection.rollback()
        scenario.assert_complete(job)


@pytest.mark.slow
def test_a_job_survives_a_full_disk_of_postgresql(
    scenario_on_fullable_postgres, fullable_postgres, durations
):
    scenario = scenario_on_fullable_postgres
    with scenario.terminal.workers(2) as workers:
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        fullable_postgres.fill_disk()
        scenario.terminal.wait_until(lambda: FULL in scenario.log)
        time.sleep(durations.away_s)
        before = scenario.stored(job)
        time.sleep(durations.away_s)
        assert scenario.stored(job) == before < PHOTOS
        refused = scenario.terminal.run("enqueue", "--again", scenario.folder, code=1)
        assert "No space is left for the database" in refused.stderr
        fullable_postgres.free_disk()
        scenario.assert_complete(job)
        assert [worker.poll() for worker in workers] == [None, None]
    assert "Traceback" not in scenario.log


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_frozen, id="frozen"),
        *(
            pytest.param(fault, id=name, marks=pytest.mark.slow)
            for name, fault in {
                "killed": _killed,
                "killed and restarted without its files": _killed_and_erased,
                "stopped": _stopped,
                "without connections": _without_connections,
                **{kind: _refusing(kind) for kind in REFUSALS},
            }.items()
        ),
    ],
)
def test_a_job_is_complete_after_redis_was(scenario, redis_server, durations, fault):
    with scenario.terminal.workers(1) as (worker,):
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        fault(redis_server, durations)
        scenario.assert_complete(job)
        # The worker still runs and processes the next job.
        second = scenario.enqueue("--again")
        scenario.assert_complete(second)
        assert worker.poll() is None
    assert "Traceback" not in scenario.log
    assert "DeprecationWarning" not in scenario.log


def test_a_worker_starts_and_stops_while_redis_is_frozen(scenario, redis_server):
    redis_server.pause()
    worker = scenario.terminal.start("worker")
    scenario.terminal.wait_until(lambda: "does not answer" in scenario.log)
    redis_server.resume()
    scenario.terminal.wait_until(scenario.terminal.active_workers)
    redis_server.pause()
    assert stop(worker) == 0
    assert "Redis or the database does not answer" in scenario.log
    redis_server.resume()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_worker_waits_for_an_embedded_redis_that_is_frozen_at_its_start(tmp_path, durations):
    terminal = Terminal(tmp_path / "terminal")
    draw_many(terminal.folder / "few", 10)
    job = int(terminal.run("enqueue", "few").stdout)
    with terminal.database() as database:
        broker = RedisEndpoint(
            start_embedded(terminal.data, database.ledger_id), RedisKeys(""), embedded=True
        )
    with broker.client() as client:
        server = psutil.Process(client.info()["process_id"])
    try:
        server.suspend()
        stopped, waiting = terminal.start("worker"), terminal.start("worker")
        terminal.wait_until(lambda: terminal.log.read_text().count("does not answer") == 2)
        began = time.monotonic()
        assert stop(stopped) in {0, 130}  # 130: it was not a Celery worker yet
        assert time.monotonic() - began < 15
        time.sleep(durations.frozen_s)
        server.resume()
        terminal.wait_until(lambda: terminal.progress(job).is_over)
        assert stop(waiting) == 0
    finally:
        server.resume()
        terminal.end_embedded_redis()
    log = terminal.log.read_text()
    assert log.count("does not answer") == 2, "one message of each worker"
    assert log.count("Redis accepts messages again") == 1
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_worker_survives_invalid_messages(scenario, redis_server):
    terminal = scenario.terminal
    draw_many(terminal.folder / "few", len(LABELS))
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        assert client.pubsub_numpat() == 0  # it listens to no channel
        with terminal.database() as database:
            keys = RedisKeys(database.ledger_id)
        queue = keys.queues[Priority.BULK]
        _send_commands(redis_server.url, keys, queue)
        client.lpush(queue, *invalid_messages(client, redis_server.url, keys))
        terminal.wait_until(lambda: client.llen(queue) + client.hlen(keys.unacked) == 0)
        assert terminal.json("enqueue", "--wait", "few")["tagged"] == len(LABELS)
        assert is_alive(worker)


def _send_commands(url: str, keys: RedisKeys, queue: str) -> None:
    """Commands of Celery's remote control, which any client of Redis can send, and needless wake-ups."""
    with closing(make_app(url, keys)) as app:
        app.control.broadcast("cancel_consumer", arguments={"queue": keys.ticks})
        app.control.broadcast("shutdown")
        for _ in range(200):
            app.send_task(TASK_NAME, queue=queue)
