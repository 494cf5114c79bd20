"""Tells what an upgrade waits for: PostgreSQL creates an index concurrently only after all transactions that began before it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

REPORT_S = 5.0
"""After this time, and from then on, the upgrade says what it waits for. Each transaction is named once."""

_BLOCKING = text("""
    SELECT pid, usename, to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since FROM pg_stat_activity
    WHERE pid IN (SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND query LIKE '%INDEX CONCURRENTLY%' AND wait_event_type = 'Lock')
    ORDER BY xact_start LIMIT 1""")
"""The statement is recognised by its text: behind a pooler, the process of a connection is not known."""


@contextmanager
def waits_reported(engine: Engine) -> Iterator[None]:
    """Log meanwhile which transactions keep an index of the upgrade waiting."""
    is_over = threading.Event()
    reporter = threading.Thread(target=_report_waits, args=(engine, is_over), daemon=True)
    reporter.start()
    try:
        yield
    finally:
        is_over.set()
        reporter.join()


def _report_waits(engine: Engine, is_over: threading.Event) -> None:
    reported: set[tuple[int, str | None]] = set()
    while not is_over.wait(REPORT_S):
        with suppress(SQLAlchemyError):  # the upgrade itself fails if the server is gone
            _report_wait(engine, reported)


def _report_wait(engine: Engine, reported: set[tuple[int, str | None]]) -> None:
    # Without a transaction, which the index would wait for too.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        blocking = connection.execute(_BLOCKING).one_or_none()
    if blocking is None or (blocking.pid, blocking.since) in reported:
        return
    reported.add((blocking.pid, blocking.since))
    log.warning(
        "The upgrade creates an index and waits for a transaction of another session to end: process %d of user %s, "
        "open since %s. If it does not end, run SELECT pg_terminate_backend(%d)",
        blocking.pid,
        blocking.usename,
        "an unknown time" if blocking.since is None else f"{blocking.since} UTC",
        blocking.pid,
    )
