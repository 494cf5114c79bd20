"""Jobs that workers process while something breaks. At the end, no photo is lost or counted twice."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.ledger_invariants import job_violations, library_violations
from sqlalchemy import select
from support.commands import Process, Terminal, draw_many
from support.databases import read_rows

from tagger.database.tables import contents, job_items, tags

PHOTOS = 160  # Four chunks, 40 batches: six seconds of work for one slow worker
END_S = 200.0


class FaultScenario:
    """Jobs over one folder of photos, enqueued from one terminal. Workers are slow while `slow` exists."""

    def __init__(self, terminal: Terminal, slow: Path) -> None:
        self.terminal = terminal
        self._slow = slow
        self.folder = terminal.folder / "photos"
        draw_many(self.folder, PHOTOS)

    def enqueue(self, *arguments: str) -> int:
        return int(self.terminal.run("enqueue", *arguments, self.folder).stdout)

    def stored(self, job: int) -> int:
        return self.terminal.progress(job).done

    def wait_for_some(self, job: int, more_than: int = 0) -> None:
        """Wait until more than `more_than` photos are stored; fail if all are: the fault is too late."""
        self.terminal.wait_until(lambda: self.stored(job) > more_than)
        assert self.stored(job) < PHOTOS, "the job finished before the fault"

    def assert_complete(self, *jobs: int, within_s: float = END_S, slowly: bool = False) -> None:
        """Wait for the jobs; check that each photo has one outcome, the same as without a fault.

        From now on workers are fast, unless the fault is still to come: `slowly`.
        """
        if not slowly:
            self._slow.unlink(missing_ok=True)
        for job in jobs:
            self.terminal.wait_until(
                lambda job=job: self.terminal.progress(job).is_over, within_s, every_s=0.2
            )
            progress = self.terminal.progress(job)
            assert (progress.tagged, progress.unknown) == (PHOTOS * 4 // 5, PHOTOS // 5), progress
        with self.terminal.database() as database:
            assert [violation for job in jobs for violation in job_violations(database, job)] == []
            assert library_violations(database) == []
            assert len(read_rows(database, select(contents.c.id))) == PHOTOS

    def attempts(self, job: int) -> list[int]:
        """How often each photo's chunk was claimed until the photo was stored, in order of position."""
        query = select(job_items.c.attempts).where(job_items.c.job_id == job)
        with self.terminal.database() as database, database.read() as connection:
            return list(connection.scalars(query.order_by(job_items.c.position)))

    def rows(self) -> list[Any]:
        """All stored outcomes, contents and tags, to compare before and after."""
        with self.terminal.database() as database, database.read() as connection:
            return [
                row
                for table in (job_items, contents, tags)
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]

    @property
    def log(self) -> str:
        return self.terminal.log.read_text(errors="replace")


def is_alive(process: Process) -> bool:
    return process.poll() is None


def moved(folder: Path) -> Path:
    """Rename a folder, as if its disk were unmounted; return the new path."""
    return folder.rename(folder.with_name(f"{folder.name}-elsewhere"))


REAL_FAULTS = os.environ.get("FAULT_DURATIONS") == "real"


@dataclass(frozen=True)
class FaultDurations:
    """How long servers are down or paused. `values` sets the workers' intervals."""

    away_s: float
    frozen_s: float
    values: str | None


REAL_DURATIONS = FaultDurations(away_s=60, frozen_s=25, values=None)
SHORT_DURATIONS = FaultDurations(
    away_s=6,
    frozen_s=4,
    values=(
        "tagger.ledger.LEASE_S=5 tagger.ledger.RENEW_S=1.5 "
        "tagger.database.engine.BUSY_TIMEOUT_S=1 worker.tasks.SWEEP_S=1 tagger.ledger.workers.RETRY_S=1"
    ),
)
