"""The database goes away or is full during a job: nothing is lost or stored twice."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from rig.servers import FullablePostgresServer, PostgresServer
from support.fault_scenario import PHOTOS, FaultDurations, FaultScenario

READ_ONLY = "default_transaction_read_only"
FULL = "he disk of the database is full: free some space"


def _restarted(postgres: PostgresServer, durations: FaultDurations) -> None:
    postgres.stop()
    postgres.start()


def _killed(postgres: PostgresServer, durations: FaultDurations) -> None:
    postgres.kill()
    postgres.start()


def _stopped(postgres: PostgresServer, durations: FaultDurations) -> None:
    postgres.stop()
    time.sleep(durations.away_s)
    postgres.start()


def _frozen(postgres: PostgresServer, durations: FaultDurations) -> None:
    postgres.pause()
    time.sleep(durations.frozen_s)
    postgres.resume()


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
def test_a_job_is_complete_after_postgresql_was(
    scenario_on_postgres: FaultScenario,
    postgres: PostgresServer,
    durations: FaultDurations,
    fault: Callable[[PostgresServer, FaultDurations], None],
) -> None:
    scenario = scenario_on_postgres
    with scenario.terminal.workers(1) as (worker,):
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        fault(postgres, durations)
        scenario.assert_complete(job)
        assert worker.poll() is None


@pytest.mark.slow
def test_a_job_survives_a_locked_file_of_sqlite(
    scenario: FaultScenario, sqlite_url: str, durations: FaultDurations
) -> None:
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
    scenario_on_fullable_postgres: FaultScenario,
    fullable_postgres: FullablePostgresServer,
    durations: FaultDurations,
) -> None:
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
