"""Watches the ledger while things break: how long after a kill photos are stored again."""

import os
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection, false, func, or_, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from bench.soak.supervisor import Life
from tagger.database.connection import Database
from tagger.database.tables import Outcome, chunks

LOOK_S = 0.2
STORED = sum(chunks.c[outcome.value] for outcome in Outcome if outcome is not Outcome.CANCELLED)


@dataclass
class Recovery:
    """What followed a kill -9: seconds until any photo was stored, and until all that was in hand then was done."""

    kind: str
    stored_before: int
    in_hand: Sequence[tuple[int, int]]
    struck: float = field(default_factory=time.monotonic)
    stored_again_s: float | None = None
    in_hand_done_s: float | None = None


class Watch:
    """Looks every LOOK_S, in a thread of its own, until told to end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.recoveries: list[Recovery] = []
        self.kills = 0
        self.freezes = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def killed(self, kind: str, lives: Sequence[Life]) -> None:
        """Kill these workers with SIGKILL, and measure what follows."""
        with self._database.read() as connection:
            recovery = Recovery(kind, _stored(connection), _in_hand(connection, lives))
        for life in lives:
            with suppress(ProcessLookupError):
                os.kill(life.process.pid, signal.SIGKILL)
        self.kills += len(lives)
        self.recoveries.append(recovery)

    def in_hand(self, lives: Iterable[Life]) -> list[tuple[int, int]]:
        """The chunks, by job and number, that these workers hold now."""
        with self._database.read() as connection:
            return _in_hand(connection, lives)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            with suppress(SQLAlchemyError):  # it may be away
                self._look()

    def _look(self) -> None:
        waiting = [
            each
            for each in list(self.recoveries)
            if each.in_hand_done_s is None or each.stored_again_s is None
        ]
        if not waiting:
            return
        with self._database.read() as connection:
            stored = _stored(connection)
            for recovery in waiting:
                after_s = time.monotonic() - recovery.struck
                if recovery.stored_again_s is None and stored > recovery.stored_before:
                    recovery.stored_again_s = after_s
                if recovery.in_hand_done_s is None and not _open(connection, recovery.in_hand):
                    recovery.in_hand_done_s = after_s


def _stored(connection: Connection) -> int:
    return int(connection.scalar(select(func.sum(STORED))) or 0)


def _in_hand(connection: Connection, lives: Iterable[Life]) -> list[tuple[int, int]]:
    theirs = or_(*(chunks.c.worker.startswith(life.name) for life in lives), false())
    query = select(chunks.c.job_id, chunks.c.chunk).where(theirs, chunks.c.done.is_(False))
    return [(row.job_id, row.chunk) for row in connection.execute(query)]


def _open(connection: Connection, names: Sequence[tuple[int, int]]) -> bool:
    key = tuple_(chunks.c.job_id, chunks.c.chunk)
    query = select(chunks.c.job_id).where(key.in_(names), chunks.c.done.is_(False)).limit(1)
    return bool(names) and connection.execute(query).first() is not None
