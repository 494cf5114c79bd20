"""Measures how long after a kill of workers photos are stored again."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from bench.faults.context import ChunkKey
from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.tables import chunks

POLL_S = 0.2
STORED = sum(chunks.c[outcome.value] for outcome in Outcome if outcome is not Outcome.CANCELLED)


@dataclass
class Recovery:
    """Seconds from a kill -9 until any photo was stored, and until the killed workers' chunks were done."""

    kind: str
    stored_before: int
    claimed_chunks: Sequence[ChunkKey]
    killed_at: float = field(default_factory=time.monotonic)
    next_stored_s: float | None = None
    chunks_done_s: float | None = None


class RecoveryMonitor:
    """Polls the ledger in a thread from `start` to `stop`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recovery-monitor", daemon=True)
        self.recoveries: list[Recovery] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def begin(self, kind: str, claimed_chunks: Sequence[ChunkKey]) -> None:
        """Measure the recovery from a kill of workers that had claimed these chunks."""
        with self._database.read() as connection:
            self.recoveries.append(Recovery(kind, _stored(connection), claimed_chunks))

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            with suppress(SQLAlchemyError):  # a fault may have made the database unavailable
                self._poll()

    def _poll(self) -> None:
        pending = [
            each for each in list(self.recoveries) if each.chunks_done_s is None or each.next_stored_s is None
        ]
        if not pending:
            return
        with self._database.read() as connection:
            stored = _stored(connection)
            for recovery in pending:
                elapsed_s = time.monotonic() - recovery.killed_at
                if recovery.next_stored_s is None and stored > recovery.stored_before:
                    recovery.next_stored_s = elapsed_s
                if recovery.chunks_done_s is None and _are_done(connection, recovery.claimed_chunks):
                    recovery.chunks_done_s = elapsed_s


def _stored(connection: Connection) -> int:
    return int(connection.scalar(select(func.sum(STORED))) or 0)


def _are_done(connection: Connection, keys: Sequence[ChunkKey]) -> bool:
    key = tuple_(chunks.c.job_id, chunks.c.chunk)
    query = select(chunks.c.job_id).where(key.in_(keys), chunks.c.done.is_(False)).limit(1)
    return not keys or connection.execute(query).first() is None
