"""Checks of Redis, of workers and schedules that stopped, and of the roots in the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.doctor import failed, note, ok, wrong
from tagger.cli.output.job_text import START_BEAT, duration_text, tick_text
from tagger.errors import TaggerError
from tagger.ledger.workers import find_last_tick, silent_workers
from tagger.roots.roots import list_roots
from worker.broker import check_accepts_messages, find_broker, is_stopped, queue_depths
from worker.embedded_redis import server_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor import Finding
    from tagger.database.connection import Database
    from tagger.roots.roots import RootPaths
    from tagger.settings import Settings

# In place of the ledger's id where the database cannot be opened: it has no messages.
NO_LEDGER = ""


def check_redis(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """Check that Redis answers and accepts messages."""
    broker = find_broker(settings, NO_LEDGER if database is None else database.ledger_id, start=False)
    try:
        check_accepts_messages(broker)
        if (problem := queue_depths(broker)[1]) is not None:  # of a right that workers lack
            raise problem
    except TaggerError as error:
        if broker.embedded and server_program() is None:
            found = "no Redis is configured, and the extra `embedded` is not installed"
            yield note("redis", found, "export TAGGER_REDIS_URL=redis://HOST:6379/0")
        elif is_stopped(broker, error.__cause__):
            yield ok("redis", "the embedded Redis is not running; it starts when it is needed")
        else:
            yield failed("redis", error)
    else:
        server = "the embedded Redis" if broker.embedded else broker.redacted_url
        yield ok("redis", f"{server} answers and accepts messages")


def check_jobs(database: Database) -> Iterator[Finding]:
    """Name workers that fell silent, and schedules that do not run."""
    for worker in silent_workers(database):
        found = f"{worker.name} has been silent for {duration_text(worker.silent_s)}: it was killed or hangs"
        remedy = "start it again, read its log, and look with dmesg whether memory ran out"
        yield note("workers", found, remedy)
    last_tick = find_last_tick(database)
    if last_tick is not None and last_tick.is_late:
        yield wrong("schedules", f"they do not run: {tick_text(last_tick)}", START_BEAT)


def check_roots(database: Database, root_paths: RootPaths) -> Iterator[Finding]:
    """Check that TAGGER_ROOTS names roots."""
    with database.read() as connection:
        names = [root.name for root in list_roots(connection, root_paths)]
    if names and (unknown := root_paths.keys() - names):
        found = f"TAGGER_ROOTS names {min(unknown)}, which is not a root; the roots are {', '.join(names)}"
        yield note("roots", found, "correct or remove it in TAGGER_ROOTS")
