"""What a fault works on."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection, false, or_, select
from sqlalchemy.exc import SQLAlchemyError

from bench.faults.supervisor import WorkerProcess
from bench.faults.system import System
from tagger.database.tables import chunks
from tests.rig.servers import PostgresServer

BUSY_TIMEOUT_S = 20.0
POLL_S = 0.1

ChunkKey = tuple[int, int]
"""Job and chunk number."""


@dataclass
class FaultContext:
    """What faults work on. They wait with `pause`, which ends when the system stops."""

    system: System
    rng: random.Random
    on_kill: Callable[[str, Sequence[ChunkKey]], None] = lambda _kind, _chunks: None
    """Called after workers were killed, with the chunks that they had claimed."""
    kills: int = field(default=0, init=False)
    freezes: int = field(default=0, init=False)

    def pause(self, seconds: float) -> None:
        self.system.stopping.wait(seconds)

    def choose_worker(self) -> WorkerProcess | None:
        """Wait for a worker with a claimed chunk; after BUSY_TIMEOUT_S choose any running one."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while not (busy := self._busy_workers()) and time.monotonic() < deadline:
            self.pause(POLL_S)
        candidates = busy or self.system.supervisor.running()
        return self.rng.choice(candidates) if candidates else None

    def kill(self, kind: str, workers: list[WorkerProcess]) -> None:
        """Kill the workers with SIGKILL."""
        with self.system.database.read() as connection:
            claimed = _claimed_chunks(connection, workers)
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.wait()
        self.kills += len(workers)
        self.on_kill(kind, claimed)

    @property
    def postgres(self) -> PostgresServer:
        assert self.system.postgres is not None
        return self.system.postgres

    def _busy_workers(self) -> list[WorkerProcess]:
        """Return the workers that have claimed a chunk that is not done."""
        with suppress(SQLAlchemyError), self.system.database.read() as connection:
            return [
                worker for worker in self.system.supervisor.running() if _claimed_chunks(connection, [worker])
            ]
        return []


Fault = Callable[[FaultContext], None]
"""Breaks something and repairs it before it returns."""


def _claimed_chunks(connection: Connection, workers: Iterable[WorkerProcess]) -> list[ChunkKey]:
    claimed = or_(*(chunks.c.worker.startswith(worker.name_prefix) for worker in workers), false())
    query = select(chunks.c.job_id, chunks.c.chunk).where(claimed, chunks.c.lease_until.is_not(None))
    return [(row.job_id, row.chunk) for row in connection.execute(query)]
