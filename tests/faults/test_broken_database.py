"""The database goes away, is locked or full in the middle of a job: the work waits, and nothing is lost or stored twice."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ordeal import PHOTOS, Ordeal
from pace import Pace
from servers import PostgresServer


@pytest.mark.parametrize("restart", ["in order", "after a crash"])
def test_postgresql_is_restarted_while_photos_are_stored(
    ordeal_on_postgres: Ordeal, postgres: PostgresServer, restart: str
) -> None:
    ordeal = ordeal_on_postgres
    with ordeal.terminal.workers(1) as (worker,):
        job = ordeal.enqueue()
        ordeal.wait_for_some(job)
        if restart == "in order":
            postgres.stop()
        else:
            postgres.kill()
        postgres.start()
        ordeal.ends_well(job)
        assert worker.poll() is None


def test_postgresql_is_away_for_long(
    ordeal_on_postgres: Ordeal, postgres: PostgresServer, pace: Pace
) -> None:
    ordeal = ordeal_on_postgres
    with ordeal.terminal.workers(2) as workers:
        job = ordeal.enqueue()
        ordeal.wait_for_some(job)
        postgres.stop()
        time.sleep(pace.away_s)
        postgres.start()
        ordeal.ends_well(job)
        assert [worker.poll() for worker in workers] == [None, None]


def test_another_process_holds_sqlites_lock_for_long(ordeal: Ordeal, sqlite_url: str, pace: Pace) -> None:
    with ordeal.terminal.workers(2) as workers:
        job = ordeal.enqueue()
        ordeal.wait_for_some(job)
        with _locked(sqlite_url):
            before = ordeal.stored(job)
            time.sleep(pace.locked_s)
            assert ordeal.stored(job) == before
        ordeal.ends_well(job)
        assert [worker.poll() for worker in workers] == [None, None]


def test_the_disk_of_the_database_is_full_until_somebody_makes_room(ordeal: Ordeal, tmp_path: Path) -> None:
    full = tmp_path / "full"
    ordeal.terminal.inject(full_while=full)
    job = ordeal.enqueue()
    full.touch()
    with ordeal.terminal.workers(1) as (worker,):
        ordeal.terminal.wait_until(lambda: "disk is full" in ordeal.log)
        assert ordeal.stored(job) < PHOTOS
        assert ordeal.terminal.progress(job).failed == 0
        full.unlink()
        ordeal.ends_well(job)
        assert worker.poll() is None


@contextmanager
def _locked(sqlite_url: str) -> Iterator[None]:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()
